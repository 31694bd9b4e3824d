"""Determines which parts of a run are finished, from its configuration and the hashes of its images and weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from afterkernel.config import Config
from afterkernel.errors import UserError
from afterkernel.records import Record, read_run
from afterkernel.runs.run_state import RunState, read_state
from afterkernel.text import plain
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
    found = snapshots(run_dir, state)
    if missing_snapshot(config, summary, found) is not None:
        return False
    return set(found) <= set(valid_records(config, run_dir, config.identity.run_id, state, found, summary))


def snapshots(run_dir: Path, state: RunState) -> dict[int, Snapshot]:
    """The metadata of the snapshots of this start of a run, by step. UserError if one is damaged."""
    found = (snapshot.read(path) for path in snapshot.paths(run_dir))
    return {facts.step: facts for facts in found if facts.run == state.identity}


def missing_snapshot(config: Config, summary: TrainingSummary, found: dict[int, Snapshot]) -> str | None:
    """The first snapshot of a training that ended which is not there, in words; None if all are."""
    if summary.snapshots is not None:
        return next((f"step {step}" for step in summary.snapshots if step not in found), None)
    epochs = {facts.epoch for facts in found.values()}  # a summary of an earlier version names no snapshots
    wanted = config.snapshot.until(summary.epochs)
    return next((f"epoch {plain(epoch)}" for epoch in wanted if epoch not in epochs), None)


def valid_records(
    config: Config,
    run_dir: Path,
    name: str,
    state: RunState,
    found: dict[int, Snapshot],
    summary: TrainingSummary | None,
) -> dict[int, Record]:
    """The records of a configuration's evaluation by step that were made from these images and these weights.

    All were computed with the same memory budget, threads and device; records that differ from most in these are left
    out, so that they are recomputed.
    """
    records = {}
    for record in read_run(run_dir, name).values():
        facts = found.get(record.step)
        if facts is not None and record.evaluation_id == config.identity.evaluation_id:
            hashes = record.provenance.get("data_sha256"), record.provenance.get("snapshot_sha256")
            is_last = summary is not None and summary.is_final(facts)
            if hashes == (state.data_sha256, facts.sha256) and (record.epoch, record.final) == (facts.epoch, is_last):
                records[facts.step] = record
    usual = Counter(map(_execution, records.values())).most_common(1)
    return {step: record for step, record in records.items() if _execution(record) == usual[0][0]}


def _execution(record: Record) -> str:
    return json.dumps(record.provenance.get("execution"), sort_keys=True)
