"""The columns of the results and of their cache, derived from the dataclasses of the record."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Collection, Iterator
from typing import Any

from afterkernel.records.record import KernelRecord, Record, Resources

_SQL = {float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN", str: "VARCHAR"}
_DTYPES = {float: "float64", int: "int64", bool: "bool", str: "str"}
_NULLABLE = {float: "Float64", int: "Int64", bool: "boolean", str: "string"}
# Between the warnings of one kernel, where a data frame holds them as one text.
SEPARATOR = "; "


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its name and the Python type of its values (dict: JSON text; tuple: strings joined by SEPARATOR)."""

    name: str
    kind: type[Any]
    optional: bool

    @property
    def sql(self) -> str:
        """The type in DuckDB."""
        return _SQL.get(self.kind, "VARCHAR")

    @property
    def dtype(self) -> str:
        """The dtype in a data frame."""
        return "str" if self.kind in (tuple, dict) else (_NULLABLE if self.optional else _DTYPES)[self.kind]


def _columns(owner: type[Any]) -> list[Column]:
    hints = typing.get_type_hints(owner)
    found = []
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        options = [hint]
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            options = [option for option in typing.get_args(hint) if option is not types.NoneType]
        kind = typing.get_origin(options[0]) or options[0]
        if kind in (*_SQL, dict) or typing.get_args(options[0]) == (str, ...):
            found.append(Column(field.name, kind, options[0] is not hint))
    return found


# In order, but for schema_version, which every row ends with.
COLUMNS = sorted(
    (column for owner in (Record, KernelRecord, Resources) for column in _columns(owner)),
    key=lambda column: column.name == "schema_version",
)
NAMES = {column.name for column in COLUMNS}
# The columns of the data frame, in order; the other JSON texts are columns only of SQL queries.
MEASURES_COLUMN = "measures"
FRAME = {column.name: column.dtype for column in COLUMNS if column.kind is not dict or column.name == MEASURES_COLUMN}


def rows(record: Record, names: Collection[str] = NAMES) -> Iterator[dict[str, Any]]:
    """The values of these columns, one row per kernel. ValueError for values that JSON can not hold."""
    common = _values(record, names)
    for kernel in record.kernels:
        yield common | _values(kernel, names) | _values(kernel.resources, names)


def _values(part: Record | KernelRecord | Resources, names: Collection[str]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(part).items() if name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return SEPARATOR.join(value)
    return json.dumps(value, sort_keys=True, allow_nan=False) if isinstance(value, dict) else value
