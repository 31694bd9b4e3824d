"""A table on the terminal: columns of text, those of numbers to the right."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from afterkernel.records.format import MISSING


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print headings and rows, wrapped to the terminal where there is one."""
    right = [all(_is_number(row[index]) for row in rows) for index in range(len(headings))]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading, numeric in zip(headings, right, strict=True):
            table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(len(heading), *(len(row[index]) for row in rows)) for index, heading in enumerate(headings)]
    for row in (headings, *rows):
        cells = zip(row, widths, right, strict=True)
        print("  ".join(cell.rjust(width) if numeric else cell.ljust(width) for cell, width, numeric in cells).rstrip())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in (MISSING, "")
    return True
