"""A table on the terminal: columns of text, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The lines of a table, two spaces between columns; `right` says which columns are set to the right."""
    widths = [max(len(row[index]) for row in (headings, *rows)) for index in range(len(headings))]
    lines = []
    for row in (headings, *rows):
        cells = zip(row, widths, right, strict=True)
        lines.append("  ".join(cell.rjust(width) if far else cell.ljust(width) for cell, width, far in cells).rstrip())
    return lines
