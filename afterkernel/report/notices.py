"""Warnings about the results: each once, counted, with what it means and where it applies."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.records.columns import SEPARATOR
from afterkernel.report.sections import Section
from afterkernel.report.table_format import Table, TableRow

if TYPE_CHECKING:
    import pandas as pd

# Parts of recorded warnings that columns of the records state too; these are counted by the columns.
STATED = ("the SVM did not converge", "not separable by this kernel", "separable by this kernel is undetermined")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Notice:
    """A warning about `count` of the `total` rows, SVMs or runs of a section; `detail` says which."""

    warning: str
    meaning: str
    count: int
    total: int
    section: Section
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The warning on the page of its section."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.warning}: {self.count:,} of {self.total:,}{detail}. {self.meaning}"


def section_notices(section: Section) -> Iterator[Notice]:
    """The warnings about a section, those that change how it is read first."""
    rows, n_rows = section.frame, len(section.frame)
    runs = len(rows.drop_duplicates(["sweep", "run_id"]))
    untrained = rows[rows["training_failure"] != ""].drop_duplicates(["sweep", "run_id"])
    for reason, failed in untrained.groupby("training_failure"):
        meaning = (
            "Left out of every claim, except for their kernels at initialisation, and of the main table, which says "
            "how many it counts."
        )
        yield Notice(f"Runs without a trained network ({reason})", meaning, len(failed), runs, section, _seeds(failed))
    not_converged = int((~rows["converged"]).sum())
    separable = rows["separable"].astype("boolean")
    found = [
        (
            "SVMs that did not converge",
            "Their errors are left out of claims and of the main table; see the health of the SVMs.",
            not_converged,
            n_rows,
        ),
        (
            "Kernels that do not separate the training data",
            "There is no hard margin, so claims leave these errors out; tables and figures show those of a soft "
            "margin.",
            int((separable == False).sum()),  # noqa: E712
            n_rows,
        ),
        (
            "Kernels for which separability is undetermined",
            "The certificate is not tight enough to tell whether they separate the training data. Claims leave these "
            "errors out; tables and figures show them.",
            int(separable.isna().sum()),
            n_rows,
        ),
        *((text, "A numerical warning of the run.", count, n_rows) for text, count in _numeric(rows["warnings"])),
        (
            "Rows that are the same as others",
            "Runs in several sweeps, or evaluated again with the same options: each counts once.",
            section.n_dropped,
            n_rows + section.n_dropped,
        ),
    ]
    for warning, meaning, count, total in found:
        if count:
            yield Notice(warning, meaning, count, total, section)


def _seeds(runs: pd.DataFrame) -> str:
    """Networks, learning rates and seeds of runs."""
    found: dict[tuple[str, Any], list[int]] = {}
    for row in runs.to_dict("records"):
        found.setdefault((row["panel"], fmt.general(row["learning_rate"])), []).append(row["seed"])
    return "; ".join(
        f"{panel}, learning rate {rate}, seed {', '.join(map(str, sorted(seeds)))}"
        for (panel, rate), seeds in sorted(found.items())
    )


def _numeric(column: Iterable[str]) -> list[tuple[str, int]]:
    """The recorded warnings, alike ones (that differ in their numbers) together, and how many rows have each."""
    texts: dict[str, Counter[str]] = {}
    for cell in column:
        for text in filter(None, str(cell).split(SEPARATOR)):
            if not any(stated in text for stated in STATED):
                texts.setdefault(_NUMBER.sub("N", text), Counter())[text] += 1
    return [
        (
            f"{next(iter(found))[0].upper()}{next(iter(found))[1:]}" if len(found) == 1 else _general(found),
            found.total(),
        )
        for found in texts.values()
    ]


def _general(texts: Iterable[str]) -> str:
    """The text that all have, with the range of each number that differs."""
    listed = list(texts)
    parts = _NUMBER.split(listed[0])
    columns = zip(*(_NUMBER.findall(text) for text in listed), strict=True)
    ranges = []
    for column in columns:
        ordered = sorted(set(column), key=float)
        ranges.append(ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}")
    text = "".join(part + (ranges[place] if place < len(ranges) else "") for place, part in enumerate(parts))
    return f"{text[0].upper()}{text[1:]}"


def notice_frame(notices: Sequence[Notice]) -> pd.DataFrame:
    """The warnings by section."""
    import pandas as pd

    columns = ["warning", "data", "count", "total", "detail", "meaning"]
    found = [[one.warning, one.section.data, one.count, one.total, one.detail, one.meaning] for one in notices]
    return pd.DataFrame(found, columns=columns)


def notice_table(notices: Sequence[Notice]) -> Table:
    """Each warning once, with its count in each section."""
    by_warning: dict[str, list[Notice]] = {}
    for one in notices:
        by_warning.setdefault(one.warning, []).append(one)
    rows = []
    for warning, found in by_warning.items():
        where = "; ".join(
            f"{one.section.data}: {one.count:,} of {one.total:,}{f' ({one.detail})' if one.detail else ''}"
            for one in found
        )
        cells = [warning, fmt.count(sum(one.count for one in found)), found[0].meaning, where]
        rows.append(TableRow([(cell, "") for cell in cells], links={"where": f"#{found[0].section.slug}"}))
    return Table(
        title="Warnings",
        note="Each warning once, with the number of rows (one per snapshot and kernel) or runs that it is about.",
        headings=["warning", "count", "what it means", "where"],
        rows=rows,
        n_keys=1,
    )
