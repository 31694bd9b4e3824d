"""The loggers of a run, and what they get of it: its configuration without local paths, its files as artifacts."""

from __future__ import annotations

import dataclasses
import json
from contextlib import AbstractContextManager
from pathlib import Path

from afterkernel.config import Config, config_to_dict
from afterkernel.config.public import public_record
from afterkernel.config.schema import public
from afterkernel.loggers.run_loggers import RunLoggers, run_loggers
from afterkernel.records import write_atomic
from afterkernel.records.files import KERNELS_FOLDER
from afterkernel.records.logged_run import LoggedFile, LoggedRun
from afterkernel.records.record import Record
from afterkernel.records.training_curve import TrainingCurve
from afterkernel.training import snapshot


def loggers_of(config: Config, run_dir: Path, run_id: str, start: str) -> AbstractContextManager[RunLoggers]:
    """The loggers of a run, with its training curve so far; an evaluation with other options has a run of its own."""
    plain = config_to_dict(config)
    paths = [run_dir, plain["output_dir"], plain["dataset"].get("root")]
    logged = LoggedRun(
        run_dir=run_dir,
        run_id=run_id,
        variant="" if config.identity.run_id == run_id else config.identity.evaluation_id,
        sweep=config.sweep.name,
        config=public(plain),
        start=start,
        local_paths=tuple(str(path) for path in paths if path),
        files_of=lambda record: _files(config, run_dir, record),
    )
    return run_loggers(config.logger, logged, TrainingCurve(run_dir, start).points)


def _files(config: Config, run_dir: Path, record: Record) -> list[LoggedFile]:
    """What `keep` keeps of a snapshot, and its record without local paths.

    The evaluation is made from its kernels, and each kernel from the snapshot.
    """
    of_run = record.run_id
    name = f"{of_run}-snapshot"
    found = []
    weights = snapshot.paths_by_step(run_dir)[record.step].with_suffix(".pt")
    if "checkpoint" in config.keep and weights.exists():
        found = [LoggedFile("snapshot", name, weights)]
    version = f"{name}:step-{record.step}"
    kernels = []
    for kernel in record.kernels if "gram" in config.keep else ():
        of_kernel = f"{of_run}-{record.evaluation_id}-{kernel.kernel}"
        stem = f"step={record.step:04d}.{record.evaluation_id}.{kernel.kernel}"
        files = sorted((run_dir / KERNELS_FOLDER).glob(f"{stem}.*.npy"))
        found += [LoggedFile("kernel", of_kernel, path, (version,)) for path in files]
        kernels.append(f"{of_kernel}:step-{record.step}")
    public = public_record(record, [str(run_dir), config.output_dir])
    path = run_dir / "wandb" / "records" / f"{record.step}.{record.evaluation_id}.json"
    write_atomic(path, json.dumps(dataclasses.asdict(public), indent=1) + "\n")
    made_from = tuple(kernels) or (version,)
    return [*found, LoggedFile("evaluation", f"{of_run}-{record.evaluation_id}-evaluation", path, made_from)]
