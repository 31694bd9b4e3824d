"""The checkpoint from which an interrupted training resumes: weights, optimizer, random state, epoch, time so far.

RUN_ID/training.ckpt    a line of JSON (version, SHA-256 of the rest, identity of the training), then Lightning's
                        checkpoint, which is loaded with `weights_only=True`

The file is replaced atomically at the end of an epoch, and deleted when training has ended.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from afterkernel.errors import UserError
from afterkernel.files.reading import read_bytes
from afterkernel.records.files import write_atomic

VERSION = 1


def write_checkpoint(path: Path, checkpoint: dict[str, Any], identity: str) -> None:
    """Write a checkpoint atomically; `identity` is that of the training."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    body = buffer.getvalue()
    head = {"version": VERSION, "sha256": hashlib.sha256(body).hexdigest(), "identity": identity}
    write_atomic(path, json.dumps(head).encode() + b"\n" + body)


def read_checkpoint(path: Path, identity: str) -> dict[str, Any]:
    """Read a checkpoint. Raises UserError if it is damaged, of a later version, or of another training."""
    head, body = _read(path)
    if head.get("version") != VERSION:
        raise UserError(
            f"{path} is a checkpoint of version {head.get('version')} and this afterkernel reads {VERSION}: use a "
            "later one, or delete the file to train the run from the start."
        )
    if hashlib.sha256(body).hexdigest() != head.get("sha256"):
        raise UserError(_damaged(path))
    if head.get("identity") != identity:
        raise UserError(
            f"{path} is the checkpoint of another training (other network, options or data): delete it to "
            "train the run from the start."
        )
    try:
        loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many types for data that are not plain
        raise UserError(_damaged(path)) from error
    if not isinstance(loaded, dict):
        raise UserError(_damaged(path))
    return loaded


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        first, _, body = read_bytes(path).partition(b"\n")
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    try:
        head = json.loads(first)
    except ValueError as error:
        raise UserError(_damaged(path)) from error
    if not isinstance(head, dict):
        raise UserError(_damaged(path))
    return head, body


def checkpoint_identity(path: Path) -> str | None:
    """The identity of the training in the first line of a checkpoint; None if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline())
        return str(head["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _damaged(path: Path | str) -> str:
    return f"{path} is truncated or was altered: delete it to train the run from the start."
