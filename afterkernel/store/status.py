"""How far the runs below a directory are: which snapshots are recorded, and which are wanted."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afterkernel.errors import UserError
from afterkernel.store.files import CONFIG, RECORDS
from afterkernel.store.record import Record
from afterkernel.store.records import records_by_run


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """One run: epochs recorded (by the evaluation that got furthest) and wanted; `wanted` is None where unknown.

    `wall_s` is what its training and that evaluation took; None without records. `damaged` is what is wrong with its
    records where they can't be read; None where they can.
    """

    run_dir: Path
    run_id: str
    arch: str | None
    learning_rate: float | None
    seed: int | None
    recorded: tuple[int, ...]
    wanted: tuple[int, ...] | None
    wall_s: float | None = None
    damaged: str | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """Epochs that are wanted and not recorded."""
        return tuple(epoch for epoch in self.wanted or () if epoch not in self.recorded)

    @property
    def done(self) -> bool:
        """Whether every snapshot wanted is recorded (False where nobody knows what is wanted, or what is recorded)."""
        return self.wanted is not None and not self.missing and self.damaged is None


def status(
    directory: Path | str,
    records: Mapping[Path, list[Record]] | None = None,
    damaged: Mapping[Path, str] | None = None,
    *,
    may_be_none: bool = False,
) -> list[RunStatus]:
    """One entry a run below a directory, sorted by architecture, learning rate and seed.

    A run is a folder with a config.yaml or with records; `records` are those, by folder, where they have been read, and
    `damaged` says of the folders whose records could not be read what is wrong with them (see `readable_records`).
    UserError where a file can't be read, and where there is no run unless there `may_be_none`.
    """
    records = records_by_run(directory) if records is None else records
    root = Path(directory)
    configs = [path.parent for path in root.rglob(CONFIG) if not _foreign(path.relative_to(root))]
    folders = sorted({*records, *(damaged or {}), *configs})
    if not folders and not may_be_none:
        raise UserError(f"{directory} holds no runs: no {CONFIG} and no {RECORDS} lies below it.")
    found = [_one(folder, records.get(folder, []), (damaged or {}).get(folder)) for folder in folders]
    return sorted(found, key=lambda run: (run.arch or "", run.learning_rate or 0.0, run.seed or 0, run.run_id))


def wanted_epochs(config: dict[str, Any], final_epoch: int | None) -> tuple[int, ...] | None:
    """Epochs of the snapshots that a configuration asks for, the last one included; None where it does not say.

    `final_epoch` is the epoch at which training did stop (a loss target may stop it early), None while unknown.
    """
    epochs, last = lookup(config, "snapshot.epochs"), lookup(config, "training.epochs")
    if final_epoch is not None:
        last = final_epoch
    if not isinstance(epochs, list) or not isinstance(last, int):
        return None
    return tuple(sorted({epoch for epoch in epochs if epoch <= last} | {last}))


def lookup(config: Any, *names: str) -> Any:
    """The value at the first dotted name that the configuration has; None where it has none of them."""
    for name in names:
        node = config
        for key in name.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if node is not None:
            return node
    return None


def _one(folder: Path, records: list[Record], damaged: str | None = None) -> RunStatus:
    config = _config(folder)
    if config is None:
        config = records[0].config if records else {}
    by_evaluation: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_evaluation[record.evaluation_id].append(record)
    furthest = max(by_evaluation.values(), key=lambda found: len({record.epoch for record in found}), default=[])
    recorded = {record.epoch for record in furthest}
    final = max((record.epoch for record in records if record.final), default=None)
    one = records[0] if records else None
    rate = one.learning_rate if one else lookup(config, "training.lr")
    return RunStatus(
        run_dir=folder,
        run_id=one.run_id if one else folder.name,
        arch=one.arch if one else lookup(config, "arch.name"),
        learning_rate=None if rate is None else float(rate),
        seed=one.seed if one else lookup(config, "seed"),
        recorded=tuple(sorted(recorded)),
        wanted=wanted_epochs(config, final),
        wall_s=_wall_s(furthest) if furthest else None,
        damaged=damaged,
    )


def _wall_s(records: list[Record]) -> float:
    """Seconds of training, and of the kernels, SVMs and measures of these records."""
    spent = [kernel.resources for record in records for kernel in record.kernels]
    evaluated = sum(each.wall_s_kernel + each.wall_s_svm + each.wall_s_measures for each in spent)
    return evaluated + max(record.wall_s_train for record in records)


def _config(folder: Path) -> dict[str, Any] | None:
    import yaml

    path = folder / CONFIG
    if not path.is_file():
        return None
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the first is ten times as fast
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no mapping, and a configuration is one.")
    return config


def _foreign(path: Path) -> bool:
    """Whether it is Hydra's, or what W&B leaves of a run that it has uploaded."""
    return any(part.startswith(".") for part in path.parts) or path.match("wandb/*run-*/files/*")
