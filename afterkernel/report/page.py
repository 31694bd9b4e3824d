"""The report of a directory: one self-contained HTML page, and files of its figures and tables."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
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
from afterkernel.report import claim_cards, facts, figure_file, run_table, runs
from afterkernel.report.claim_table import NOTE
from afterkernel.report.judging import judge_claims
from afterkernel.report.main_table import error_tables
from afterkernel.report.notices import notice_frame, notice_table
from afterkernel.report.output import ReportFiles
from afterkernel.report.overview import verdict_frame
from afterkernel.report.section_view import section_view
from afterkernel.report.sections import Section, all_rows, make_sections
from afterkernel.report.terms import kernel_order, measured
from afterkernel.runs.provenance import git_commit, versions

if TYPE_CHECKING:
    from jinja2 import Environment

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WrittenReport:
    """A report on disk: its (first) page, the verdicts on it, its tables and figures, and one line on its runs."""

    page: Path
    findings: list[Finding]
    files: ReportFiles
    lead: str = ""


def build(directory: Path | str, output: Path | str | None = None) -> Path:
    """Write the report of a run, a sweep or all sweeps, as `build_page` does, and return the path of its page."""
    return build_page(directory, output).page


def build_page(directory: Path | str, output: Path | str | None = None) -> WrittenReport:
    """Write the report of a run, a sweep or all sweeps as one HTML page.

    `output` is the page (a name that ends in .html) or a folder for it; by default DIRECTORY/report or, of a file of
    exported records, FILE-report next to it. Figures (PNG, SVG, PDF) are written to figures/ in the same folder, tables
    (CSV, LaTeX) to tables/. If some runs are not done, the report is partial and lists what is missing. Raises
    UserError if there are no records.
    """
    path = output_folder(directory, "report") if output is None else Path(output)
    page = path if path.suffix == ".html" else path / "index.html"
    found = read_distinct_runs(directory)
    records = list(chain.from_iterable(run.records for run in found))
    return write_report(records, runs.read_runs(directory, found), page, str(directory))


def write_report(records: list[Record], known: runs.SweepRuns, page: Path, directory: str) -> WrittenReport:
    """Write the report of these records and runs; `directory` is the name that the page gives their folder."""
    sections = make_sections(records)
    files = ReportFiles(page.parent)
    shown = content(records, sections, known, files) | _of_runs(sections, known, files)
    shown |= figure_file.shared(files.figures.values())
    files.write_figures()
    text = templates().get_template("page.html.j2").render(**shown, directory=directory)
    write_atomic(page, text)
    return WrittenReport(page, [card.finding for card in shown["cards"]], files, progress_of(shown["lead"], known))


def _of_runs(sections: list[Section], known: runs.SweepRuns, files: ReportFiles) -> dict[str, Any]:
    """What the page shows of single runs: all with records, those that are not done, and the file of every number."""
    frame = run_table.run_frame(sections)
    decimals = fmt.percent_decimals(min(int(section.frame["n_test"].min()) for section in sections))
    unfinished = runs.table(known)
    return {
        "all_runs": files.table(frame, run_table.run_table(frame, decimals), "runs"),
        "unfinished": files.table(runs.frame(known), unfinished, "runs_not_done") if unfinished.rows else unfinished,
        "data_file": files.data(all_rows(sections, every_evaluation=True), "results"),
    }


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
    found = judge_claims(records, rows)
    views = [section_view(section, files) for section in sections]
    notices = [notice for view in views for notice in view.notices]
    warnings = notice_table(notices)
    return {
        "title": _title(records),
        "lead": _lead(sections, known),
        "runs": known,
        "provisional": SHOWN,
        "cards": [claim_cards.claim_card(finding, files) for finding in found],
        "tally": _tally(found),
        "verdicts_file": files.data(verdict_frame(found), "verdicts") if found else "",
        "statements": claim_cards.summarise_statements(found),
        "method": claim_cards.METHOD,
        "comparison_note": NOTE,
        "n_recorded": _n_runs(one for one in records if not is_configured(one)),
        "left_out": list(_left_out(records, [finding.claim.name for finding in found])),
        "errors": error_tables(sections, files),
        "warnings": files.table(notice_frame(notices), warnings, "warnings") if notices else warnings,
        "views": views,
        "kernels": [describe(name) for name in kernel_order(rows["kernel"])],
        "measures": measured(rows),
        "configuration": facts.configuration(records),
        "provenance": facts.provenance(records),
        "commands": facts.commands(records),
        "program": _program(),
    }


def _n_runs(records: Iterable[Record]) -> int:
    return len({(one.sweep, one.run_id) for one in records})


def _tally(found: list[Finding]) -> str:
    """How many claims have each verdict."""
    counts = Counter(finding.verdict for finding in found)
    listed = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    return f"{fmt.plural(len(found), 'claim')}: {listed}." if found else ""


def _left_out(records: list[Record], judged: list[str]) -> Iterator[str]:
    """What the verdicts are not about, in sentences."""
    if number := _n_runs(one for one in records if not is_configured(one)):
        runs_are = "One run" if number == 1 else f"{number} runs"
        yield (
            f"{runs_are} of a training loop without a configuration (written by Recorder) "
            f"{'is' if number == 1 else 'are'} left out of all verdicts: claims need configured sweeps, since they "
            "pair runs whose options are known to agree."
        )
    if number := _n_runs(one for one in records if one.classes):
        yield f"Claims are about pairs of classes. Runs with several classes are left out of them: {number}."
    if judged and (missing := [name.upper() for name in CLAIMS if name not in judged]):
        yield f"Not tested by these sweeps: {', '.join(missing)}."


def _title(records: list[Record]) -> str:
    sweeps = sorted({record.sweep for record in records})
    return f"After kernels: {', '.join(sweeps[:3])}{' and others' if len(sweeps) > 3 else ''}"


def _lead(sections: list[Section], known: runs.SweepRuns) -> str:
    problems = [f"{one.dataset} {one.problem}" for one in sections]
    several = any(one.classes for one in sections)
    many = f"{len(problems)} {'choices' if several else 'pairs'} of classes"
    shown = "; ".join(problems) if len(problems) <= 4 else many
    snapshots = len({(one.sweep, one.run_id, one.step) for part in sections for one in part.records})
    total = fmt.plural(len(known.runs), "run")
    done = f"{known.n_done} of {total} done" if known.partial else total
    tests = sorted({one.n_test for part in sections for one in part.records})
    images = " to ".join(fmt.count(size) for size in sorted({tests[0], tests[-1]}))
    return f"{shown}: {done}, {fmt.plural(snapshots, 'snapshot')}; {images} test images"


def progress_of(lead: str, known: runs.SweepRuns) -> str:
    """The lead of a report, and that its verdicts are provisional if runs are not done."""
    return f"{lead}; verdicts are provisional" if known.partial else lead


def _program() -> str:
    commit = git_commit()
    return f"afterkernel {versions().get('afterkernel', '')}".strip() + (f", commit {commit}" if commit else "")
