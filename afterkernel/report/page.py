"""The report of a directory: one self-contained HTML page, and files of its figures and tables."""

from __future__ import annotations

import dataclasses
import logging
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel import plugins
from afterkernel import text as fmt
from afterkernel.claims import CLAIMS, Finding
from afterkernel.claims.verdict import SHOWN
from afterkernel.kernel_kinds import describe
from afterkernel.records.files import output_folder, write_atomic
from afterkernel.records.record import Record, is_configured
from afterkernel.records.store import read_distinct_runs
from afterkernel.report import claim_cards, facts, figure_file, runs, training_failure
from afterkernel.report.output import ReportFiles
from afterkernel.report.section_view import section_view
from afterkernel.report.sections import Section, all_rows, make_sections
from afterkernel.report.terms import kernel_order, measured
from afterkernel.runs.provenance import git_commit, versions

if TYPE_CHECKING:
    from jinja2 import Environment

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WrittenReport:
    """A report on disk: its page, the verdicts on it, and its tables and figures."""

    page: Path
    findings: list[Finding]
    files: ReportFiles


def build(directory: Path | str, output: Path | str | None = None) -> Path:
    """Write the report of a run, a sweep or all sweeps, and return the path of its page.

    `output` is the page (a name that ends in .html) or a folder for it; by default DIRECTORY/report or, of a file of
    exported records, FILE-report next to it. Figures (PNG, SVG, PDF) are written to figures/ in the same folder, tables
    (CSV, LaTeX) to tables/. If some runs are not done, the report is partial and lists what is missing. Raises
    UserError if there are no records.
    """
    path = output_folder(directory, "report") if output is None else Path(output)
    page = path if path.suffix == ".html" else path / "index.html"
    found = read_distinct_runs(directory)
    records = list(chain.from_iterable(run.records for run in found))
    return write_report(records, runs.read_runs(directory, found), page, str(directory)).page


def write_report(records: list[Record], known: runs.SweepRuns, page: Path, directory: str) -> WrittenReport:
    """Write the report of these records and runs; `directory` is the name that the page gives their folder."""
    sections = make_sections(records)
    files = ReportFiles(page.parent)
    shown = content(records, sections, known, files) | figure_file.shared(files.figures.values())
    data_file = files.data(all_rows(sections, every_evaluation=True), "results")
    text = templates().get_template("page.html.j2").render(**shown, directory=directory, data_file=data_file)
    write_atomic(page, text)
    return WrittenReport(page, [card.finding for card in shown["cards"]], files)


def templates(*, autoescape: bool = True) -> Environment:
    """The templates of this package; a name that they use must be given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def content(
    records: list[Record], sections: list[Section], known: runs.SweepRuns, files: ReportFiles
) -> dict[str, Any]:
    """What a report shows, by the names of the templates; its tables and figures are written to `files`."""
    used = {str(name) for record in records for name in record.config.get("plugins") or []}
    if missing := sorted(used - set(plugins.loaded())):
        names = ",".join(missing)
        log.warning("the runs use plugins; add plugins=[%s] to the command for their titles, units and claims", names)
    rows = all_rows(sections)
    found = claim_cards.judge_claims(records, rows)
    judged = [finding.claim.name for finding in found]
    return {
        "title": _title(records),
        "lead": _lead(sections, known),
        "runs": known,
        "unfinished": runs.table(known),
        "training_failures": training_failure.in_words(records),
        "provisional": SHOWN,
        "cards": [claim_cards.claim_card(finding, files) for finding in found],
        "method": claim_cards.METHOD,
        "n_recorded": len({(one.sweep, one.run_id) for one in records if not is_configured(one)}),
        "not_requested": [name.upper() for name in CLAIMS if name not in judged],
        "n_of_several_classes": len({(one.sweep, one.run_id) for one in records if one.classes}),
        "views": [section_view(section, files) for section in sections],
        "kernels": [describe(name) for name in kernel_order(rows["kernel"])],
        "measures": measured(rows),
        "configuration": facts.configuration(records),
        "provenance": facts.provenance(records),
        "commands": facts.commands(records),
        "program": _program(),
    }


def _title(records: list[Record]) -> str:
    sweeps = sorted({record.sweep for record in records})
    return f"After kernels: {', '.join(sweeps[:3])}{' and others' if len(sweeps) > 3 else ''}"


def _lead(sections: list[Section], known: runs.SweepRuns) -> str:
    problems = [f"{one.dataset} {one.problem}" for one in sections]
    several = any(one.classes for one in sections)
    many = f"{len(problems)} {'choices' if several else 'pairs'} of classes"
    shown = "; ".join(problems) if len(problems) <= 4 else many
    snapshots = len({(one.sweep, one.run_id, one.step) for part in sections for one in part.records})
    return f"{shown}: {fmt.plural(len(known.runs), 'run')}, {fmt.plural(snapshots, 'snapshot')} recorded"


def _program() -> str:
    commit = git_commit()
    return f"afterkernel {versions().get('afterkernel', '')}".strip() + (f", commit {commit}" if commit else "")
