"""The records divided into what may be shown together: one section per data set and choice of classes.

Within a section, rows are averaged over seeds only where all else agrees: the evaluation group, the architecture, the
learning rate, and every other option that affects results. Options that vary split an architecture into panels.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims.training_failure import training_failures
from afterkernel.records.frame import to_frame
from afterkernel.records.record import Record, is_configured
from afterkernel.report.grouping import AUGMENT, RATE, Options, evaluation_groups, flatten_all, separating
from afterkernel.text import classes_in_words

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["panel", "learning_rate"]
# Columns of a section's frame in addition to those of the results.
LABELS = (
    *("panel", "setting", "augment", "losses", "loss_target", "training_failure"),
    *("evaluation_group", "configured", "planned", "last"),
)
# In `Section.rows`, the learning rate of a recorded training that gave none; no training has this rate.
NO_RATE = 0.0
_Key = tuple[str, str, str, tuple[str, ...]]
_SNAPSHOT = ["sweep", "run_id", "evaluation_id", "step"]


@dataclasses.dataclass(frozen=True)
class Section:
    """One data set and choice of classes: the pair `minus` and `plus`, or the several `classes`.

    `frame` has the columns of the results and LABELS: `panel` is the architecture with the options that vary, `setting`
    the same without augmentation; `augment` names the augmentation; `losses` are those at which snapshots were asked
    for, as a tuple; `loss_target` is NaN for none; `training_failure` says on all rows of a run why it has no trained
    network, and is empty where it has one; `configured` is false for trainings recorded by `afterkernel.Recorder`;
    `planned` marks the rows of chosen epochs, `last` those of the last snapshot.
    `evaluation_groups` lists the groups of evaluations, the one with most rows first. `axis` is what snapshots are
    shown against: "epoch", or "step" where an epoch is not known.
    """

    dataset: str
    minus: str
    plus: str
    classes: tuple[str, ...]
    slug: str
    frame: pd.DataFrame
    evaluation_groups: list[str]
    records: list[Record]
    n_dropped: int
    axis: str = "epoch"

    @property
    def problem(self) -> str:
        """Its classes in words."""
        return classes_in_words(self.minus, self.plus, self.classes)

    @property
    def data(self) -> str:
        """The data set and its classes in short, as claims name them: mnist 3/8."""
        return f"{self.dataset} {self.problem if self.classes else f'{self.minus}/{self.plus}'}"

    def rows(self, evaluation_group: str | None = None) -> pd.DataFrame:
        """The rows of one evaluation group, by default of the one with most rows, as they are shown.

        In these the column `epoch` holds values of `axis`, and a learning rate that is not known is NO_RATE.
        """
        return shown(self.group(evaluation_group), self.axis)

    def group(self, evaluation_group: str | None = None) -> pd.DataFrame:
        """The same rows with what was recorded, NaN where it is not known."""
        return self.frame[self.frame["evaluation_group"] == (evaluation_group or self.evaluation_groups[0])]


def shown(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Rows with the values of `axis` as their epochs, and NO_RATE for a learning rate that is not known."""
    rows = rows.assign(epoch=rows[axis], learning_rate=rows["learning_rate"].fillna(NO_RATE))
    return rows.astype({"epoch": "int64"}) if bool((rows["epoch"] % 1 == 0).all()) else rows


def rate_text(rate: float) -> str:
    """A learning rate of `Section.rows` as text."""
    return fmt.general(None if rate == NO_RATE else rate)


def written(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """A table made from `Section.rows` for a file: its epochs named `axis`, and NaN for NO_RATE."""
    table = table.rename(columns={name: name.replace("epoch", axis) for name in ("epoch", "epochs")})
    if "learning_rate" in table.columns:
        table = table.assign(learning_rate=table["learning_rate"].where(table["learning_rate"] != NO_RATE))
    return table


def make_sections(records: Iterable[Record]) -> list[Section]:
    """The sections, sorted by data set and classes."""
    parts: dict[_Key, list[Record]] = defaultdict(list)
    for record in records:
        parts[record.dataset, record.minus, record.plus, record.classes].append(record)
    slugs = [_slug("_".join([dataset, minus, plus, *classes])) for dataset, minus, plus, classes in sorted(parts)]
    unique = [slug if slugs.count(slug) == 1 else f"{slug}_{index}" for index, slug in enumerate(slugs)]
    return [_section(key, slug, parts[key]) for key, slug in zip(sorted(parts), unique, strict=True)]


def all_rows(sections: Iterable[Section], *, every_evaluation: bool = False) -> pd.DataFrame:
    """The rows of all sections: of the main evaluation group of each, by which claims are judged, or of all groups."""
    import pandas as pd

    parts = [section.frame if every_evaluation else section.group() for section in sections]
    return pd.concat(parts, ignore_index=True)


def _section(key: _Key, slug: str, records: list[Record]) -> Section:
    import pandas as pd

    labels = pd.DataFrame(_labels(records)).drop_duplicates(_SNAPSHOT)
    frame = to_frame(records).merge(labels, on=_SNAPSHOT, how="left", validate="many_to_one")
    frame = frame.astype({"epoch": "float64", "learning_rate": "float64"})
    axis = "step" if bool(frame["epoch"].isna().any()) else "epoch"
    # The same run may be part of two sweeps, or evaluated twice: counted twice, it would make errors look smaller.
    once = frame.drop_duplicates(["evaluation_group", *KEYS, "seed", "step", "kernel"], ignore_index=True)
    once = once.sort_values([*KEYS, "seed", "step", "kernel"], kind="stable", ignore_index=True)
    once["last"] = _last(shown(once, axis))
    counts = Counter(once["evaluation_group"])
    by_size = sorted(counts, key=lambda name: (-counts[name], name))
    return Section(*key, slug, once, by_size, records, len(frame) - len(once), axis)


def _labels(records: list[Record]) -> Iterator[dict[str, Any]]:
    """The labels of each record's rows, from its configuration."""
    evaluations = evaluation_groups(records)
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    failures = training_failures(records)
    for record in records:
        groups[evaluations[record.evaluation_id], record.arch].append(record)
    for (evaluation, arch), group in groups.items():
        configs = flatten_all([record.config for record in group])
        varying = separating(configs, ignored=[RATE])
        for record, config in zip(group, configs, strict=True):
            training = record.config.get("training", {})
            target = training.get("loss_target")
            yield {
                **{name: getattr(record, name) for name in _SNAPSHOT},
                "panel": _label(arch, config, varying),
                "setting": _label(arch, config, [name for name in varying if name != AUGMENT]),
                "augment": config.get(AUGMENT, "none"),
                "planned": _is_planned(record),
                "losses": tuple(record.config.get("snapshot", {}).get("losses", ())),
                "loss_target": float("nan") if target is None else float(target),
                "training_failure": failures.get((record.sweep, record.run_id), ""),
                "evaluation_group": evaluation,
                "configured": is_configured(record),
            }


def _is_planned(record: Record) -> bool:
    """Whether the snapshot is of a chosen epoch; every one is where nothing says which were chosen."""
    epochs = record.config.get("snapshot", {}).get("epochs") if is_configured(record) else None
    return epochs is None or record.epoch in epochs


def _label(arch: str, config: Options, varying: Sequence[str]) -> str:
    return ", ".join([arch, *(f"{name.split('.', 1)[-1]}={config.get(name, 'none')}" for name in varying)])


def _last(frame: pd.DataFrame) -> pd.Series[bool]:
    # Where no run of a learning rate has ended, the furthest epoch that any reached counts as the end.
    import pandas as pd

    last = pd.Series(False, index=frame.index)
    for _, rows in frame[frame["epoch"] > 0].groupby(["evaluation_group", *KEYS]):
        ended = rows[rows["final"]] if rows["final"].any() else rows[rows["epoch"] == rows["epoch"].max()]
        # Of runs that differ only in where training stops, the longest has the last one.
        last.loc[ended.index[ended["step"] == ended.groupby(["seed", "kernel"])["step"].transform("max")]] = True
    return last


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text.replace("_", "-")).strip("-").lower() or "section"
