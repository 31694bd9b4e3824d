"""Reads back what W&B wrote offline: a LevelDB log of protocol-buffer records behind a header of 7 bytes."""

import struct
from pathlib import Path

BLOCK = 32_768


def records(run_folder: Path):
    """All records of one offline run, in order."""
    from wandb.proto import wandb_internal_pb2

    (log,) = run_folder.glob("*.wandb")
    for payload in _payloads(log.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        yield record


def _payloads(data: bytes):
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # a block's tail too short for a header is padding
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0:
            return
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # full, or the last part of several
            yield b"".join(parts)
            parts = []
