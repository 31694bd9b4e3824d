"""The report of a directory: one HTML page that opens from disk, and files of its figures and tables."""

from __future__ import annotations

import dataclasses
from itertools import chain
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.claims import HYPOTHESES, Finding
from afterkernel.records.files import write_atomic
from afterkernel.records.record import Record
from afterkernel.records.store import read_distinct_runs
from afterkernel.report import claims, facts, runs
from afterkernel.report.figure_pool import figure_pool
from afterkernel.report.output import Output
from afterkernel.report.sections import Section, make_sections, observations
from afterkernel.report.view import n_figures, view
from afterkernel.runs.provenance import git_commit, versions


@dataclasses.dataclass(frozen=True)
class Made:
    """A report that was written: its page, the verdicts on it, and the files of its tables and figures."""

    page: Path
    findings: list[Finding]
    output: Output


def build(directory: Path | str, output: Path | str | None = None) -> Path:
    """Write the report of a run, a sweep or all sweeps, and return the path of its page.

    `output` is the page (a name that ends in .html) or a folder for it; by default DIRECTORY/report. Figures (PNG, SVG)
    are written to figures/ in the same folder, tables (CSV, LaTeX) to tables/. With unfinished runs the report is
    partial and lists what is missing.
    UserError where there are no records or one can't be read.
    """
    path = Path(directory, "report") if output is None else Path(output)
    page = path if path.suffix == ".html" else path / "index.html"
    found = read_distinct_runs(directory)
    records = list(chain.from_iterable(run.records for run in found))
    return make(records, runs.read_runs(directory, found), page, str(directory)).page


def make(records: list[Record], known: runs.Runs, page: Path, directory: str) -> Made:
    """Write the report of these records and runs; `directory` is what the page calls the place where they lie."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    sections = make_sections(records)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    asked = claims.asked(records)
    found = claims.findings(asked, observations(sections))
    with figure_pool(len(asked) + sum(map(n_figures, sections))) as drawing:
        output = Output(page.parent, drawing)
        views = [view(section, output) for section in sections]
        text = environment.get_template("page.html.j2").render(
            title=_title(records),
            lead=_lead(sections, known),
            runs=known,
            unfinished=runs.table(known),
            cards=claims.cards(found, output),
            method=claims.METHOD,
            not_asked=[name.upper() for name in HYPOTHESES if name not in asked],
            views=views,
            data_file=output.data(observations(sections, every_way=True), "results"),
            configuration=facts.configuration(records),
            provenance=facts.provenance(records),
            commands=facts.commands(records),
            directory=directory,
            maker=_maker(),
        )
    write_atomic(page, text)
    return Made(page, found, output)


def _title(records: list[Record]) -> str:
    sweeps = sorted({record.sweep for record in records})
    return f"After kernels: {', '.join(sweeps[:3])}{' and others' if len(sweeps) > 3 else ''}"


def _lead(sections: list[Section], known: runs.Runs) -> str:
    pairs = [f"{one.dataset} {one.minus} against {one.plus}" for one in sections]
    shown = "; ".join(pairs) if len(pairs) <= 4 else f"{len(pairs)} pairs of classes"
    snapshots = len({(one.sweep, one.run_id, one.epoch) for part in sections for one in part.records})
    return f"{shown}: {fmt.plural(len(known.runs), 'run')}, {fmt.plural(snapshots, 'snapshot')} recorded"


def _maker() -> str:
    commit = git_commit()
    return f"afterkernel {versions().get('afterkernel', '')}".strip() + (f", commit {commit}" if commit else "")
