"""Whether a run has anything left to do, by what lies in its folder."""

from __future__ import annotations

from pathlib import Path

from afterkernel.config import Config, evaluation_id, run_id
from afterkernel.records import recorded
from afterkernel.training import snapshot


def is_finished(config: Config, run_dir: Path) -> bool:
    """Whether training has ended and every snapshot has its record."""
    wanted = {(snapshot.read(path).step, evaluation_id(config)) for path in snapshot.paths(run_dir)}
    return wanted <= recorded(run_dir, run_id(config)) and snapshot.read_summary(run_dir) is not None
