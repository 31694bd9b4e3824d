"""Tables of the page as LaTeX, with the booktabs package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afterkernel.report.table_format import Table

_CODES = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash ", "~": r"\textasciitilde ", "^": r"\textasciicircum "}
    | {
        "\N{PLUS-MINUS SIGN}": r"$\pm$",
        "\N{RIGHTWARDS ARROW}": r"$\to$",
        "\N{MINUS SIGN}": "$-$",
        "\N{EN DASH}": "--",
        "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
        "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
    }
)


def booktabs(table: Table, name: str) -> str:
    """A table environment with caption and label tab:NAME; cells are rounded as on the page."""
    rows = [[f"{text} ({below})" if below else text for text, below in row.cells] for row in table.rows]
    lines = [" & ".join(map(_escape, row)) + r" \\" for row in rows]
    caption, headings = _escape(f"{table.title}. {table.note}"), " & ".join(map(_escape, table.headings))
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{{'l' * table.n_keys + 'r' * (len(table.headings) - table.n_keys)}}}",
            r"\toprule",
            rf"{headings} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escape(text: str) -> str:
    # A space directly after a command would be lost.
    return re.sub(r"(\\text[a-z]+ ) ", r"\1\\space ", text.translate(_CODES))
