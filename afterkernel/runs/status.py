"""The status of the runs below a directory: which snapshots are recorded, and which are still missing."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afterkernel.errors import UserError
from afterkernel.records.config_file import config_of
from afterkernel.records.files import CONFIG, RECORDS
from afterkernel.records.record import Record, is_configured
from afterkernel.records.store import RunFolder, read_runs
from afterkernel.text import natural_key
from afterkernel.training.snapshot_rule import SnapshotRule


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """One run: epochs recorded (by the evaluation that got furthest) and wanted; `wanted` is None where unknown.

    Of a training that `afterkernel.Recorder` recorded these are steps, all that are recorded are wanted, and `ended`
    says whether its end was recorded; None for a configured run.
    `wall_s` is the time of its training and of that evaluation; None without records. `damaged` describes the first of
    its files that had to be skipped; None if there is none. `training_end` is that of its last record.
    """

    run_dir: Path
    run_id: str
    arch: str | None
    learning_rate: float | None
    seed: int | None
    recorded: tuple[float, ...]
    wanted: tuple[float, ...] | None
    wall_s: float | None = None
    damaged: str | None = None
    ended: bool | None = None
    training_end: str = ""

    @property
    def missing(self) -> tuple[float, ...]:
        """Epochs that are wanted and not recorded."""
        return tuple(epoch for epoch in self.wanted or () if epoch not in self.recorded)

    @property
    def done(self) -> bool:
        """Whether every wanted snapshot is recorded; False if it is unknown which are wanted."""
        return self.wanted is not None and not self.missing


def status(
    directory: Path | str, runs: Sequence[RunFolder] | None = None, *, may_be_none: bool = False
) -> list[RunStatus]:
    """One entry per run below a directory, sorted by architecture, learning rate and seed.

    A run is a folder with records or with a config.yaml of afterkernel; `runs` are these if already read. Damaged
    files are skipped with a SkippedWarning. UserError if the directory holds no runs, unless `may_be_none`.
    """
    found = [one for run in (read_runs(directory) if runs is None else runs) if (one := _one(run)) is not None]
    if not found and not may_be_none:
        here = f"{directory} (the current folder, {Path.cwd()})" if Path(directory) == Path() else str(directory)
        raise UserError(f"{here} contains no runs: there is no {CONFIG} and no {RECORDS}/*.json of a run below it.")
    return sorted(
        found, key=lambda run: (run.arch or "", run.learning_rate or 0.0, run.seed or 0, natural_key(run.run_id))
    )


def wanted_epochs(config: dict[str, Any], final_epoch: float | None) -> tuple[float, ...] | None:
    """Epochs of the snapshots of a configuration, including the last one; None if that is unknown.

    `final_epoch` is the epoch at which training ended, which may be earlier than its last, None while unknown.
    Snapshots at losses are not among them, since their epochs are not known beforehand.
    """
    epochs, last = lookup(config, "snapshot.epochs"), lookup(config, "training.epochs")
    if final_epoch is not None:
        last = final_epoch
    if not isinstance(epochs, list) or not all(type(epoch) in (int, float) for epoch in [*epochs, last]):
        return None
    return tuple(SnapshotRule(epochs=epochs).until(last))


def lookup(config: Any, name: str) -> Any:
    """The value of a dotted name in nested dictionaries; None if it is missing."""
    for key in name.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _one(run: RunFolder) -> RunStatus | None:
    """The status of a run; None if all there is is a configuration that is damaged or another program's."""
    config = config_of(run) if run.has_config else None
    if config is None and not run.is_run:
        return None
    by_evaluation: dict[str, list[Record]] = defaultdict(list)
    for record in run.records:
        by_evaluation[record.evaluation_id].append(record)
    furthest = max(by_evaluation.values(), key=lambda found: len({record.step for record in found}), default=[])
    if furthest and not is_configured(furthest[0]):
        return _recorded(run, furthest)
    recorded = {record.epoch for record in furthest if record.epoch is not None}
    final = max((record.epoch for record in run.records if record.final and record.epoch is not None), default=None)
    one = run.records[0] if run.records else None
    known = config or (one.config if one else {})
    arch, rate, seed = (lookup(known, name) for name in ("arch.name", "training.lr", "seed"))
    wanted = wanted_epochs(known, final)
    return RunStatus(
        run_dir=run.path,
        run_id=one.run_id if one else run.path.name,
        arch=one.arch if one else arch if isinstance(arch, str) else None,
        learning_rate=one.learning_rate if one else float(rate) if isinstance(rate, (int, float)) else None,
        seed=one.seed if one else seed if isinstance(seed, int) else None,
        recorded=tuple(sorted(recorded)),
        wanted=None if wanted is None else tuple(sorted({*wanted, *recorded})),
        wall_s=_wall_s(furthest) if furthest else None,
        damaged=next(iter(run.skipped), None),
        training_end=next((record.training_end for record in furthest if record.final), ""),
    )


def _recorded(run: RunFolder, records: list[Record]) -> RunStatus:
    """The status of a training that was recorded by `afterkernel.Recorder`."""
    one, steps = records[0], tuple(sorted({record.step for record in records}))
    return RunStatus(
        run_dir=run.path,
        run_id=one.run_id,
        arch=one.arch,
        learning_rate=one.learning_rate,
        seed=one.seed,
        recorded=steps,
        wanted=steps,
        wall_s=_wall_s(records),
        damaged=next(iter(run.skipped), None),
        ended=any(record.final for record in records),
    )


def _wall_s(records: list[Record]) -> float:
    """Seconds of training, and of the kernels, SVMs and measures of these records."""
    spent = [kernel.resources for record in records for kernel in record.kernels]
    evaluated = sum(each.wall_s_kernel + each.wall_s_svm + each.wall_s_measures for each in spent)
    return evaluated + max(record.wall_s_train for record in records)
