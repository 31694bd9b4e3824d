"""report DIR: tables and figures, as one HTML page or as Markdown pages."""

from __future__ import annotations

import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.cli import A_FILE, RESULTS, CommandParser, folder_argument
from afterkernel.errors import UserError
from afterkernel.progress.display import print_above, waiting
from afterkernel.records.files import RECORDS
from afterkernel.report.closing import closing_lines
from afterkernel.report.markdown import build_pages
from afterkernel.report.page import build_page

GROUP = RESULTS

QUIET_S = 10.0
_FORMATS = {"html": build_page, "markdown": build_pages}


def main(argv: Sequence[str]) -> int:
    """`report DIR [--output PATH] [--format markdown] [--open]`: write the report; print verdicts and the page's link.

    Raises UserError if there are no records.
    """
    parser = CommandParser("report", "Write the report of a run, a sweep, or all sweeps.", "report runs/demo")
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help=f"a run, a sweep, the folder of all sweeps, or {A_FILE}"
    )
    parser.add_argument(
        "--output", type=folder_argument, help="the page (.html) or its folder; by default DIR/report or FILE-report"
    )
    parser.add_argument(
        "--format", choices=_FORMATS, default="html", help="one HTML page, or Markdown pages for a repository"
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    options = parser.parse_args(argv)
    try:
        with waiting(f"writing the report of {options.directory}"), _announced(options.directory):
            report = _FORMATS[options.format](options.directory, options.output)
    except OSError as error:
        where = f"--output={options.output}" if options.output else f"{options.directory}"
        raise UserError(
            f"{where}: the report can't be written there ({error.strerror}); name another folder."
        ) from error
    lines = closing_lines(report.findings, report.lead, report.page)
    print("\n".join(lines), flush=True)
    if options.open and not _opens(lines[-1]):
        print("afterkernel: no browser was found here: open the link above in one.", file=sys.stderr)
    return 0


@contextmanager
def _announced(directory: Path) -> Iterator[None]:
    """Print what a report does, if the block takes longer than a few seconds."""

    def announce() -> None:
        records = str(directory)
        if directory.is_dir():
            found = sum(1 for _ in directory.rglob(f"{RECORDS}/*.json"))
            records = f"{fmt.plural(found, 'record')} of {directory}"
        print_above(f"reading {records} and drawing figures", "err")

    timer = threading.Timer(QUIET_S, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _opens(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
