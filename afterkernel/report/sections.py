"""The records parted into what may be shown together: one section a data set and pair of classes.

Within a section, rows may be averaged over seeds only where all else agrees: the evaluation, the architecture, the
learning rate, and every other setting of training. Other settings that vary split an architecture into panels.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel.records.frame import to_frame
from afterkernel.records.record import Record

if TYPE_CHECKING:
    import pandas as pd

# Settings that name or place a run, or say how fast it goes, and so do not separate seeds. Options of the
# evaluation have an identity of their own.
_APART = {"logger", "launcher", "trainer", "hydra", "kernel", "svm", "measure", "snapshot", "report", "sweep", "force"}
# Options that do not separate evaluations: which kernels were asked for, and those that affect no number.
IDLE = {"kernel.names", "kernel.budget_bytes", "kernel.resumable", "svm.timeout_s", "svm.library"}
_EVALUATION = {"kernel", "svm", "measure"}
_AUGMENT = "training.augment"
_NAMES = re.compile(r"(^|\.|_)(seed|lr|learning_rate|run_id|sweep|device|dir|directory|path|root|threads|workers)$")
KEYS = ["panel", "learning_rate"]


@dataclasses.dataclass(frozen=True)
class Section:
    """One data set and pair. `frame` has the columns of the results, and those of `_Marks` and `last`.

    `last` marks the rows of the last snapshot. `ways` lists the ways of evaluation, the one with most rows first: two
    evaluations that differ in nothing but the kernels asked for are one way, and stand together.
    """

    dataset: str
    minus: str
    plus: str
    slug: str
    frame: pd.DataFrame
    ways: list[str]
    records: list[Record]
    n_dropped: int

    def rows(self, way: str | None = None) -> pd.DataFrame:
        """The rows of one way of evaluation, by default of the one with most rows."""
        return self.frame[self.frame["way"] == (way or self.ways[0])]


@dataclasses.dataclass(frozen=True)
class _Marks:
    """What the configuration says of a record's rows.

    `panel` is the architecture with the settings that vary, `setting` the same without augmentation; `loss_target` is
    NaN where there is none; `way` tells ways of evaluation apart.
    """

    panel: str
    setting: str
    augment: bool
    loss_target: float
    way: str


def make_sections(records: Iterable[Record]) -> list[Section]:
    """The sections, sorted by data set and pair."""
    parts: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        parts[record.dataset, record.minus, record.plus].append(record)
    slugs = [_slug("_".join(key)) for key in sorted(parts)]
    unique = [slug if slugs.count(slug) == 1 else f"{slug}_{index}" for index, slug in enumerate(slugs)]
    return [_section(key, unique[index], parts[key]) for index, key in enumerate(sorted(parts))]


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """The leaves of nested mappings by dotted name, each as JSON."""
    if isinstance(tree, dict) and tree:
        found: dict[str, str] = {}
        for name, value in tree.items():
            found |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
        return found
    return {prefix: tree if isinstance(tree, str) else json.dumps(tree, sort_keys=True)}


def flatten_all(trees: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Each tree flattened; equal ones once, since the snapshots of a run have one configuration."""
    texts = [json.dumps(tree, sort_keys=True) for tree in trees]
    flat = {text: flatten(tree) for text, tree in dict(zip(texts, trees, strict=True)).items()}
    return [flat[text] for text in texts]


def differing(trees: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """The values of each leaf, in order, where the flattened trees differ; a leaf that a tree lacks counts as ''."""
    names = sorted({name for tree in trees for name in tree})
    values = {name: list(dict.fromkeys(tree.get(name, "") for tree in trees)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def observations(sections: Iterable[Section], *, every_way: bool = False) -> pd.DataFrame:
    """The rows of all sections, each in its main way of evaluation: what claims are judged by. Or in every way."""
    import pandas as pd

    parts = [section.frame if every_way else section.rows() for section in sections]
    return pd.concat(parts, ignore_index=True)


def _section(key: tuple[str, str, str], slug: str, records: list[Record]) -> Section:
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    ways = _ways(records)
    for record in records:
        groups[ways[record.evaluation_id], record.arch].append(record)
    marks: dict[tuple[str, str, str, int], _Marks] = {}
    for (way, _), group in groups.items():
        marks |= _marks(group, way)
    frame = to_frame(records)
    names = zip(frame["sweep"], frame["run_id"], frame["evaluation_id"], frame["epoch"], strict=True)
    found = [marks[name] for name in names]
    for field in dataclasses.fields(_Marks):
        frame[field.name] = [getattr(mark, field.name) for mark in found]
    # The same run may stand in two sweeps, or be judged twice; counted twice it would feign a smaller error.
    once = frame.drop_duplicates(["way", *KEYS, "seed", "epoch", "kernel"], ignore_index=True)
    once = once.sort_values([*KEYS, "seed", "epoch", "kernel"], kind="stable", ignore_index=True)
    once["last"] = _last(once)
    counts = Counter(once["way"])
    by_size = sorted(counts, key=lambda name: (-counts[name], name))
    return Section(*key, slug, once, by_size, records, len(frame) - len(once))


def _ways(records: list[Record]) -> dict[str, str]:
    """The way of each evaluation: the first, by name, of those that agree in all that decides their numbers."""
    first: dict[str, str] = {}
    found: dict[str, str] = {}
    for evaluation, record in sorted({record.evaluation_id: record for record in records}.items()):
        parts = {name: part for name, part in record.config.items() if name in _EVALUATION}
        options = {name: value for name, value in flatten(parts).items() if name not in IDLE}
        found[evaluation] = first.setdefault(json.dumps(options, sort_keys=True) if parts else evaluation, evaluation)
    return found


def _marks(records: list[Record], way: str) -> dict[tuple[str, str, str, int], _Marks]:
    trees = flatten_all([record.config for record in records])
    vary = [name for name in differing(trees) if not _apart(name)]
    found = {}
    for record, tree in zip(records, trees, strict=True):
        key = (record.sweep, record.run_id, record.evaluation_id, record.epoch)
        training = record.config.get("training", {})
        target = training.get("loss_target")
        found[key] = _Marks(
            panel=_label(record.arch, tree, vary),
            setting=_label(record.arch, tree, [name for name in vary if name != _AUGMENT]),
            augment=bool(training.get("augment", False)),
            loss_target=float("nan") if target is None else float(target),
            way=way,
        )
    return found


def _label(arch: str, tree: dict[str, str], vary: list[str]) -> str:
    label = ", ".join(f"{name.split('.', 1)[-1]}={tree.get(name, 'none')}" for name in vary)
    return f"{arch}, {label}" if label else arch


def _apart(name: str) -> bool:
    return name.split(".")[0] in _APART or _NAMES.search(name) is not None


def _last(frame: pd.DataFrame) -> pd.Series[bool]:
    # Where no run of a learning rate has ended, the furthest epoch that any reached counts as the end.
    import pandas as pd

    marks = pd.Series(False, index=frame.index)
    for _, rows in frame[frame["epoch"] > 0].groupby(["way", *KEYS]):
        ended = rows[rows["final"]] if rows["final"].any() else rows[rows["epoch"] == rows["epoch"].max()]
        marks.loc[ended.index] = True
    return marks


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text.replace("_", "-")).strip("-").lower() or "section"
