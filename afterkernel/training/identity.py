"""The identity of a training, stored in all its files: snapshots, checkpoint, tiles and warm starts.

TRAINING_ID DATA_SHA256 START    hash of the training options, hash of the images, random name of one start of the run

Each force=true makes a new start.
"""

from __future__ import annotations


def training_identity(training_id: str, data_sha256: str, start: str) -> str:
    """The identity of one start of a training."""
    return f"{training_id} {data_sha256} {start}"


def start_of(identity: str) -> str:
    """The name of the start in an identity; empty for any other text."""
    words = identity.split(" ")
    return words[2] if len(words) == 3 else ""


def mismatch(found: str, wanted: str) -> str | None:
    """Why a file of identity `found` does not belong to the training `wanted`; None if it does."""
    if found == wanted:
        return None
    here, there = found.split(" "), wanted.split(" ")
    if len(here) != len(there) or here[0] != there[0]:
        return "it belongs to another training (other network, options or seed)"
    if here[1:2] != there[1:2]:
        return "it was made from other images"
    return "it belongs to another start of the same training, such as a copy of this run elsewhere"
