"""Tables of the page as LaTeX, with the booktabs package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afterkernel.report.table_format import Table

_SYMBOLS = {
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{RIGHTWARDS ARROW}": r"$\to$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def booktabs(table: Table, name: str) -> str:
    """A table environment with caption and label tab:NAME; cells are rounded as on the page."""
    import pandas as pd

    data = [[f"{text} ({below})" if below else text for text, below in row.cells] for row in table.rows]
    # Columns by position, since two may have the same heading.
    frame = pd.DataFrame(data, columns=range(len(table.headings)), dtype=str)
    headings = [_escape(str(heading)) for heading in table.headings]
    style = (
        frame.style.hide(axis="index").format(escape="latex").format_index(lambda at: headings[int(str(at))], axis=1)
    )
    text = style.to_latex(
        hrules=True,
        column_format="l" * table.n_keys + "r" * (len(headings) - table.n_keys),
        caption=_escape(f"{table.title}. {table.note}"),
        label=f"tab:{name}",
        position_float="centering",
    )
    for symbol, code in _SYMBOLS.items():
        text = text.replace(symbol, code)
    return f"% Needs \\usepackage{{booktabs}}.\n{text}"


def _escape(text: str) -> str:
    special = {char: f"\\{char}" for char in "&%$#_{}"}
    special |= {"\\": r"\textbackslash ", "~": r"\textasciitilde ", "^": r"\textasciicircum "}
    return "".join(special.get(char, char) for char in text)
