"""Panels of wandb-workspaces, from the panels that claims declare and from the glossary of what runs log.

Curves are drawn against epochs on a linear axis: a logarithmic one would omit epoch 0, the NTK.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from afterkernel.claims.panel import Condition, Panel
from afterkernel.records.glossary import BY_NAME, TOPICS
from afterkernel.records.metrics import EPOCH
from afterkernel.report.terms import NETWORK, kernel_rank, terms_of
from afterkernel.wandb.overview import OVERVIEW

# W&B shows ten lines per panel by default; here, a line is a group of seeds.
MOST_LINES = 100
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 6
BY_LAYER = "By layer"


def to_wandb(panels: Iterable[Panel], key: str) -> list[Any]:
    """Panels of wandb-workspaces, laid out in rows; their ids derive from `key`."""
    converted = []
    for index, panel in enumerate(panels):
        converted.append(_to_wandb(panel))
        place(converted[-1], key, index)
    return converted


def place(panel: Any, key: str, index: int = 0) -> None:
    """Set a panel's place in a grid, and an id that is the same on every build."""
    from wandb_workspaces.reports.v2 import Layout

    panel.layout = Layout(_WIDTH * (index % _COLUMNS), _HEIGHT * (index // _COLUMNS), _WIDTH, _HEIGHT)
    panel._id = stable_id(key, str(index))


def stable_id(*keys: str) -> str:
    """An id in W&B's format that derives from the keys."""
    return hashlib.sha256("/".join(keys).encode()).hexdigest()[:12]


def by_topic(metrics: Iterable[str]) -> Iterator[tuple[str, list[Panel]]]:
    """A section for each topic of the glossary, with one panel per quantity that is logged, for all kernels.

    Metrics are named PREFIX/NAME or PREFIX/LAYER/NAME. Those of one family, such as eigenvalues, share a panel per
    kernel; those of layers have a section of their own, with a panel per quantity.
    """
    names = sorted((name for name in metrics if name != EPOCH), key=_natural)
    terms = terms_of(name.rpartition("/")[2] for name in names)
    order = {name: place for place, name in enumerate(BY_NAME)}
    sections: dict[str, dict[tuple[float, str, str, bool], list[str]]] = {title: {} for title in TOPICS.values()}
    for name, one in zip(names, terms, strict=True):
        prefix, *layer = name.split("/")[:-1]
        of = ", layer ".join([prefix, *(["/".join(layer)] if layer else [])])
        heading = capitalised(f"{one.family}: {of}" if one.family else one.title)
        section = BY_LAYER if layer else TOPICS.get(one.topic, capitalised(one.topic))
        key = (order.get(one.name, len(order)), heading, one.unit, one.log)
        sections.setdefault(section, {}).setdefault(key, []).append(name)
    # The section of layers comes last.
    for title in sorted(filter(sections.get, sections), key=lambda title: title == BY_LAYER):
        yield (
            title,
            [
                Panel(f"{heading}", unit, tuple(sorted(found, key=_kernel_rank)), log_y=log)
                for (_, heading, unit, log), found in sorted(sections[title].items(), key=lambda pair: pair[0][0])
            ],
        )


def at_a_glance(metrics: Iterable[str]) -> list[Panel]:
    """A panel for each of the ten numbers that a W&B run shows first, as far as they are logged."""
    names = [name for name in OVERVIEW if name in set(metrics)]
    terms = terms_of(name.rpartition("/")[2] for name in names)
    return [
        Panel(f"{capitalised(one.short)}: {name.partition('/')[0]}", one.unit, (name,), log_y=one.log)
        for name, one in zip(names, terms, strict=True)
    ]


def _kernel_rank(metric: str) -> tuple[float, str]:
    prefix = metric.partition("/")[0]
    return (-1.0 if prefix in (NETWORK, "training", "evaluation") else kernel_rank(prefix)[0]), ""


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def run_filter(sweep: str, job_type: str, conditions: Iterable[Condition] = ()) -> str:
    """The filter of wandb-workspaces for the W&B runs of a sweep and a job type that meet all conditions."""
    parts = [f"Metric('Group') = {_quoted(sweep)}", f"Metric('JobType') = {_quoted(job_type)}"]
    parts += [f"Config({_quoted(name)}) {operator} {value!r}" for name, operator, value in conditions]
    return " and ".join(parts)


def _quoted(text: str) -> str:
    # The library takes any = for a comparison, even in a string.
    return repr(text).replace("=", "\\x3d")


def _to_wandb(panel: Panel) -> Any:
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
    """An axis of a scatter plot: the name of a metric contains a slash, that of an option none."""
    import wandb_workspaces.reports.v2 as wr

    return wr.SummaryMetric(name) if "/" in name else wr.Config(name)
