"""The report as Markdown pages for a repository: an index, one page per claim, and one per pair of classes.

FOLDER/index.md, claim_NAME.md, data_SLUG.md, and below it figures/ (PNG) and tables/ (CSV). The pages name no time or
folder of this machine, so that the same records give the same files.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from afterkernel.records.files import output_folder, write_atomic
from afterkernel.records.record import Record
from afterkernel.records.store import read_distinct_runs
from afterkernel.report import runs
from afterkernel.report.explanations import what_would_change
from afterkernel.report.figure_file import PageFigure
from afterkernel.report.output import ReportFiles
from afterkernel.report.page import WrittenReport, content, progress_of, templates
from afterkernel.report.sections import make_sections
from afterkernel.report.table_format import Table


def build_markdown(directory: Path | str, output: Path | str | None = None) -> Path:
    """Write the report of a run, a sweep or all sweeps, as `build_pages` does, and return the path of its index."""
    return build_pages(directory, output).page


def build_pages(directory: Path | str, output: Path | str | None = None) -> WrittenReport:
    """Write the report of a run, a sweep or all sweeps as Markdown pages.

    `output` is the folder, by default DIRECTORY/report or, of a file of exported records, FILE-report next to it.
    Raises UserError if there are no records.
    """
    found = read_distinct_runs(directory)
    records = list(chain.from_iterable(run.records for run in found))
    folder = Path(output or output_folder(directory, "report"))
    return write_markdown(records, runs.read_runs(directory, found), folder)


def write_markdown(records: list[Record], known: runs.SweepRuns, folder: Path) -> WrittenReport:
    """Write the pages of these records and runs to a folder."""
    sections = make_sections(records)
    environment = templates(autoescape=False)
    environment.filters |= {"table": markdown_table, "figure": markdown_figure, "cell": _escaped}
    files = ReportFiles(folder, figure_formats=("png",), with_latex=False)
    shown = content(records, sections, known, files)
    pages = {"index.md": environment.get_template("index.md.j2").render(**shown)}
    for card in shown["cards"]:
        text = environment.get_template("claim.md.j2").render(
            **shown, card=card, changes=what_would_change(card.finding)
        )
        pages[f"claim_{card.finding.claim.name}.md"] = text
    for view in shown["views"]:
        pages[f"data_{view.slug}.md"] = environment.get_template("section.md.j2").render(**shown, view=view)
    files.write_figures()
    for name, text in pages.items():
        write_atomic(folder / name, text)
    findings = [card.finding for card in shown["cards"]]
    return WrittenReport(folder / "index.md", findings, files, progress_of(shown["lead"], known))


def markdown_table(table: Table) -> str:
    """A table in GitHub's Markdown: the second line of a cell follows in brackets, and marked rows are bold."""
    lines = [_line(table.headings), _line(["---"] * len(table.headings))]
    for row in table.rows:
        cells = [f"{_escaped(text)} ({_escaped(below)})" if below else _escaped(text) for text, below in row.cells]
        lines.append(_line([f"**{cell}**" if row.alert and cell else cell for cell in cells]))
    return "\n".join(lines)


def markdown_figure(figure: PageFigure) -> str:
    """A figure with its caption."""
    return f"![{figure.alt}]({figure.files[0]})\n\n*{figure.caption}*"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: Any) -> str:
    return str(text).replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")
