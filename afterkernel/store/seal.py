"""A seal on a Parquet file: whether it is whole, unaltered, and of this version is seen before anything is parsed.

The file is standard Parquet. Its key-value metadata say `afterkernel.schema_version`, `afterkernel.columns` (a hash of
the columns' names and types), `afterkernel.runs` (JSON: the sweep and run of its records) and `afterkernel.sha256`: the
SHA-256 of the whole file with the 64 digits of that value set to 0. The way of sealing is the same in all versions, so
that a damaged file is told from one of a later version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.store.columns import SIGNATURE
from afterkernel.store.record import SCHEMA_VERSION

_MAGIC = b"PAR1"
_KEY = "afterkernel."
_DIGITS = 64
_STRING = b"\x18"  # a string field that follows its neighbour, in Thrift's compact protocol


@dataclass(frozen=True)
class Sealed:
    """A file found whole: its checksum, its runs as (sweep, run_id), and what tells that it is still the same."""

    path: Path
    digest: str
    runs: tuple[tuple[str, str], ...]
    stamp: tuple[int, int, int]

    def is_current(self) -> bool:
        """Whether the file is still the one that was checked, or has been replaced since."""
        try:
            return _stamp(self.path.stat()) == self.stamp
        except OSError:
            return False


def metadata(runs: set[tuple[str, str]]) -> dict[str, str]:
    """The metadata to write a file of records with; `close` puts the hash in."""
    return {
        f"{_KEY}schema_version": str(SCHEMA_VERSION),
        f"{_KEY}columns": SIGNATURE,
        f"{_KEY}runs": json.dumps(sorted(runs)),
        f"{_KEY}sha256": "0" * _DIGITS,
    }


def close(data: bytes) -> bytes:
    """The bytes of a Parquet file that was written with `metadata`, with its hash in place."""
    start = _find(data, "sha256")
    if start is None:
        raise ValueError("the file was not written with the metadata of a seal")
    return data[:start] + _digest(data, start) + data[start + _DIGITS :]


def check(path: Path) -> Sealed:
    """Read a file once and see whether it is whole and of this version. UserError, with what to do, where it isn't."""
    try:
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    start = _find(data, "sha256")
    if start is None and len(data) > 8 and data[:4] == data[-4:] == _MAGIC and _KEY.encode() not in data:
        raise UserError(f"{path} is a Parquet file that afterkernel did not write: move it away.")
    if start is None or data[start : start + _DIGITS] != _digest(data, start):
        raise UserError(
            f"{path} is truncated or was altered (its checksum does not fit): restore it, or move it away and "
            "evaluate the run again."
        )
    version, columns, runs = (_value(data, name) for name in ("schema_version", "columns", "runs"))
    if not re.fullmatch(r"\d{1,9}", version or "") or int(version) > SCHEMA_VERSION:
        raise UserError(
            f"{path} is of schema_version {version}, and this afterkernel reads {SCHEMA_VERSION}: take a later one."
        )
    if int(version) < SCHEMA_VERSION or columns != SIGNATURE:
        other = "" if int(version) < SCHEMA_VERSION else " with other columns"
        raise UserError(
            f"{path} is of schema_version {version}{other}, and this afterkernel reads {SCHEMA_VERSION}: move it away "
            "and evaluate the run again."
        )
    return Sealed(path, data[start : start + _DIGITS].decode(), _pairs(path, runs), stamp)


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _digest(data: bytes, start: int) -> bytes:
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(b"0" * _DIGITS)
    digest.update(memoryview(data)[start + _DIGITS :])
    return digest.hexdigest().encode()


def _find(data: bytes, name: str) -> int | None:
    # Metadata are the last strings of a Parquet file, and what users name has its control characters escaped in them.
    key = f"{_KEY}{name}".encode() + _STRING
    start = data.rfind(key) + len(key)
    if start < len(key):
        return None
    while start < len(data) and data[start] >= 0x80:  # the length, seven bits a byte
        start += 1
    return start + 1


def _value(data: bytes, name: str) -> str:
    start = _find(data, name)
    if start is None:
        return ""
    first = data.rfind(f"{_KEY}{name}".encode() + _STRING) + len(_KEY) + len(name) + 1
    length = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(data[first:start]))
    return data[start : start + length].decode("utf-8", "replace")


def _pairs(path: Path, text: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(sweep), str(run)) for sweep, run in json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} does not say which runs it holds: move it away and evaluate the run again.") from error
