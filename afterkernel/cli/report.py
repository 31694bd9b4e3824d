"""report DIR: tables and figures, as one HTML page or as Markdown pages."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.cli import A_FILE, RESULTS, CommandParser, folder_argument
from afterkernel.errors import UserError
from afterkernel.report.markdown import build_markdown
from afterkernel.report.page import build

GROUP = RESULTS

_FORMATS = {"html": build, "markdown": build_markdown}


def main(argv: Sequence[str]) -> int:
    """`report DIR [--output PATH] [--format markdown]`: write the report and print the path of its (first) page.

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
    options = parser.parse_args(argv)
    try:
        print(_FORMATS[options.format](options.directory, options.output))
    except OSError as error:
        where = f"--output={options.output}" if options.output else f"{options.directory}"
        raise UserError(
            f"{where}: the report can't be written there ({error.strerror}); name another folder."
        ) from error
    return 0
