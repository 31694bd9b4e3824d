"""A dashboard panel that shows a claim, declared with the claim, in terms of the metrics that a run logs to W&B."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A condition on an option of a run that a claim is about: name, operator, value.
Condition = tuple[str, str, float | str]
WITHOUT_AUGMENTATION: Condition = ("training.augment", "=", "none")
AT_LOSS_TARGET: Condition = ("training.loss_target", ">=", 0.0)
SHARE, COSINE = "share of images", "mean cosine"


@dataclass(frozen=True)
class Panel:
    """One panel: its title, the unit of its values, and the metrics that it plots.

    "curve" is drawn against epochs: the mean over seeds in a band of one standard error. "bars" show the last values,
    one bar per value of the option `by`. "scatter" has one point per group of seeds: the last value of its one metric
    against the option, or the last value of the metric, `against`, coloured by the metric `colour`.
    """

    title: str
    unit: str
    metrics: tuple[str, ...]
    kind: Literal["curve", "bars", "scatter"] = "curve"
    by: str = ""
    against: str = ""
    colour: str = ""
    log_x: bool = False
    log_y: bool = False

    @property
    def heading(self) -> str:
        """The title, followed by the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def against_rate(title: str, unit: str, metric: str) -> tuple[Panel, Panel]:
    """Two panels of the last value of a metric by learning rate: points coloured by the training loss, and bars."""
    points = Panel(
        f"{title} against learning rate; colour: training loss reached",
        unit,
        (metric,),
        kind="scatter",
        against="training.lr",
        colour="network/train_loss",
        log_x=True,
    )
    return points, Panel(f"{title} by learning rate", unit, (metric,), kind="bars", by="training.lr")
