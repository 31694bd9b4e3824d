"""The main table: test errors of the network and of the classifiers on each kernel, before and after training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims.region import FEWEST_SEEDS
from afterkernel.claims.stats import columns, mean_over_seeds
from afterkernel.kernel_kinds import describe
from afterkernel.report.output import ReportFiles
from afterkernel.report.sections import KEYS, Section, rate_text
from afterkernel.report.table_format import Cell, Table, TableRow, error_text, tags
from afterkernel.report.terms import NETWORK, NETWORK_ITSELF, kernel_order

if TYPE_CHECKING:
    import pandas as pd

# Columns of the results that are test errors of a classifier on a kernel, by the classifier's name.
CLASSIFIERS = {"SVM": "svm_test_error", "ridge": "ridge_test_error"}
# The columns that `error_rows` reads: dividing all of them takes long.
_NEEDED = [
    *(*KEYS, "kernel", "kernel_output", "epoch", "last", "seed", "net_test_error", "converged", "training_failure"),
    *CLASSIFIERS.values(),
]
START, END = "initialisation", "end"


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to classify: the network itself, or a classifier on a kernel at one stage of training."""

    classifier: str
    kernel: str = NETWORK
    stage: str = END
    sample: str = ""

    @property
    def title(self) -> str:
        """Its name as a heading: NTK SVM, after kernel SVM, network itself."""
        if self.kernel == NETWORK:
            return NETWORK_ITSELF
        kind = describe(self.kernel)
        names = {"ntk": {START: "NTK", END: "AK"}, "conjugate": {START: "initial CK", END: "CK"}}
        name = names.get(self.kernel, {}).get(self.stage)
        if name is None:
            name = f"{kind.label}, {self.stage}" if kind.is_learned else kind.label
        return f"{name} {self.classifier}{self.sample}"


def error_rows(sections: Sequence[Section]) -> pd.DataFrame:
    """Test errors by data set, network, learning rate and method, over seeds, each paired with the network's own.

    Columns: data, panel, learning_rate, method, all_images (whether it is trained and tested on the images of the
    SVM), then mean, standard_error, ci95_low, ci95_high, n_seeds, and the same with prefix difference_ of the method
    minus the network of the same run (fractions), and n_ended, how many seeds have ended. Runs at their last snapshot;
    kernels of untrained networks at epoch 0 of the same runs. Runs without a trained network are left out; where no
    other has ended, the row of the network has n_seeds 0. A classifier on a kernel that training does not change has
    one row per network and rate too.
    """
    import pandas as pd

    found: list[dict[str, Any]] = []
    for section in sections:
        several, sample = len(section.evaluation_groups) > 1, _ridge_sample(section)
        frames = [section.rows(name) for name in section.evaluation_groups]
        parts = [rows[rows.columns.intersection(_NEEDED)] for rows in frames]
        for (panel, rate), group in (cell for rows in parts for cell in rows.groupby(KEYS)):
            outputs = ", ".join(sorted(set(group["kernel_output"]) - {""})) if several else ""
            panel = f"{panel}, kernel.output={outputs}" if outputs else str(panel)
            n_ended = int(group.loc[group["last"], "seed"].nunique())
            for method, errors in _errors(group.to_dict("records"), sample):
                found.append(
                    {
                        "data": section.data,
                        "panel": panel,
                        "learning_rate": rate,
                        "method": method.title,
                        "all_images": not method.sample,
                        "n_ended": n_ended,
                        **columns(mean_over_seeds([value for value, _ in errors], (0.0, 1.0))),
                        **columns(mean_over_seeds([value - own for value, own in errors]), "difference_"),
                    }
                )
    return pd.DataFrame(found)


def _ridge_sample(section: Section) -> str:
    """What the heading of ridge regression says of its images: nothing if they are those of the SVM."""
    options: list[dict[str, Any]] = [record.config.get("measure", {}) for record in section.records]
    found = {
        (min(one.get("gram_images", 0), record.n_train), min(one.get("num_images", 0), record.n_test))
        for one, record in zip(options, section.records, strict=True)
    }
    if found == {(record.n_train, record.n_test) for record in section.records}:
        return ""
    return f" ({', '.join(f'{train} training and {test} test images' for train, test in sorted(found))})"


def _errors(rows: Sequence[Mapping[Any, Any]], ridge_sample: str) -> Iterator[tuple[Method, list[tuple[float, float]]]]:
    """The errors of each method in the rows of one cell: per seed the method's, and the network's own."""
    if not any(row["last"] for row in rows):
        return
    ended = [row for row in rows if row["last"] and row["training_failure"] == ""]
    own: dict[int, float] = {}
    for row in ended:
        error = row["net_test_error"]
        own.setdefault(row["seed"], math.nan if fmt.is_missing(error) else float(error))
    yield Method(""), [(error, error) for error in own.values()]
    for kernel in kernel_order(row["kernel"] for row in rows):
        stages = {START: [row for row in rows if row["epoch"] == 0], END: ended}
        if not describe(kernel).is_learned:
            del stages[START]
        for stage, part in stages.items():
            of_kernel = [row for row in part if row["kernel"] == kernel and row["seed"] in own]
            for classifier, column in CLASSIFIERS.items():
                # Another solver's error is no error of a hard margin that was found.
                usable = [row for row in of_kernel if classifier != "SVM" or row["converged"]]
                errors = [
                    (float(row[column]), own[row["seed"]]) for row in usable if not fmt.is_missing(row.get(column))
                ]
                if errors:
                    yield Method(classifier, kernel, stage, ridge_sample if classifier == "ridge" else ""), errors


def error_tables(sections: Sequence[Section], files: ReportFiles) -> list[Table]:
    """The main table and that of differences from the network, written as one file; none before any run has ended."""
    ended = [section for section in sections if section.rows()["last"].any()]
    if not ended:
        return []
    frame = error_rows(ended)
    decimals = fmt.percent_decimals(min(int(section.rows()["n_test"].min()) for section in ended))
    main = files.table(frame, main_table(frame, decimals), "errors")
    return [main, dataclasses.replace(difference_table(frame, decimals), files=main.files[:1])]


def main_table(frame: pd.DataFrame, decimals: int) -> Table:
    """One row per data set, network and learning rate, one column per method; the best of a row is marked.

    The best has the lowest mean of the methods that are trained and tested on the same, full sets of images, and have a
    value for every seed of the row: the seeds that others lack may be the hard ones.
    """
    methods = list(dict.fromkeys(frame["method"]))
    some_images = sorted(set(frame.loc[~frame["all_images"].astype(bool), "method"]), key=methods.index)
    rows = []
    for _, group in frame.groupby(["data", "panel", "learning_rate"], sort=False):
        by_method: dict[str, Any] = {row["method"]: row for row in group.to_dict("records")}
        first = next(iter(by_method.values()))
        n_seeds = first["n_seeds"]
        means = [row["mean"] for row in by_method.values() if _is_comparable(row, n_seeds)]
        cells = [_cell(by_method.get(method), min(means, default=None), n_seeds, decimals) for method in methods]
        rate = rate_text(first["learning_rate"])
        rows.append(
            TableRow(
                [(first["data"], ""), (first["panel"], ""), (rate, ""), _seeds(first), *cells],
                alert=n_seeds < first["n_ended"],
                tags=tags(first["data"], first["panel"], rate),
            )
        )
    return Table(
        title="Test errors (%)",
        note="Mean over seeds ± standard error at the last snapshot of each run; below, Student's 95 % "
        "interval of the mean, and the number of seeds where it is smaller than that of the row (an SVM that did not "
        "converge, a kernel of zeros). * marks the best of a row: the lowest mean of the methods that are trained and "
        "tested on all images of the row, with all its seeds, whether or not the difference is significant. NTK: at "
        "initialisation; AK: the after kernel; CK: the conjugate kernel. SVM: hard margin, or soft margin where the "
        "kernel is not shown to separate the training images (see the warnings). Ridge: kernel ridge regression with "
        "the ridge of least leave-one-out error. Runs without a trained network (see the warnings) are left out of "
        "all means of their row, which is marked.",
        headings=["data", "architecture", "learning rate", "seeds", *methods],
        rows=rows,
        n_keys=3,
        further=frozenset({*some_images, *(name for name in methods if name.startswith("initial "))}),
    )


def _seeds(row: Any) -> Cell:
    """How many seeds the means of a row are over, of those that have ended."""
    count, ended = int(row["n_seeds"]), int(row["n_ended"])
    return (str(count), "") if count == ended else (f"{count} of {ended}", "others have no trained network")


def _is_comparable(row: Any, n_seeds: int) -> bool:
    return bool(row["all_images"]) and 0 < row["n_seeds"] == n_seeds


def _cell(row: Any, lowest: float | None, n_seeds: int, decimals: int) -> Cell:
    if row is None or row["n_seeds"] == 0:
        return fmt.MISSING, ""
    mark = " *" if _is_comparable(row, n_seeds) and row["mean"] == lowest else ""
    below = []
    if not fmt.is_missing(row["ci95_low"]):
        below.append(f"[{fmt.percent(row['ci95_low'], decimals)}, {fmt.percent(row['ci95_high'], decimals)}]")
    if row["n_seeds"] < n_seeds:
        below.append(f"n = {int(row['n_seeds'])}")
    return f"{error_text(row, '', decimals)}{mark}", ", ".join(below)


def difference_table(frame: pd.DataFrame, decimals: int) -> Table:
    """Each method against the network itself, paired by run: descriptive, without a test."""
    rows = []
    for row in frame[frame["method"] != NETWORK_ITSELF].to_dict("records"):
        change = fmt.signed(fmt.percent(row["difference_mean"], decimals), row["difference_mean"])
        low, high = (
            fmt.percent(row[f"difference_ci95_{end}"], decimals).replace("-", "\N{MINUS SIGN}")
            for end in ("low", "high")
        )
        n, spread = int(row["difference_n_seeds"]), row["difference_standard_error"]
        interval = f"[{low}, {high}]"
        if n < FEWEST_SEEDS:
            interval = "too few seeds"
        elif spread < 1e-12:  # rounding
            interval = "no spread over seeds"
        cells = [str(row["data"]), str(row["panel"]), rate_text(row["learning_rate"]), str(row["method"])]
        cells += [change, interval, str(n)]
        rows.append(TableRow([(cell, "") for cell in cells], tags=tags(*cells[:3])))
    headings = ["data", "architecture", "learning rate", "method", "minus network (points)", "95 % interval", "seeds"]
    return Table(
        title="Classifiers on kernels against the network itself",
        note="Test error of the method minus that of the network at the end of the same run, in percentage points: "
        "mean over seeds (negative: the method has fewer errors). Student's 95 % interval, from "
        f"{FEWEST_SEEDS} seeds on, is over seeds, for these images. It describes; only claims are tested.",
        headings=headings,
        rows=rows,
        n_keys=4,
        long=len(rows) > 12,
    )
