"""Reads back what W&B wrote offline: a LevelDB log of protocol-buffer records after a header of 7 bytes."""

import json
import struct
import time
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


class Offline:
    """What one offline run says, as a dashboard would show it."""

    def __init__(self, run_folder: Path):
        self.run, self.config, self.summary, self.history, self.metrics, self.exit_codes = None, {}, {}, [], {}, []
        for record in records(run_folder):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = self.run or record.run
                self._update(self.config, record.run.config.update)
            elif kind == "config":
                self._update(self.config, record.config.update)
            elif kind == "summary":
                self._update(self.summary, record.summary.update)
            elif kind == "history":
                self.history.append(self._update({}, record.history.item))
            elif kind == "metric":
                self.metrics[record.metric.name] = record.metric
            elif kind == "exit":
                self.exit_codes.append(record.exit.exit_code)

    @staticmethod
    def _update(values, items):
        for item in items:
            values["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        return values


def finished(run_folder: Path, at_most_s: float = 30) -> Offline:
    """An offline run, once W&B's process has written its end, which it does in a process of its own."""
    deadline = time.monotonic() + at_most_s
    while not (found := Offline(run_folder)).exit_codes and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
