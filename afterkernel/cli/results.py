"""results DIR: the numbers, one row per snapshot and kernel."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel import plugins
from afterkernel import text as fmt
from afterkernel.cli import A_FILE, RESULTS, CommandParser, folder_argument
from afterkernel.errors import MissingPluginError, UserError
from afterkernel.records.exported import export
from afterkernel.records.frame import check_columns, results, sql
from afterkernel.records.record import is_configured
from afterkernel.records.store import read_records
from afterkernel.text import print_table

if TYPE_CHECKING:
    import pandas as pd

GROUP = RESULTS

# The columns on the terminal by default: column, heading, format.
_MAIN: list[tuple[str, str, Callable[[Any], str]]] = [
    ("sweep", "sweep", str),
    ("dataset", "dataset", str),
    ("minus", "minus", str),
    ("plus", "plus", str),
    ("classes", "classes", str),
    ("svm_backend", "svm", str),
    ("arch", "arch", str),
    ("learning_rate", "lr", fmt.general),
    ("seed", "seed", str),
    ("epoch", "epoch", fmt.plain),
    ("step", "step", str),
    ("kernel", "kernel", str),
    ("svm_test_error", "svm %", fmt.percent),
    ("net_test_error", "net %", fmt.percent),
    ("margin", "margin", fmt.significant),
    ("shift_invariance", "shift", fmt.cosine),
    ("rotation_invariance", "rot", fmt.cosine),
    ("zoom_invariance", "zoom", fmt.cosine),
    ("swap_invariance", "swap", fmt.cosine),
    ("converged", "conv", fmt.flag),
]
_COLUMN_OF = {heading: column for column, heading, _ in _MAIN}
_LEAST = ["net_test_error", "converged", "margin", "zoom_invariance", "rotation_invariance", "sweep", "svm_backend"]
_KEYS = 12  # These first columns say what a row is about.
_VALUES = 10  # So many values of one are named where no row matches.
_SHARED = 6  # These first columns are printed in a line above the table if all rows agree.


def main(argv: Sequence[str]) -> int:
    """`results DIR`: print the results below a directory, or add its records to a file.

    Raises UserError for an invalid directory, condition, query or column, and for a file that can't be added to.
    """
    parser = CommandParser(
        "results", "Print the results of a run or a sweep.", "results runs/demo --where \"kernel = 'ntk'\" --sort epoch"
    )
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help=f"a run, a sweep, the folder of all sweeps, or {A_FILE}"
    )
    parser.add_argument(
        "--where", metavar="EXPR", help="rows to keep, in SQL, such as \"epoch = 5 and kernel = 'ntk'\""
    )
    parser.add_argument(
        "--columns",
        metavar="A,B",
        help="columns to print instead of the default ones, by these names or those of --csv",
    )
    parser.add_argument("--sort", metavar="A,B", help="columns to sort by; --sort=-A for largest first")
    parser.add_argument("--csv", action="store_true", help="all columns as comma-separated values")
    parser.add_argument(
        "--sql",
        metavar="QUERY",
        help='print the result of this SELECT over the table results: "select arch, count(*) ... group by 1"',
    )
    parser.add_argument(
        "--export",
        type=folder_argument,
        metavar="FILE.parquet",
        help="add all records, with configurations, to this file, which every command that reads records takes as DIR",
    )
    options = parser.parse_args(argv)

    if options.export is not None:
        return _export(options)
    if options.sql is not None:
        return _answer(options)
    frame = results(options.directory, options.where)
    if options.sort is not None:
        frame = _sorted(frame, _names(options.sort))
    names = _names(options.columns) if options.columns is not None else None
    check_columns(frame, names or [])
    if options.csv:
        frame[names or list(frame.columns)].to_csv(sys.stdout, index=False)
        return 0
    if frame.empty:
        print(f"No matching rows{_recorded(options.directory, options.where)}.")
        return 0
    if names:
        _print([(name, name, fmt.table_cell) for name in names], frame)
        return 0
    by_step = bool(frame["epoch"].isna().any())  # steps are shown only where they are all that is known
    main = [column for column in _MAIN if column[0] != "step" or by_step]
    shared = [name for name, _, _ in main[:_SHARED] if frame[name].nunique() == 1]
    if shared:
        print("  ".join(f"{name}={value}" for name in shared if (value := frame[name].iloc[0]) != ""))
    left_out = _print([column for column in main if column[0] not in shared], frame, droppable=_LEAST)
    print(_legend([name for name, _, _ in main if name not in {*shared, *left_out}], frame))
    if "ntk" in set(frame["kernel"]):
        print("ntk: the NTK at initialisation, the after kernel later")
    if left_out:
        print(f"Columns that do not fit: {', '.join(left_out)} (--columns picks them).")
    return 0


def _export(options: argparse.Namespace) -> int:
    given = [name for name in ("where", "columns", "sort", "csv", "sql") if getattr(options, name) not in (None, False)]
    if given:
        raise UserError(f"--{given[0]} can't be combined with --export, which writes all records: leave it out.")
    records = read_records(options.directory)
    needed = {str(name) for record in records for name in record.config.get("plugins") or []}
    if missing := sorted(needed - set(plugins.loaded())):
        raise MissingPluginError(
            f"{options.directory}: its runs use plugins, without which it is not known which of their options are "
            f"private: add plugins=[{','.join(missing)}] to the command."
        )
    # Importing the options takes a second, which other results need not wait for.
    from afterkernel.config.public import public_record

    records = [public_record(record) if is_configured(record) else record for record in records]
    found = export(records, options.export)
    runs = fmt.plural(len({(record.sweep, record.run_id) for record in found}), "run")
    size = fmt.size(options.export.stat().st_size)
    print(f"{options.export}: {runs}, {fmt.plural(len(found), 'record')}, {size}")
    return 0


def _answer(options: argparse.Namespace) -> int:
    given = [name for name in ("where", "columns", "sort") if getattr(options, name) is not None]
    if given:
        raise UserError(f"--{given[0]} can't be combined with --sql: write it in the query.")
    frame = sql(options.directory, options.sql)
    if options.csv:
        frame.to_csv(sys.stdout, index=False)
    elif frame.empty:
        print("No matching rows.")
    else:
        _print([(str(name), str(name), fmt.table_cell) for name in frame.columns], frame)
    return 0


def _names(text: str) -> list[str]:
    """Columns by the names or the headings of the table; a dash before a name stays."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{text!r} names no column: give names separated by commas.")
    dashes = ["-" if name.startswith("-") else "" for name in names]
    plain = [name.removeprefix("-") for name in names]
    return [dash + _COLUMN_OF.get(name, name) for dash, name in zip(dashes, plain, strict=True)]


def _recorded(directory: Path, where: str | None) -> str:
    """The values of the main columns that a condition without matching rows names, as the end of a sentence."""
    named = [(name, show) for name, _, show in _MAIN[:_KEYS] if re.search(rf"\b{name}\b", where or "")]
    if not named:
        return ""
    frame, text = results(directory), ""
    for name, show in named:
        found = [show(value) for value in sorted(frame[name].dropna().unique())]
        more = f" and {len(found) - _VALUES} more" if len(found) > _VALUES else ""
        text += f"; {name} is one of {', '.join(found[:_VALUES])}{more}"
    return text


def _legend(columns: Sequence[str], frame: pd.DataFrame) -> str:
    """What the headings of these columns of the default table mean, in one line."""
    headings = {column: heading for column, heading, _ in _MAIN}
    parts = []
    for pattern, meaning in (
        ("_test_error", "test error"),
        ("_invariance", "invariances"),
        ("converged", "SVM converged"),
    ):
        if named := [headings[column] for column in columns if column.endswith(pattern)]:
            parts.append(f"{', '.join(named)}: {meaning}")
    if bool(frame[list(columns)].isna().any(axis=None)):
        parts.append(f"{fmt.MISSING}: not measured")
    return "; ".join(parts)


def _sorted(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    plain = [name.removeprefix("-") for name in names]
    if "" in plain:
        raise UserError("--sort=- names no column: give its name after the dash, as --sort=-epoch.")
    check_columns(frame, plain)
    return frame.sort_values(plain, ascending=[not name.startswith("-") for name in names], kind="stable")


def _print(
    columns: list[tuple[str, str, Callable[[Any], str]]], frame: pd.DataFrame, droppable: Sequence[str] = ()
) -> list[str]:
    # Returns the columns that do not fit on the terminal.
    shown = {name: [heading, *map(form, frame[name])] for name, heading, form in columns}
    left_out = []
    for name in droppable:
        width = sum(max(map(len, cells)) + 2 for cells in shown.values()) - 2
        if sys.stdout.isatty() and width > shutil.get_terminal_size().columns and name in shown:
            left_out.append(name)
            del shown[name]
    rows = [list(row) for row in zip(*shown.values(), strict=True)]
    print_table(rows[0], rows[1:])
    return left_out
