"""Panels as wandb-workspaces has them, from those that claims declare and from the glossary of what runs log.

Curves are drawn against epochs on a linear axis: a logarithmic one would leave out epoch 0, the NTK.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from afterkernel.claims.panel import Condition, Panel
from afterkernel.records.glossary import BY_NAME, TOPICS, term
from afterkernel.wandb.mirror import EPOCH

# W&B shows ten lines per panel by default; one here is a group of seeds.
MOST_LINES = 100
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 6
# Values that span orders of magnitude and are never 0.
_LOGARITHMIC = {"train_loss", "gap", "eigenvalue_"}
BY_LAYER = "By layer"


def drawn(panels: Iterable[Panel], where: str) -> list[Any]:
    """Panels of wandb-workspaces, laid out in rows; `where` names their place, which decides their ids."""
    found = []
    for index, panel in enumerate(panels):
        one = _drawn(panel)
        place(one, where, index)
        found.append(one)
    return found


def place(panel: Any, where: str, index: int = 0) -> None:
    """Give a panel its place in a grid, and an id that is the same whenever it is built."""
    from wandb_workspaces.reports.v2 import Layout

    panel.layout = Layout(_WIDTH * (index % _COLUMNS), _HEIGHT * (index // _COLUMNS), _WIDTH, _HEIGHT)
    panel._id = identity(where, str(index))


def identity(*words: str) -> str:
    """An id of W&B's kind, decided by words."""
    return hashlib.sha256("/".join(words).encode()).hexdigest()[:12]


def topics(metrics: Iterable[str]) -> Iterator[tuple[str, list[Panel]]]:
    """A section for each topic of the glossary, with a panel for each quantity that is logged, of whatever kernel.

    Metrics are named PREFIX/NAME or PREFIX/LAYER/NAME. Those of one family, such as eigenvalues, share a panel a
    kernel; those of layers have a section of their own, a panel a quantity.
    """
    sections: dict[str, dict[tuple[str, str, str], list[str]]] = {}
    for metric in sorted((one for one in metrics if one != EPOCH), key=_natural):
        prefix, _, name = metric.partition("/")
        layer, _, bare = name.rpartition("/")
        one = term(bare)
        of = f"{prefix}, layer {layer}" if layer else prefix
        heading = f"{capitalised(one.family)}: {of}" if one.family else capitalised(one.title)
        section = BY_LAYER if layer else TOPICS[one.topic]
        key = heading, one.unit, "" if one.family else one.name
        sections.setdefault(section, {}).setdefault(key, []).append(metric)
    for title in [*TOPICS.values(), BY_LAYER]:
        if title in sections:
            order = {name: index for index, name in enumerate(BY_NAME)}
            found = sorted(sections[title].items(), key=lambda pair: order.get(pair[0][2], len(order)))
            yield title, [_panel(heading, unit, found) for (heading, unit, _), found in found]


def _panel(heading: str, unit: str, metrics: list[str]) -> Panel:
    log_y = all(metric.rpartition("/")[2].rstrip("0123456789") in _LOGARITHMIC for metric in metrics)
    # The NTK first, as everywhere.
    return Panel(heading, unit, tuple(sorted(metrics, key=lambda one: not one.startswith("ntk/"))), log_y=log_y)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def capitalised(text: str) -> str:
    """The text with a capital at its head."""
    return text[:1].upper() + text[1:]


def conditions(sweep: str, job_type: str, others: Iterable[Condition] = ()) -> str:
    """Those W&B runs of a sweep that are of one job type and meet all conditions, as wandb-workspaces filters them."""
    parts = [f"Metric('Group') = {_quoted(sweep)}", f"Metric('JobType') = {_quoted(job_type)}"]
    parts += [f"Config({_quoted(name)}) {operator} {value!r}" for name, operator, value in others]
    return " and ".join(parts)


def _quoted(text: str) -> str:
    # Within a string too, an = would be taken for a comparison.
    return repr(text).replace("=", "\\x3d")


def _drawn(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    seeds: Any = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr", "max_runs_to_show": MOST_LINES}
    if panel.kind == "curve":
        return wr.LinePlot(
            title=panel.heading,
            x=EPOCH,
            y=list(panel.metrics),
            title_x="epoch (0: initialisation)",
            title_y=panel.unit or None,
            log_y=panel.log_y or None,
            smoothing_type="none",
            **seeds,
        )
    if panel.kind == "bars":
        return wr.BarPlot(
            title=panel.heading,
            metrics=list(panel.metrics),
            orientation="v",
            title_x=panel.by,
            title_y=panel.unit or None,
            groupby=wr.Config(panel.by),
            **seeds,
        )
    return wr.ScatterPlot(
        title=panel.heading,
        x=_axis(panel.against),
        y=_axis(panel.metrics[0]),
        z=_axis(panel.colour) if panel.colour else None,
        log_x=panel.log_x or None,
        log_y=panel.log_y or None,
    )


def _axis(name: str) -> Any:
    """A metric has a slash in its name, an option has none."""
    import wandb_workspaces.reports.v2 as wr

    return wr.SummaryMetric(name) if "/" in name else wr.Config(name)
