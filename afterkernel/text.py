"""Text for people: numbers, times, tables on the terminal, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "\N{EN DASH}"
# difflib's ratio: "kat" and "cat" have 0.67, "momentum" and "augment" 0.53.
_CLOSE = 0.65
_CLOSE_OPTION = 0.75


def is_missing(value: Any) -> bool:
    """None, pandas' NA and not-a-number are missing; everything else is there."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def general(value: Any) -> str:
    """A number in its shortest common form: 0.03, 1e-5, 12."""
    if is_missing(value):
        return MISSING
    return re.sub(r"e([+-])0*(\d)", lambda m: f"e{m[1].replace('+', '')}{m[2]}", f"{float(value):g}")


def plain(value: Any) -> str:
    """A number with all its digits, and without a decimal point if it is whole: 5, 0.25, 1200000."""
    return MISSING if is_missing(value) else f"{float(value):.15g}"


def epochs(value: float) -> str:
    """A number of epochs, within one to two decimals: 5, 0.46."""
    return plain(round(value, 2))


def percent(fraction: Any, decimals: int = 2) -> str:
    """A fraction in percent, without the sign: 0.0132 is 1.32."""
    return MISSING if is_missing(fraction) else f"{100 * float(fraction):.{decimals}f}"


def percent_decimals(n_test: int) -> int:
    """Decimals of a percentage measured on so many samples: no more than they can carry."""
    return 2 if n_test >= 500 else 1


def fixed(value: Any, decimals: int = 2) -> str:
    """A number with so many decimals."""
    return MISSING if is_missing(value) else f"{float(value):.{decimals}f}"


def cosine(value: Any) -> str:
    """A cosine, three decimals."""
    return fixed(value, 3)


def scientific(value: Any) -> str:
    """A small number such as a duality gap: 3.1e-7."""
    if is_missing(value):
        return MISSING
    mantissa, exponent = f"{float(value):.1e}".split("e")
    return "0" if float(value) == 0 else f"{mantissa}e{int(exponent)}"


def significant(value: Any, digits: int = 3) -> str:
    """A number to so many significant digits, never in exponents from 1e-4 to 1e6: 0.0123, 1.20, 4510."""
    if is_missing(value):
        return MISSING
    number = float(f"{float(value):.{digits - 1}e}")
    if number == 0:
        return "0"
    if not 1e-4 <= abs(number) < 1e6:
        return scientific(value)
    before = int(f"{abs(number):e}".split("e")[1])
    return f"{number:.{max(digits - 1 - before, 0)}f}"


def seconds(value: Any) -> str:
    """A time in seconds, three significant digits at most and no finer than a millisecond."""
    if is_missing(value):
        return MISSING
    return "<0.001" if 0 < float(value) < 0.001 else significant(round(float(value), 3))


def size(count: Any) -> str:
    """A number of bytes in binary units: 1.50 GiB."""
    if is_missing(count):
        return MISSING
    number, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{int(number) if units[0] == 'B' else significant(number)} {units[0]}"


def count(value: Any) -> str:
    """A whole number with thousands apart: 11,982."""
    return MISSING if is_missing(value) else f"{round(float(value)):,}"


def flag(value: Any) -> str:
    """Yes or no."""
    return MISSING if is_missing(value) else ("yes" if value else "no")


def spread(text: str, error: str) -> str:
    """A mean with its standard error, both formatted before; without one where there is none."""
    return text if MISSING in (text, error) else f"{text} ± {error}"


def signed(text: str, value: float) -> str:
    """The text of a change with its sign in front, a true minus where it fell; none where it rounds to nothing."""
    if not text.strip("-0."):
        return text.lstrip("-")
    return f"+{text}" if value > 0 else text.replace("-", "\N{MINUS SIGN}", 1)


def classes_in_words(minus: str, plus: str, classes: Sequence[str] = ()) -> str:
    """The classes of a problem in words: a pair, or the number and shortened names of several."""
    if not classes:
        return f"{minus} against {plus}"
    names = list(classes) if len(classes) <= 10 else [*classes[:5], "...", classes[-1]]
    return f"{len(classes)} classes ({', '.join(names)})"


def plural(number: int, noun: str) -> str:
    """A count and its noun: 1 seed, 3 seeds."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def table_cell(value: Any) -> str:
    """Format a table cell of any type, for a table whose columns the user chose."""
    if is_missing(value):
        return MISSING
    if isinstance(value, (bool, str)) or type(value).__name__ in ("bool", "bool_"):
        return flag(value) if not isinstance(value, str) else value
    return plain(value) if float(value).is_integer() else significant(value, 4)


def number(value: Any, decimals: int, *, sign: bool = False) -> str:
    """A number with so many decimals and a typographic minus; with `sign` also a plus."""
    if is_missing(value):
        return MISSING
    text = f"{float(value):{'+' if sign else ''}.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("+-")


def p_value(value: Any) -> str:
    """A p-value: three decimals, no finer than 0.001."""
    if is_missing(value):
        return MISSING
    return "<0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def duration(seconds: float) -> str:
    """Seconds in words of two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


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


def natural_key(text: str) -> list[tuple[float, str]]:
    """A key that sorts numbers within texts by their value: a2 before a10, lr0.03 before lr0.1, 1e-5 before 0.03."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", text, flags=re.ASCII)
    return [(float(part), "") if index % 2 else (-1.0, part) for index, part in enumerate(parts)]


def closest(name: str, known: Iterable[str], cutoff: float = _CLOSE) -> str | None:
    """The known name that is most similar to a misspelt one, ignoring case; None if none is similar."""
    lowered = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None


def closest_option(name: str, known: Iterable[str]) -> str | None:
    """The same for dotted options: the section or the last part must be right, and the other one close."""
    known = sorted(known)
    section, _, last = name.rpartition(".")
    same_section = {option.rpartition(".")[2]: option for option in known if option.rpartition(".")[0] == section}
    if (found := closest(last, same_section, _CLOSE_OPTION)) is not None:
        return same_section[found]
    same_last = {option.rpartition(".")[0]: option for option in known if option.rpartition(".")[2] == last}
    if section and (found := closest(section, same_last, _CLOSE_OPTION)) is not None:
        return same_last[found]
    # A section left out, as in lr=0.1.
    return next(iter(same_last.values())) if not section and len(same_last) == 1 else None


def a_kind(value: object) -> str:
    """The type of a value with its article: a list, an OrderedDict."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The suggestion as part of a sentence, in brackets, or nothing."""
    found = closest(name, known)
    return "" if found is None else f" (did you mean {found}?)"
