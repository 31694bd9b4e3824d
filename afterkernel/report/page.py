"""The report of a directory: one HTML page that opens from disk, with its figures and tables as files beside it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.report import facts, figure_errors, figure_invariances, show, style, tables
from afterkernel.report.facts import Facts
from afterkernel.report.sections import Section, make_sections
from afterkernel.report.summary import sentences
from afterkernel.store import format as fmt
from afterkernel.store.files import write_bytes_atomic, write_text_atomic
from afterkernel.store.record import Record
from afterkernel.store.records import read_records
from afterkernel.store.status import RunStatus, status

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page, embedded; `files` lie beside the page."""

    alt: str
    caption: str
    source: str
    files: list[str]


@dataclasses.dataclass(frozen=True)
class View:
    """What the page shows of one section."""

    heading: str
    counts: str
    notes: list[str]
    summary: list[str]
    pictures: list[Picture]
    tables: list[show.Table]
    configuration: Facts
    provenance: Facts
    commands: list[str]


def build(directory: Path | str, output: Path | str | None = None) -> Path:
    """Write the report of a run, a sweep or all sweeps, and return the path of its page.

    `output` is the page (a name that ends in .html) or a folder for it; by default DIRECTORY/report. Figures
    (PNG, SVG) and tables (CSV) lie beside the page. Runs that are not done make a partial report, and it says what it
    lacks.
    UserError where there are no records or one can't be read.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    records, runs = read_records(directory), status(directory)
    output = Path(directory, "report") if output is None else Path(output)
    page = output if output.suffix == ".html" else output / "index.html"
    sections = make_sections(records)
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("page.html.j2").render(
        title=_title(records),
        lead=_lead(records, runs),
        missing=facts.missing_table(runs),
        n_runs=len(runs),
        n_done=sum(run.done for run in runs),
        views=[_view(section, page.parent) for section in sections],
    )
    write_text_atomic(page, text)
    return page


def _view(section: Section, folder: Path) -> View:
    rows = section.rows()
    decimals = fmt.percent_decimals(int(rows["n_test"].min()))
    return View(
        heading=f"{section.dataset}: {section.minus} against {section.plus}",
        counts=_counts(section.records),
        notes=list(_notes(section)),
        summary=sentences(rows, int(rows["n_test"].min())),
        pictures=list(_pictures(section, folder)),
        tables=list(_tables(section, folder, decimals)),
        configuration=facts.configuration(section.records),
        provenance=facts.provenance(section.records),
        commands=facts.commands(section.records),
    )


def _tables(section: Section, folder: Path, decimals: int) -> Iterator[show.Table]:
    def save(table: pd.DataFrame, name: str) -> str:
        file = f"{section.slug}_{name}.csv"
        write_text_atomic(folder / file, table.to_csv(index=False, lineterminator="\n"))
        return file

    save(section.frame, "results")
    for index, evaluation in enumerate(section.evaluations):
        rows = section.rows(evaluation)
        tail = f"_{evaluation}" if index else ""
        found = []
        errors, changes = tables.errors_by_epoch(rows), tables.changes(rows)
        found.append(show.error_table(errors, decimals, save(errors, f"test_error{tail}")))
        found.append(show.change_table(changes, decimals, save(changes, f"before_after{tail}")))
        health = tables.health(rows)
        found.append(show.health_table(health, "Health of the SVMs", save(health, f"svm_health{tail}")))
        costs = tables.costs(rows)
        found.append(show.cost_table(costs, save(costs, f"costs{tail}")))
        if not index:
            networks = tables.networks(rows)
            found.append(show.network_table(networks, decimals, save(networks, "networks")))
        title = f", evaluation {_evaluation(rows)}" if len(section.evaluations) > 1 else ""
        yield from (dataclasses.replace(table, title=table.title + title) for table in found if table.rows)


def _pictures(section: Section, folder: Path) -> Iterator[Picture]:
    rows = section.rows()
    seeds = rows.groupby(["panel", "learning_rate"])["seed"].nunique()
    low, high = int(seeds.min()), int(seeds.max())
    over = fmt.plural(high, "seed") if low == high else f"{low} to {high} seeds"
    mean = f"Means over {over}, with standard errors" if high > 1 else "One seed, so no standard errors"
    which = f" Evaluation {_evaluation(rows)}." if len(section.evaluations) > 1 else ""
    yield _picture(
        figure_errors.draw(rows),
        *(folder, f"{section.slug}_test_error", "Test error against epochs"),
        "Test error of the hard-margin SVM on each kernel against epochs of training; the dashed line is the kernel at "
        "initialisation (on the left the NTK; points behind epoch 0 are after kernels). Right: the network's own test "
        f"error, from its first snapshot behind the initialisation. {mean}.{which}",
    )
    figure = figure_invariances.draw(rows)
    if figure is not None:
        same = tables.unchanged(rows)
        still = (
            f" Unchanged here, since these transforms leave such images as they are: {', '.join(same)}." if same else ""
        )
        yield _picture(
            figure,
            *(folder, f"{section.slug}_invariances", "Invariances before and after training"),
            "Invariance of each kernel's embedding under four transforms, at initialisation (open) and at the last "
            "snapshot (filled). For shift, rotation and zoom further right is more invariant; for swap, which "
            f"exchanges two quadrants, further left is more global. {mean}.{still}{which}",
        )


def _picture(figure: Figure, folder: Path, name: str, alt: str, caption: str) -> Picture:
    files = []
    for kind in ("png", "svg"):
        image = style.render(figure, kind)
        write_bytes_atomic(folder / f"{name}.{kind}", image)
        files.append(f"{name}.{kind}")
    source = f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}"
    return Picture(alt, caption, source, files)


def _notes(section: Section) -> Iterator[str]:
    if len(section.evaluations) > 1:
        yield (
            f"The snapshots were evaluated in {len(section.evaluations)} ways, which are never averaged together. "
            f"Summary and figures show the one with most rows, {_evaluation(section.rows())}; tables show each."
        )
    if section.n_dropped:
        yield f"{fmt.plural(section.n_dropped, 'row')} of runs that stand in several sweeps are counted once."
    failed = int((~section.frame["converged"]).sum())
    if failed:
        yield f"{fmt.plural(failed, 'SVM')} of {len(section.frame):,} did not converge: see the health of the SVMs."
    split = int((section.frame["separable"] == False).fillna(False).sum())  # noqa: E712
    if split:
        yield f"In {fmt.plural(split, 'row')} the kernel does not separate the training data, so there is no margin."


def _evaluation(rows: pd.DataFrame) -> str:
    backends = ", ".join(sorted(set(rows["svm_backend"])))
    return (
        f"{rows['evaluation_id'].iloc[0]} (SVM: {backends}{', with intercept' if rows['svm_intercept'].any() else ''})"
    )


def _title(records: list[Record]) -> str:
    sweeps = sorted({record.sweep for record in records})
    return f"After kernels: {', '.join(sweeps[:3])}{' and others' if len(sweeps) > 3 else ''}"


def _lead(records: list[Record], runs: list[RunStatus]) -> str:
    pairs = sorted({f"{one.dataset} {one.minus} against {one.plus}" for one in records})
    shown = "; ".join(pairs) if len(pairs) <= 4 else f"{len(pairs)} pairs of classes"
    snapshots = len({(one.sweep, one.run_id, one.epoch) for one in records})
    return f"{shown}: {fmt.plural(len(runs), 'run')}, {fmt.plural(snapshots, 'snapshot')} recorded"


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
