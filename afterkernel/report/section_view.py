"""One section of the page: its summary, figures and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.records.record import Record
from afterkernel.report import figure_errors, figure_invariances, figure_trajectory, table_data, table_format
from afterkernel.report.figure_file import PageFigure
from afterkernel.report.notices import Notice, section_notices
from afterkernel.report.output import ReportFiles
from afterkernel.report.sections import Section, written
from afterkernel.report.summary import key_numbers, sentences
from afterkernel.report.terms import kernel_order

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class SectionView:
    """A section as a report shows it; `trajectories` are figures too.

    `data` names its data as claims do, `key_numbers` are its main results in one line, and `evaluations` says which of
    several evaluations is shown, if there are several.
    """

    slug: str
    heading: str
    data: str
    counts: str
    key_numbers: str
    evaluations: str
    notices: list[Notice]
    summary: list[str]
    figures: list[PageFigure]
    trajectories: list[PageFigure]
    tables: list[table_format.Table]


def section_view(section: Section, files: ReportFiles) -> SectionView:
    """The view of a section, with its tables and figures written."""
    rows = section.rows()
    n_test = int(rows["n_test"].min())
    errors, changes = table_data.errors_by_epoch(rows), table_data.changes(rows)
    return SectionView(
        slug=section.slug,
        heading=f"{section.dataset}: {section.problem}",
        data=section.data,
        counts=_counts(section.records),
        key_numbers=key_numbers(changes, n_test),
        evaluations=_evaluations(section),
        notices=list(section_notices(section)),
        summary=[*sentences(rows, changes, n_test, section.axis), *_also_counted(section)],
        figures=list(_figures(section, errors, changes, files)),
        trajectories=list(_trajectories(section, files)),
        tables=list(_tables(section, files, errors, changes)),
    )


def _tables(
    section: Section, files: ReportFiles, errors: pd.DataFrame, changes: pd.DataFrame
) -> Iterator[table_format.Table]:
    """The tables of every evaluation; `errors` and `changes` are those of the first."""
    axis, decimals = section.axis, fmt.percent_decimals(int(section.rows()["n_test"].min()))
    for index, group in enumerate(section.evaluation_groups):
        rows = section.rows(group)
        if index:
            errors, changes = table_data.errors_by_epoch(rows), table_data.changes(rows)
        health, costs = table_data.health(rows), table_data.costs(rows)
        tables = {
            "test_error": (errors, table_format.error_table(errors, decimals, axis)),
            "before_after": (changes, table_format.change_table(changes, decimals, axis)),
            "svm_health": (health, table_format.health_table(health, axis)),
            "costs": (costs, table_format.cost_table(costs)),
        }
        if index == 0:  # networks are the same in every evaluation
            networks = table_data.networks(rows, axis)
            tables["networks"] = (networks, table_format.network_table(networks, decimals))
        title = f", evaluation {_evaluation(rows)}" if len(section.evaluation_groups) > 1 else ""
        for name, (frame, table) in tables.items():
            named = dataclasses.replace(table, title=f"{table.title}{title}")
            table_files = files.table(
                written(frame, axis), named, f"{section.slug}_{name}{f'_{group}' if index else ''}"
            )
            if table_files.rows:
                yield table_files


def _figures(section: Section, errors: pd.DataFrame, changes: pd.DataFrame, files: ReportFiles) -> Iterator[PageFigure]:
    rows = section.rows()
    rates = [float(rate) for rate in rows["learning_rate"].unique()]
    mean = _over(rows)
    evaluation = f" Evaluation {_evaluation(rows)}." if len(section.evaluation_groups) > 1 else ""
    yield files.figure(
        f"{section.slug}_test_error",
        figure_errors.result(changes),
        f"Test error of the SVM on each kernel against {section.axis}s of training. The dashed line is the "
        f"kernel at initialisation (for the NTK / AK: the NTK; points after {section.axis} 0 are after kernels). "
        f"Right: the network's own test error, from its first snapshot after the initialisation. {mean}.{evaluation}",
        figure_errors.draw(rows, errors, section.axis),
    )
    invariances = figure_invariances.invariance_changes(changes)
    if len(invariances):
        yield files.figure(
            f"{section.slug}_invariances",
            figure_invariances.result(invariances),
            "Invariance of each kernel's embedding under transforms of the images, at initialisation (open) and at the "
            "last snapshot (filled). Further right is more invariant; for swap, which exchanges two quadrants, further "
            f"left is more global. {mean}.{evaluation}",
            figure_invariances.draw(invariances, rates),
        )


def _trajectories(section: Section, files: ReportFiles) -> Iterator[PageFigure]:
    rows = section.rows()
    rates = [float(rate) for rate in rows["learning_rate"].unique()]
    for index, panel in enumerate(sorted(rows["panel"].unique())):
        for kernel in kernel_order(rows["kernel"]):
            part, kind = rows[(rows["panel"] == panel) & (rows["kernel"] == kernel)], describe(kernel)
            table = figure_trajectory.trajectory(part)
            if table.empty:
                continue
            name = f"{section.slug}_trajectory_{index}_{kernel}"
            title = f"{panel}, {kind.title}"
            files.data(written(table, section.axis), name)
            yield files.figure(
                name,
                figure_trajectory.result(table, section.axis),
                f"Trajectory of {title}: each measure against {section.axis}s, on the scale "
                f"log(1 + {section.axis}). {section.axis.capitalize()} 0: {kind.start_label}. {_over(part)}.",
                figure_trajectory.draw(table, rates, section.axis),
            )
            losses = figure_trajectory.against_losses(part)
            if losses.empty:
                continue
            name = f"{section.slug}_losses_{index}_{kernel}"
            files.data(losses.rename(columns={"epoch": "train_loss"}), name)
            yield files.figure(
                name,
                figure_trajectory.result(losses, figure_trajectory.LOSS),
                f"{title[0].upper()}{title[1:]}: each measure against the training loss (nats), which falls to the "
                "right; each run is interpolated between the snapshots that bracket a loss, after the initialisation. "
                f"{_over(part)}.",
                figure_trajectory.draw(losses, rates, figure_trajectory.LOSS),
            )


def _over(rows: pd.DataFrame) -> str:
    seeds = rows.groupby(["panel", "learning_rate"])["seed"].nunique()
    low, high = int(seeds.min()), int(seeds.max())
    over = fmt.plural(high, "seed") if low == high else f"{low} to {high} seeds"
    bars = "bars are Student's 95 % intervals, cut off at the frame; open points are over fewer seeds and not joined"
    return f"Points are means over {over}, {bars}" if high > 1 else "Points are of one seed, so there are no bars"


def _also_counted(section: Section) -> Iterator[str]:
    """What the section counts although claims and the main table leave it out."""
    rows = section.frame
    n_failed = len(rows[rows["training_failure"] != ""].drop_duplicates(["sweep", "run_id"]))
    n_svms = int((~rows["converged"]).sum())
    found = [f"{fmt.plural(n_failed, 'run')} without a trained network"] if n_failed else []
    found += [f"{fmt.plural(n_svms, 'SVM')} that did not converge"] if n_svms else []
    if found:
        yield f"Unlike claims and the main table, this section also counts {' and '.join(found)}."


def _evaluations(section: Section) -> str:
    if len(section.evaluation_groups) == 1:
        return ""
    return (
        f"The snapshots were evaluated with {len(section.evaluation_groups)} sets of options, which are never averaged "
        f"together. Verdicts, summary and figures are of the one with most rows, {_evaluation(section.rows())}; tables "
        "show each."
    )


def _evaluation(rows: pd.DataFrame) -> str:
    backends = ", ".join(sorted(set(rows["svm_backend"])))
    intercept = ", with intercept" if rows["svm_intercept"].any() else ""
    outputs = "".join(f", kernel.output={name}" for name in sorted(set(rows["kernel_output"]) - {""}))
    outputs += "".join(f", kernel.dtype={name}" for name in sorted(set(rows["kernel_dtype"]) - {"", "float32"}))
    return f"{rows['evaluation_id'].iloc[0]} (SVM: {backends}{intercept}{outputs})"


def _counts(records: list[Record]) -> str:
    runs = len({(one.sweep, one.run_id) for one in records})
    snapshots = len({(one.sweep, one.run_id, one.step) for one in records})
    train, test = (sorted({getattr(one, name) for one in records}) for name in ("n_train", "n_test"))
    sizes = [" to ".join(fmt.count(size) for size in sorted({found[0], found[-1]})) for found in (train, test)]
    seeds = fmt.plural(len({one.seed for one in records}), "seed")
    return (
        f"{fmt.plural(runs, 'run')}, {seeds}, {fmt.plural(snapshots, 'snapshot')}; "
        f"{sizes[0]} training and {sizes[1]} test images"
    )
