"""Data frames as tables of text for the page: the text of each cell, and which rows need attention."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.records.glossary import BY_NAME, Term
from afterkernel.records.record import COSINE, SHARE
from afterkernel.report.sections import rate_text
from afterkernel.report.stages import LAST, stages
from afterkernel.report.table_data import NETWORK_NUMBERS, NETWORK_SIZES, TIMES
from afterkernel.report.terms import heading, kernel_label, kernel_rank, terms_of

if TYPE_CHECKING:
    import pandas as pd

# Columns of measures that are shown at first.
_MOST_MEASURES = 5
_OF_LAST = " Last: the last snapshots, of runs that end at different times."
_WORD = re.compile(r"[A-Za-z]{4}")
# A cell: its text, and a second line or "".
Cell = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class TableRow:
    """Cells, each one or two lines of text; `alert` marks a row that needs attention.

    On the HTML page, rows with the same `group` follow a heading of that text, and `name` then replaces the cells that
    identify a row. `anchor` is the row's id, `tags` are what filters look at, `links` the targets of cells by heading.
    """

    cells: list[Cell]
    alert: bool = False
    name: str = ""
    group: str = ""
    anchor: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a report. The first `n_keys` columns identify a row; `long` tables are collapsed at first.

    `files` hold the same table, named relative to the page. The HTML page shows the columns named in `further`, and the
    second lines of those in `further_lines`, on demand.
    """

    title: str
    note: str
    headings: Sequence[str]
    rows: list[TableRow]
    n_keys: int
    long: bool = False
    files: Sequence[str] = ()
    further: frozenset[str] = frozenset()
    further_lines: frozenset[str] = frozenset()

    @property
    def grouped(self) -> list[tuple[str, list[TableRow]]]:
        """The rows by group, in order; one group without a name if none has one."""
        return [(name, list(rows)) for name, rows in itertools.groupby(self.rows, key=lambda row: row.group)]

    @property
    def wordy(self) -> set[str]:
        """The headings of columns that hold words in at least half of their cells: these are aligned left."""
        columns = zip(*([text for text, _ in row.cells] for row in self.rows), strict=True)
        found = zip(self.headings, columns, strict=True) if self.rows else ()
        return {
            heading for heading, texts in found if 2 * sum(bool(_WORD.search(text)) for text in texts) >= len(texts)
        }

    @property
    def n_alerts(self) -> int:
        """The number of rows that need attention."""
        return sum(row.alert for row in self.rows)


def tags(data: str = "", network: str = "", rate: str = "") -> dict[str, str]:
    """What the filters of the HTML page look at, without what a row is not about: networks by their architecture."""
    found = {"data": data, "network": network.split(",", 1)[0], "rate": rate}
    return {name: value for name, value in found.items() if value and value != fmt.MISSING}


def error_table(table: pd.DataFrame, decimals: int, axis: str = "epoch") -> Table:
    """Test errors, one column per stage, with the number of seeds and the confidence interval below each mean."""
    columns = stages(table)
    rows = []
    for keys, group in _groups(table):
        at_stage = {row["stage"]: row for row in group}
        cells = [_error(at_stage[stage], decimals) if stage in at_stage else ("", "") for stage in columns]
        rows.append(TableRow([*keys, *cells], tags=_tags(keys)))
    return Table(
        title="Test error (%)",
        note="Mean ± standard error over seeds; below, Student's 95 % confidence interval of the mean (clipped to 0 "
        f"and 100 %) and the number of seeds. Rows of a kernel are of the SVM on it; {axis} 0 is the initialisation. "
        "Empty cells are not recorded." + (_OF_LAST if LAST in columns else ""),
        headings=["network", "learning rate", "of", *(_stage(stage, axis) for stage in columns)],
        rows=rows,
        n_keys=3,
    )


def _stage(stage: str, axis: str) -> str:
    return LAST if stage == LAST else f"{axis} {stage}"


def change_table(table: pd.DataFrame, decimals: int, axis: str = "epoch") -> Table:
    """Each headline number before and after training; the change, paired run by run, below."""
    terms = [term for term in terms_of(table["measure"].unique()) if term.headline]
    rows = []
    for keys, group in _groups(table):
        by_measure = {row["measure"]: row for row in group}
        first = group[0]
        last_epoch = first["epochs"] or fmt.MISSING
        if first["epochs"] and not first["final"]:
            last_epoch += " (so far)"
        n_runs = max(first["before_n_seeds"], first["after_n_seeds"])
        changes = [_change(by_measure.get(term.name), term, decimals) for term in terms]
        rows.append(TableRow([*keys, (last_epoch, ""), (str(int(n_runs)), ""), *changes], tags=_tags(keys)))
    return Table(
        title="Before and after: from initialisation to the last snapshot",
        note="Means over seeds; below, the mean change ± standard error, computed run by run over the runs "
        "that have both. Invariances are mean cosines: 1 means unchanged.",
        headings=["network", "learning rate", "kernel", f"last {axis}", "runs", *map(heading, terms)],
        rows=rows,
        n_keys=5,
        further=frozenset(map(heading, terms[_MOST_MEASURES:])),
    )


def health_table(table: pd.DataFrame, axis: str = "epoch") -> Table:
    """How the SVMs ended; rows with one that did not converge are marked."""
    rows = []
    for row in _records(table):
        unknown = f", {row['n_separable_unknown']} unknown" if row["n_separable_unknown"] else ""
        support = sorted({row["fewest_support"], row["most_support"]})
        cells = [
            *(row["panel"], rate_text(row["learning_rate"]), kernel_label(row["kernel"]), row["stage"]),
            row["svm_backend"] + (" with intercept" if row["svm_intercept"] else ""),
            row["svm_path"],
            f"{row['n_converged']} of {row['n']}",
            f"{row['n_separable']} of {row['n']}{unknown}",
            *(fmt.scientific(row["largest_gap"]), fmt.significant(row["mean_margin"])),
            *(" to ".join(map(fmt.count, support)), fmt.percent(row["mean_train_error"])),
        ]
        alert = row["n_converged"] < row["n"]
        rows.append(TableRow(_cells(*cells), alert=alert, tags=tags(network=cells[0], rate=cells[1])))
    headings = ["network", "learning rate", "kernel", axis, "backend", "path", "converged", "separable"]
    headings += ["largest gap", "mean margin", "support vectors", "training error (%)"]
    note = (
        "The gap is the relative duality gap, certified outside the solver; margins are of the normalised "
        "embedding. Rows with an SVM that did not converge are marked and come first."
    )
    rows.sort(key=lambda row: not row.alert)
    further = frozenset({"backend", "path", "support vectors", "training error (%)"})
    return Table("Health of the SVMs", note, headings, rows, 4, long=len(rows) > 12, further=further)


def cost_table(table: pd.DataFrame) -> Table:
    """Mean seconds per snapshot and the peak memory."""
    rows = []
    for row in _records(table):
        times = [fmt.seconds(row[name]) for name in [*(f"mean_{name}" for name in TIMES), "total_wall_s"]]
        keys = [row["panel"], kernel_label(row["kernel"]), str(row["n"])]
        rows.append(TableRow(_cells(*keys, *times, fmt.size(row["largest_peak_bytes"])), tags=tags(network=keys[0])))
    headings = ["network", "kernel", "snapshots", *(BY_NAME[name].heading for name in TIMES), "sum over snapshots (s)"]
    note = "Wall time: mean per snapshot, and the sum over all snapshots. Peak memory is that of the process so far."
    return Table("Costs", note, [*headings, "peak memory"], rows, 2)


def network_table(table: pd.DataFrame, decimals: int) -> Table:
    """The networks at their last snapshot."""
    known = [name for name in [*NETWORK_SIZES, *NETWORK_NUMBERS] if {name, f"mean_{name}"} & set(table.columns)]
    terms = terms_of(known)
    rows = [
        TableRow(
            _cells(
                *(row["panel"], rate_text(row["learning_rate"]), str(row["n_seeds"])),
                *(
                    _number(row.get(f"mean_{term.name}"), term, decimals)
                    if fmt.is_missing(row.get(term.name))
                    else _thousands(row[term.name])
                    for term in terms
                ),
            ),
            tags=tags(network=row["panel"], rate=rate_text(row["learning_rate"])),
        )
        for row in _records(table)
    ]
    headings = ["network", "learning rate", "seeds", *map(heading, terms)]
    return Table("Networks at their last snapshot", "Means over seeds.", headings, rows, 2)


def error_text(row: Any, prefix: str, decimals: int) -> str:
    """A mean error in percent with its standard error, if there are several seeds."""
    mean = fmt.percent(row[f"{prefix}mean"], decimals)
    return fmt.spread(mean, fmt.percent(row[f"{prefix}standard_error"], decimals))


def _error(row: Any, decimals: int) -> Cell:
    below = f"n = {int(row['n_seeds'])}"
    if not fmt.is_missing(row["ci95_low"]):
        low, high = (fmt.percent(row[name], decimals) for name in ("ci95_low", "ci95_high"))
        below = f"[{low}, {high}], {below}"
    return error_text(row, "", decimals), below


def _change(row: Any, term: Term, decimals: int) -> Cell:
    if row is None:
        return fmt.MISSING, ""
    before, after, change, error = (
        _number(row[name], term, decimals)
        for name in ("before_mean", "after_mean", "change_mean", "change_standard_error")
    )
    both = f"{before} → {after}"
    return both, "" if row["change_n_seeds"] == 0 else fmt.spread(fmt.signed(change, row["change_mean"]), error)


def _number(value: Any, term: Term, decimals: int) -> str:
    if term.unit == SHARE:
        return fmt.percent(value, decimals)
    return fmt.cosine(value) if term.unit == COSINE else fmt.significant(value, 4)


def _cells(*texts: str) -> list[Cell]:
    return [(text, "") for text in texts]


def _tags(keys: Sequence[Cell]) -> dict[str, str]:
    return tags(network=keys[0][0], rate=keys[1][0])


def _thousands(text: str) -> str:
    return " to ".join(fmt.count(part) for part in text.split(" to "))


def _groups(table: pd.DataFrame) -> Iterable[tuple[list[Cell], list[dict[str, Any]]]]:
    """The rows by network, learning rate and kernel, and the cells that name them."""
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for row in _records(table):
        groups.setdefault((row["panel"], row["learning_rate"], row["kernel"]), []).append(row)
    for (panel, rate, kernel), rows in groups.items():
        yield _cells(panel, rate_text(rate), kernel_label(kernel)), rows


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in order of network, learning rate, kernel and epoch."""
    order = [name for name in ("panel", "learning_rate", "kernel", "epoch") if name in table.columns]
    rows: list[dict[str, Any]] = [{str(name): row[name] for name in row} for row in table.to_dict("records")]
    return sorted(rows, key=lambda row: [kernel_rank(row[name]) if name == "kernel" else row[name] for name in order])
