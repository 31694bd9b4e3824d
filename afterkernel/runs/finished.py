"""Determines which parts of a run are finished, from its configuration and the hashes of its images and weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from afterkernel.config import Config
from afterkernel.errors import UserError
from afterkernel.records import Record, read_run
from afterkernel.runs.run_state import RunState, read_state
from afterkernel.training import snapshot
from afterkernel.training.snapshot import Snapshot, TrainingSummary


def finished_data_sha256(config: Config, run_dir: Path) -> str | None:
    """SHA-256 of the images that a finished run was trained on; None for an unfinished run or damaged files."""
    try:
        state = read_state(run_dir)
        if state is None or state.clearing or state.training_id != config.identity.training_id:
            return None
        summary = snapshot.read_summary(run_dir)
        if summary is None or (summary.run, summary.data_sha256) != (state.identity, state.data_sha256):
            return None
        return state.data_sha256 if is_finished(config, run_dir, state, summary) else None
    except UserError:
        return None  # the run itself reports what is wrong with them


def is_finished(config: Config, run_dir: Path, state: RunState, summary: TrainingSummary) -> bool:
    """Whether each snapshot of the configuration exists, with its record."""
    wanted = config.snapshot.until(summary.epochs)
    found = snapshots(run_dir, state)
    if not all(epoch in found for epoch in wanted):
        return False
    return set(wanted) <= set(valid_records(config, run_dir, config.identity.run_id, state, found, summary))


def snapshots(run_dir: Path, state: RunState) -> dict[int, Snapshot]:
    """The metadata of the snapshots of this start of a run, by epoch. UserError if one is damaged."""
    found = (snapshot.read(path) for path in snapshot.paths(run_dir))
    return {facts.epoch: facts for facts in found if facts.run == state.identity}


def valid_records(
    config: Config,
    run_dir: Path,
    name: str,
    state: RunState,
    found: dict[int, Snapshot],
    summary: TrainingSummary | None,
) -> dict[int, Record]:
    """The records of a configuration's evaluation by epoch that were made from these images and these weights.

    All were computed with the same memory budget, threads and device; records that differ from most in these are left
    out, so that they are recomputed.
    """
    records = {}
    for record in read_run(run_dir, name).values():
        facts = None if record.epoch is None else found.get(int(record.epoch))
        if facts is not None and record.evaluation_id == config.identity.evaluation_id:
            hashes = record.provenance.get("data_sha256"), record.provenance.get("snapshot_sha256")
            is_last = summary is not None and facts.epoch == summary.epochs
            if hashes == (state.data_sha256, facts.sha256) and (record.step, record.final) == (facts.step, is_last):
                records[facts.epoch] = record
    usual = Counter(map(_execution, records.values())).most_common(1)
    return {epoch: record for epoch, record in records.items() if _execution(record) == usual[0][0]}


def _execution(record: Record) -> str:
    return json.dumps(record.provenance.get("execution"), sort_keys=True)
