"""The records parted into what may be shown together: one section a data set and pair of classes.

Within a section, rows may be averaged over seeds only where all else agrees: the evaluation, the architecture, the
learning rate, and every other setting of training. Settings that vary beside these part an architecture into panels.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from afterkernel.store.frame import to_frame
from afterkernel.store.record import Record

if TYPE_CHECKING:
    import pandas as pd

# Settings that name or place a run, or say how fast it goes, and so do not part seeds from each other. What the
# evaluation was told is parted by its own identity.
_APART = {"logger", "launcher", "trainer", "hydra", "kernel", "svm", "measure", "snapshot", "report", "sweep", "force"}
_NAMES = re.compile(r"(^|\.|_)(seed|lr|learning_rate|run_id|sweep|device|dir|directory|path|root|threads|workers)$")
KEYS = ["panel", "learning_rate"]


@dataclasses.dataclass(frozen=True)
class Section:
    """One data set and pair. `frame` has, beside the columns of the results, `panel` and `last`.

    `panel` is the architecture with the settings that vary; `last` marks the rows of the last snapshot. `evaluations`
    lists the evaluations, the one with most rows first.
    """

    dataset: str
    minus: str
    plus: str
    slug: str
    frame: pd.DataFrame
    evaluations: list[str]
    records: list[Record]
    n_dropped: int

    def rows(self, evaluation: str | None = None) -> pd.DataFrame:
        """The rows of one evaluation, by default of the one with most rows."""
        return self.frame[self.frame["evaluation_id"] == (evaluation or self.evaluations[0])]


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


def differing(trees: Iterable[dict[str, str]]) -> dict[str, Counter[str]]:
    """How often each leaf has each value, where the flattened trees differ; a leaf that a tree lacks counts as ''."""
    trees = list(trees)
    names = sorted({name for tree in trees for name in tree})
    counts = {name: Counter(tree.get(name, "") for tree in trees) for name in names}
    return {name: count for name, count in counts.items() if len(count) > 1}


def _section(key: tuple[str, str, str], slug: str, records: list[Record]) -> Section:
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.evaluation_id, record.arch].append(record)
    panels: dict[tuple[str, str, str, int], str] = {}
    for group in groups.values():
        panels |= _panels(group)
    frame = to_frame(records)
    names = zip(frame["sweep"], frame["run_id"], frame["evaluation_id"], frame["epoch"], strict=True)
    frame["panel"] = [panels[name] for name in names]
    # The same run may stand in two sweeps; counted twice it would feign a smaller error.
    once = frame.drop_duplicates(["evaluation_id", *KEYS, "seed", "epoch", "kernel"], ignore_index=True)
    once = once.sort_values([*KEYS, "seed", "epoch", "kernel"], kind="stable", ignore_index=True)
    once["last"] = _last(once)
    counts = Counter(once["evaluation_id"])
    evaluations = sorted(counts, key=lambda name: (-counts[name], name))
    return Section(*key, slug, once, evaluations, records, len(frame) - len(once))


def _panels(records: list[Record]) -> dict[tuple[str, str, str, int], str]:
    trees = [{name: value for name, value in flatten(record.config).items() if not _apart(name)} for record in records]
    vary = list(differing(trees))
    found = {}
    for record, tree in zip(records, trees, strict=True):
        label = ", ".join(f"{name.split('.', 1)[-1]}={tree.get(name, 'none')}" for name in vary)
        key = (record.sweep, record.run_id, record.evaluation_id, record.epoch)
        found[key] = f"{record.arch}, {label}" if label else record.arch
    return found


def _apart(name: str) -> bool:
    return name.split(".")[0] in _APART or _NAMES.search(name) is not None


def _last(frame: pd.DataFrame) -> pd.Series[bool]:
    # Where no run of a learning rate has ended, the furthest epoch that any reached stands in for the end.
    import pandas as pd

    marks = pd.Series(False, index=frame.index)
    for _, rows in frame[frame["epoch"] > 0].groupby(["evaluation_id", *KEYS]):
        ended = rows[rows["final"]] if rows["final"].any() else rows[rows["epoch"] == rows["epoch"].max()]
        marks.loc[ended.index] = True
    return marks


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text.replace("_", "-")).strip("-").lower() or "section"
