"""The columns of a store file and of the results, drawn from the dataclasses of the record."""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from typing import Any

from afterkernel.store.record import KernelRecord, Record, Resources

_SQL = {float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN", str: "VARCHAR"}
_DTYPES = {float: "float64", int: "int64", bool: "bool", str: "str"}
_NULLABLE = {float: "Float64", int: "Int64", bool: "boolean", str: "string"}
# Between the warnings of one kernel, where a data frame holds them as one text.
SEPARATOR = "; "


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its name, the Python type of its values (dict: JSON text; tuple: list of strings), and the owner."""

    name: str
    kind: type[Any]
    optional: bool
    owner: type[Any]

    @property
    def sql(self) -> str:
        """The type in Parquet, in the words of the engine."""
        if self.kind is tuple:
            return "VARCHAR[]"
        return "VARCHAR" if self.kind is dict else _SQL[self.kind]

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
            found.append(Column(field.name, kind, options[0] is not hint, owner))
    return found


# The version is that of the file, said once in its metadata.
COLUMNS = [
    column
    for owner in (Record, KernelRecord, Resources)
    for column in _columns(owner)
    if column.name != "schema_version"
]
BY_NAME = {column.name: column for column in COLUMNS}
# What every row of a data frame has, in order; the JSON texts can be asked for in SQL.
FRAME = {column.name: column.dtype for column in COLUMNS if column.kind is not dict} | {"schema_version": "int64"}
SIGNATURE = hashlib.sha256(
    ", ".join(f"{column.name} {column.sql} {column.optional}" for column in COLUMNS).encode()
).hexdigest()
