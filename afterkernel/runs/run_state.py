"""The state of a run, RUN/run.json: which files in the folder belong to the run, and what force=true does to them.

The state holds a hash of the training options, a hash of the images, and a random name for this start of the run. Every
file that a run reads back carries these three (`afterkernel.training.identity`). A file of another run, of other images
or of an earlier start is therefore never used by mistake. The state also holds the device and the number of threads,
which do not change when a run continues.

force=true first writes a state with `clearing` set, then moves the old contents to RUN/replaced/START. If the process
dies in between, the next process that works on the run completes the move. RUN/replaced/ is deleted when the new start
has finished.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from afterkernel.config import Config, device
from afterkernel.errors import UserError
from afterkernel.files.json_data import decode, encode
from afterkernel.launchers.job import LOG
from afterkernel.records.files import CHECKPOINT, LOCKS, RECORDS, REPLACED, STATE, write_atomic
from afterkernel.records.store import fence_records
from afterkernel.training import snapshot
from afterkernel.training.checkpoint import checkpoint_identity
from afterkernel.training.identity import mismatch, start_of, training_identity

log = logging.getLogger(__name__)

# Files that belong to the folder rather than to one start of the run.
_PERMANENT = (STATE, REPLACED, LOCKS, LOG)
OWNER = "owner"
_DISCARDED = ".discarded"


@dataclass(frozen=True)
class RunState:
    """One start of a run.

    `start` is its random name, `earlier` holds the names of the starts that force=true replaced. While `clearing` is
    true, their files are still being moved away. `device` ("cpu" or "cuda") and `threads` are those of the first
    process.
    """

    training_id: str
    data_sha256: str
    start: str
    device: str
    threads: int
    earlier: list[str] = dataclasses.field(default_factory=list)
    clearing: bool = False

    @property
    def identity(self) -> str:
        """The identity that all files of this start carry."""
        return training_identity(self.training_id, self.data_sha256, self.start)


def read_state(run_dir: Path) -> RunState | None:
    """The state of a run; None if it is missing or damaged, which `begin_run` repairs from the run's other files."""
    try:
        return decode(RunState, (run_dir / STATE).read_text())
    except (OSError, ValueError):
        return None


def begin_run(
    config: Config, run_dir: Path, data_sha256: str, lock_number: int, check_cancelled: Callable[[], None]
) -> RunState:
    """The state of the run in this folder; a new one if there is none, or for `force`.

    `check_cancelled` is called before anything is moved or written, and raises if the run was taken over. Raises
    UserError if the folder holds files of another run, or of other images.
    """
    shutil.rmtree(run_dir / _DISCARDED, ignore_errors=True)
    fresh = RunState(
        config.identity.training_id,
        data_sha256,
        start=secrets.token_hex(8),
        device=device(config).type,
        threads=torch.get_num_threads(),
    )
    found = read_state(run_dir)
    if found is not None and found.clearing:
        found = _clear(run_dir, found, lock_number, check_cancelled)
    earlier = [] if found is None else [*found.earlier, found.start]
    if config.force and any(_contents(run_dir)):
        log.info("force=true: what %s held is in %s until the new run has finished", run_dir, run_dir / REPLACED)
        return _clear(run_dir, replace(fresh, earlier=earlier, clearing=True), lock_number, check_cancelled)
    if found is None:
        found = replace(fresh, start=_start_of_files(run_dir, fresh) or fresh.start)
    if not _computed(run_dir):
        found = replace(fresh, earlier=found.earlier, start=found.start)
    _check_options(run_dir, found, fresh)
    if found != read_state(run_dir):
        check_cancelled()
        write_atomic(run_dir / STATE, encode(found))
    check_files(run_dir, found, check_cancelled)
    return found


def state_to_evaluate(config: Config, run_dir: Path, data_sha256: str) -> RunState:
    """The state of a run whose snapshots are evaluated again; writes nothing. UserError as for `begin_run`."""
    fresh = RunState(config.identity.training_id, data_sha256, "", device(config).type, torch.get_num_threads())
    found = read_state(run_dir)
    if found is not None and found.clearing:
        raise UserError(f"{run_dir} was restarted with force=true and is not trained yet: run its command again first.")
    if found is None:
        found = replace(fresh, start=_start_of_files(run_dir, fresh))
    _check_options(run_dir, found, fresh)
    check_files(run_dir, found)
    return found


def check_files(run_dir: Path, state: RunState, check_cancelled: Callable[[], None] | None = None) -> None:
    """Raise UserError if a snapshot or the summary of training is damaged or not of this start.

    With `check_cancelled`, files that a process of a replaced start wrote late are moved away instead.
    """
    for path in snapshot.paths(run_dir):
        _check_file(run_dir, state, path, snapshot.read(path).run, check_cancelled)
    summary = snapshot.read_summary(run_dir)
    if summary is not None:
        if summary.data_sha256 != state.data_sha256:
            raise UserError(_other_images(run_dir))
        _check_file(run_dir, state, run_dir / snapshot.SUMMARY, summary.run, check_cancelled)
    kept = checkpoint_identity(run_dir / CHECKPOINT)
    if kept is not None and start_of(kept) in state.earlier:
        _check_file(run_dir, state, run_dir / CHECKPOINT, kept, check_cancelled)


def check_tiles(run_dir: Path, tiles: Path, state: RunState, owner: str, check_cancelled: Callable[[], None]) -> None:
    """The same for the tiles of one snapshot; those of weights that training has since replaced are removed.

    `owner` is the identity of this start and the hash of the weights. Tiles without an owner file are checked by their
    manifest only.
    """
    try:
        found = (tiles / OWNER).read_text()
    except OSError:
        return
    _check_file(run_dir, state, tiles, found.rpartition(" ")[0], check_cancelled)
    if found != owner:
        check_cancelled()
        shutil.rmtree(tiles, ignore_errors=True)


def discard_replaced(run_dir: Path) -> None:
    """Delete what force=true replaced, once the run has finished."""
    old, discarded = run_dir / REPLACED, run_dir / _DISCARDED
    if old.is_dir():
        shutil.rmtree(discarded, ignore_errors=True)
        old.rename(discarded)  # so that no later start can lose what it moves there
        shutil.rmtree(discarded, ignore_errors=True)


def _check_file(
    run_dir: Path, state: RunState, path: Path, identity: str, check_cancelled: Callable[[], None] | None
) -> None:
    reason = mismatch(identity, state.identity)
    if reason is None:
        return
    if start_of(identity) not in state.earlier:
        raise UserError(
            f"{path} is not of this run, as {reason}: restore this run's own file, or start over with force=true."
        )
    if check_cancelled is None:
        raise UserError(f"{path} is of a run that force=true replaced: run the same command again, then evaluate.")
    check_cancelled()
    _move(path, run_dir / REPLACED / state.start)


def _check_options(run_dir: Path, found: RunState, wanted: RunState) -> None:
    if found.training_id != wanted.training_id:
        raise UserError(
            f"{run_dir / STATE} is of a run with other options (network, training or seed): restore this run's own "
            "file, or start over with force=true."
        )
    if found.data_sha256 != wanted.data_sha256:
        raise UserError(_other_images(run_dir))


def _other_images(run_dir: Path) -> str:
    return f"the images are not those that {run_dir} was trained with: restore them, or run again with force=true."


def _start_of_files(run_dir: Path, wanted: RunState) -> str:
    """The name of the start that the files of a run without a state carry; empty if no file is of this run."""
    identities = []
    for path in snapshot.paths(run_dir):
        try:
            identities.append(snapshot.read(path).run)
        except UserError:
            continue  # `check_files` reports it by name
    summary = snapshot.read_summary(run_dir)
    identities += [summary.run] if summary else []
    identities.append(checkpoint_identity(run_dir / CHECKPOINT) or "")
    for identity in identities:
        start = start_of(identity)
        if start and identity == replace(wanted, start=start).identity:
            return start
    return ""


def _computed(run_dir: Path) -> bool:
    """Whether training has written anything that a later process continues from."""
    files = (run_dir / CHECKPOINT, run_dir / snapshot.SUMMARY)
    return bool(snapshot.paths(run_dir)) or any(file.exists() for file in files)


def _contents(run_dir: Path) -> Iterator[Path]:
    """What a run has written, records first: without them no command takes the rest for a finished run."""
    entries = sorted(run_dir.iterdir(), key=lambda entry: entry.name != RECORDS)
    return (entry for entry in entries if entry.name not in _PERMANENT and entry.name[0] != ".")


def _clear(run_dir: Path, state: RunState, lock_number: int, check_cancelled: Callable[[], None]) -> RunState:
    """Move the contents of earlier starts away; if this process is killed, the next one completes the move."""
    check_cancelled()
    write_atomic(run_dir / STATE, encode(state))
    for entry in list(_contents(run_dir)):
        check_cancelled()
        _move(entry, run_dir / REPLACED / state.start)
    check_cancelled()
    fence_records(run_dir, lock_number)  # a record that a process of an earlier start writes late does not count
    cleared = replace(state, clearing=False)
    write_atomic(run_dir / STATE, encode(cleared))
    return cleared


def _move(entry: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / entry.name, 1
    while target.exists():
        number += 1
        target = folder / f"{entry.name}.{number}"
    entry.rename(target)
