"""All runs with their own results, before anything is averaged: one row per run, to which comparisons link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report.main_table import END, START, Method
from afterkernel.report.sections import Section, rate_text
from afterkernel.report.table_format import Table, TableRow, tags
from afterkernel.report.terms import NETWORK_ITSELF, kernel_order

if TYPE_CHECKING:
    import pandas as pd

_RUN = ["sweep", "run_id"]
_NUMBERS = ["step", "train_loss", "net_test_error"]


def run_frame(sections: Sequence[Section]) -> pd.DataFrame:
    """One row per run with records, at its last snapshot.

    Columns: sweep, run_id, data, network, learning_rate, seed, epoch, step, train_loss, net_test_error,
    training_failure (why it has no trained network), final (whether it has ended), and the SVM's test error on each
    kernel, named by `Method.title`; NaN where an SVM did not converge. A kernel that training changes has a
    column at initialisation and one at the last snapshot.
    """
    import pandas as pd

    return pd.concat([_section_frame(section) for section in sections], ignore_index=True)


def _section_frame(section: Section) -> pd.DataFrame:
    rows = section.group()
    last = rows[rows["step"] == rows.groupby(_RUN)["step"].transform("max")]
    frame = last.drop_duplicates(_RUN).rename(columns={"panel": "network"}).assign(data=section.data)
    names = [*_RUN, "data", "network", "learning_rate", "seed", "epoch", *_NUMBERS, "training_failure", "final"]
    frame = frame[names].set_index(_RUN)
    for kernel in kernel_order(rows["kernel"]):
        stages = {START: rows[rows["step"] == 0], END: last[last["step"] > 0]}
        if not describe(kernel).is_learned:
            stages = {END: last}
        for stage, part in stages.items():
            usable = part[(part["kernel"] == kernel) & part["converged"]].drop_duplicates(_RUN)
            errors = usable.set_index(_RUN)["svm_test_error"]
            if errors.notna().any():
                frame[Method("SVM", kernel, stage).title] = errors.astype(float)
    return frame.reset_index()


def run_table(frame: pd.DataFrame, decimals: int) -> Table:
    """The runs as shown, with an anchor for each."""
    methods = [name for name in frame.columns if name.endswith("SVM")]
    rows, anchors = [], set()
    for row in frame.sort_values(["data", "network", "learning_rate", "seed"], kind="stable").to_dict("records"):
        rate = rate_text(0.0 if fmt.is_missing(row["learning_rate"]) else row["learning_rate"])
        state = "ended" if row["final"] else "not ended"
        cells = [(text, "") for text in (row["run_id"], row["data"], row["network"], rate, str(row["seed"]))]
        cells.append((state, row["training_failure"]))
        texts = [fmt.MISSING if fmt.is_missing(row["epoch"]) else fmt.epochs(row["epoch"]), str(row["step"])]
        texts += [fmt.significant(row["train_loss"]), fmt.percent(row["net_test_error"], decimals)]
        texts += [fmt.percent(row[name], decimals) for name in methods]
        anchor = anchor_of(row["run_id"])
        rows.append(
            TableRow(
                [*cells, *((text, "") for text in texts)],
                alert=row["training_failure"] != "",
                anchor="" if anchor in anchors else anchor,  # a run of two sweeps has one place
                tags=tags(row["data"], row["network"], rate),
            )
        )
        anchors.add(anchor)
    headings = ["run", "data", "architecture", "learning rate", "seed", "state", "epoch", "step", "training loss"]
    return Table(
        title="All runs at their last snapshot",
        note="One row per run, nothing averaged; test errors in percent. A dash: not measured, or the SVM did not "
        "converge. Runs without a trained network are marked.",
        headings=[*headings, f"{NETWORK_ITSELF} (%)", *(f"{name} (%)" for name in methods)],
        rows=rows,
        n_keys=1,
        long=True,
        further=frozenset({"step", "training loss", *(f"{name} (%)" for name in methods if "initial" in name)}),
    )


def anchor_of(run_id: str) -> str:
    """The id of a run's row on the page."""
    return f"run-{run_id}"
