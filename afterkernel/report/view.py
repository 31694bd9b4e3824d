"""What the page shows of one section: its summary, figures and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.records.columns import SEPARATOR
from afterkernel.records.record import Record
from afterkernel.report import figure_errors, figure_invariances, figure_trajectory
from afterkernel.report import table_data as tables
from afterkernel.report import table_format as show
from afterkernel.report.output import Output, Picture
from afterkernel.report.sections import Section
from afterkernel.report.summary import sentences

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class View:
    """What the page shows of one section; `trajectories` are folded away at first where there are many."""

    slug: str
    heading: str
    counts: str
    notes: list[str]
    summary: list[str]
    pictures: list[Picture]
    trajectories: list[Picture]
    tables: list[show.Table]


def n_figures(section: Section) -> int:
    """How many figures a section has."""
    return 2 + len(section.rows()[["panel", "kernel"]].drop_duplicates())


def view(section: Section, output: Output) -> View:
    """The view of a section, its tables and figures written."""
    rows = section.rows()
    n_test = int(rows["n_test"].min())
    errors, changes = tables.errors_by_epoch(rows), tables.changes(rows)
    return View(
        slug=section.slug,
        heading=f"{section.dataset}: {section.minus} against {section.plus}",
        counts=_counts(section.records),
        notes=list(_notes(section)),
        summary=sentences(rows, changes, n_test),
        pictures=list(_pictures(section, errors, changes, output)),
        trajectories=list(_trajectories(section, output)),
        tables=list(_tables(section, errors, changes, output, fmt.percent_decimals(n_test))),
    )


def _tables(
    section: Section, errors: pd.DataFrame, changes: pd.DataFrame, output: Output, decimals: int
) -> Iterator[show.Table]:
    for index, way in enumerate(section.ways):
        rows = section.rows(way)
        if index:
            errors, changes = tables.errors_by_epoch(rows), tables.changes(rows)
        health = tables.health(rows)
        found = {
            "test_error": (errors, show.error_table(errors, decimals)),
            "before_after": (changes, show.change_table(changes, decimals)),
        }
        if not index:
            networks = tables.networks(rows)
            found["networks"] = (networks, show.network_table(networks, decimals))
        costs = tables.costs(rows)
        found |= {"svm_health": (health, show.health_table(health)), "costs": (costs, show.cost_table(costs))}
        title = f", evaluation {_evaluation(rows)}" if len(section.ways) > 1 else ""
        for name, (frame, table) in found.items():
            named = dataclasses.replace(table, title=f"{table.title}{title}")
            written = output.table(frame, named, f"{section.slug}_{name}{f'_{way}' if index else ''}")
            if written.rows:
                yield written


def _pictures(section: Section, errors: pd.DataFrame, changes: pd.DataFrame, output: Output) -> Iterator[Picture]:
    rows = section.rows()
    rates = [float(rate) for rate in rows["learning_rate"].unique()]
    mean, which = _over(rows), f" Evaluation {_evaluation(rows)}." if len(section.ways) > 1 else ""
    yield output.picture(
        f"{section.slug}_test_error",
        "Test error against epochs",
        "Test error of the hard-margin SVM on each kernel against epochs of training; the dashed line is the kernel at "
        "initialisation (on the left the NTK; points after epoch 0 are after kernels). Right: the network's own test "
        f"error, from its first snapshot after the initialisation. {mean}.{which}",
        figure_errors.draw,
        rows,
        errors,
    )
    measured = figure_invariances.measured(changes)
    if len(measured):
        same = tables.unchanged(rows)
        still = (
            f" Unchanged here, since these transforms leave such images as they are: {', '.join(same)}." if same else ""
        )
        yield output.picture(
            f"{section.slug}_invariances",
            "Invariances before and after training",
            "Invariance of each kernel's embedding under four transforms, at initialisation (open) and at the last "
            "snapshot (filled). For shift, rotation and zoom further right is more invariant; for swap, which "
            f"exchanges two quadrants, further left is more global. {mean}.{still}{which}",
            figure_invariances.draw,
            measured,
            rates,
        )


def _trajectories(section: Section, output: Output) -> Iterator[Picture]:
    rows = section.rows()
    rates = [float(rate) for rate in rows["learning_rate"].unique()]
    for index, panel in enumerate(sorted(rows["panel"].unique())):
        for kernel in tables.kernel_order(rows["kernel"]):
            part, kind = rows[(rows["panel"] == panel) & (rows["kernel"] == kernel)], describe(kernel)
            table = figure_trajectory.trajectory(part)
            if table.empty:
                continue
            name = f"{section.slug}_trajectory_{index}_{kernel}"
            output.data(table, name)
            yield output.picture(
                name,
                f"Trajectory: {panel}, {kind.title}",
                f"Trajectory of {panel}, {kind.title}: each measure against epochs, "
                f"log(1 + epoch); {kind.start_label} is at 0. {_over(part)}.",
                figure_trajectory.draw,
                table,
                rates,
            )


def _over(rows: pd.DataFrame) -> str:
    seeds = rows.groupby(["panel", "learning_rate"])["seed"].nunique()
    low, high = int(seeds.min()), int(seeds.max())
    over = fmt.plural(high, "seed") if low == high else f"{low} to {high} seeds"
    return f"Means over {over} (n), bars of one standard error to each side" if high > 1 else "One seed, so no bars"


def _notes(section: Section) -> Iterator[str]:
    if len(section.ways) > 1:
        yield (
            f"The snapshots were evaluated in {len(section.ways)} ways, which are never averaged together. "
            f"Verdicts, summary and figures show the one with most rows, {_evaluation(section.rows())}; tables show "
            "each."
        )
    if section.n_dropped:
        yield (
            f"{fmt.plural(section.n_dropped, 'row')} that stand twice, of a run in several sweeps or evaluated again "
            "in the same way, are counted once."
        )
    failed = int((~section.frame["converged"]).sum())
    if failed:
        yield f"{fmt.plural(failed, 'SVM')} of {len(section.frame):,} did not converge: see the health of the SVMs."
    doubts = sorted({doubt for text in section.frame["warnings"] for doubt in str(text).split(SEPARATOR) if doubt})
    if doubts:
        rest = f" And {len(doubts) - 3} more." if len(doubts) > 3 else ""
        yield f"Some numbers are doubtful. {' '.join(doubts[:3])}{rest}"
    split = int((section.frame["separable"] == False).fillna(False).sum())  # noqa: E712
    if split:
        yield f"In {fmt.plural(split, 'row')} the kernel does not separate the training data, so there is no margin."


def _evaluation(rows: pd.DataFrame) -> str:
    backends = ", ".join(sorted(set(rows["svm_backend"])))
    return (
        f"{rows['evaluation_id'].iloc[0]} (SVM: {backends}{', with intercept' if rows['svm_intercept'].any() else ''})"
    )


def _counts(records: list[Record]) -> str:
    runs = len({(one.sweep, one.run_id) for one in records})
    snapshots = len({(one.sweep, one.run_id, one.epoch) for one in records})
    train, test = (sorted({getattr(one, name) for one in records}) for name in ("n_train", "n_test"))
    sizes = [" to ".join(fmt.count(size) for size in sorted({found[0], found[-1]})) for found in (train, test)]
    seeds = fmt.plural(len({one.seed for one in records}), "seed")
    return (
        f"{fmt.plural(runs, 'run')}, {seeds}, {fmt.plural(snapshots, 'snapshot')}; "
        f"{sizes[0]} training and {sizes[1]} test images"
    )
