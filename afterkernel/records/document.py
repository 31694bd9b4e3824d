"""A record as a document: one line of JSON that ends in the SHA-256 of what comes before it.

    {"number":3,"run_id":...,...,"kernels":[{...}],...,"schema_version":3,"sha256":"<64 digits>"}

`number`, always the first, is the number of the lock under which the record was written. The SHA-256 covers all bytes
before `,"sha256":`, and the bytes after it are fixed, so that every changed or missing byte is detected. Missing
optional fields read as their default and unknown ones are ignored: a version can add fields without a new
schema_version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from afterkernel.files.json_data import adapter
from afterkernel.records.record import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    from pydantic import ValidationError

_SEAL = b',"sha256":"'


class RecordError(ValueError):
    """What is wrong with a record, as the second half of a sentence that begins with the file."""


def encode(record: Record, number: int) -> bytes:
    """The document of a record. RecordError if it could not be read back unchanged."""
    tree = {"number": number, **dataclasses.asdict(record)}
    try:
        body = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()[:-1]
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"is not plain data with finite numbers: {error}") from error
    data = seal(body)
    found = decode(data)
    if found != record:
        changed = [field for field, value in vars(record).items() if value != getattr(found, field)]
        raise RecordError(f"holds more than JSON can in {', '.join(changed)}")
    return data


def seal(body: bytes) -> bytes:
    """The document for a JSON object that is given without its closing brace."""
    return b'%b%b%b"}\n' % (body, _SEAL, hashlib.sha256(body).hexdigest().encode())


def decode(data: bytes) -> Record:
    """The record in a document. RecordError if it is damaged, incomplete or of another version."""
    body, _, _ = data.rpartition(_SEAL)
    if not body or seal(body) != data:
        raise RecordError("is truncated or was altered (its checksum does not match)")
    return parse(data)


def parse(data: bytes) -> Record:
    """The record in a JSON object without checksum. RecordError if it is incomplete or of another version."""
    from pydantic import ValidationError
    from pydantic_core import from_json

    try:
        record: Record = adapter(Record).validate_json(data)
    except ValidationError as error:
        try:
            version = from_json(data)["schema_version"]
        except (ValueError, KeyError, TypeError):
            version = SCHEMA_VERSION
        raise RecordError(_other_version(version) or _first(error)) from error
    if fault := _other_version(record.schema_version):
        raise RecordError(fault)
    names = [kernel.kernel for kernel in record.kernels]
    if len(set(names)) != len(names) or not names:
        raise RecordError(f"has the kernels {', '.join(names) or 'none'}: it needs one or more, each once")
    return record


def _other_version(version: object) -> str:
    if version == SCHEMA_VERSION:
        return ""
    later = ": use a later afterkernel" if isinstance(version, int) and version > SCHEMA_VERSION else ""
    return f"has schema_version {version}, and this afterkernel reads {SCHEMA_VERSION}{later}"


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    name = ".".join(map(str, fault["loc"])) or "the document"
    if fault["type"] == "missing":
        return f"lacks {name}, which every record has"
    return f"can't be read as a record: {name}: {fault['msg']}"
