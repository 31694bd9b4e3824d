"""Deletes the files that `keep` does not name, once every snapshot of a run has its record."""

from __future__ import annotations

from pathlib import Path

from afterkernel.config import Config
from afterkernel.errors import UserError
from afterkernel.runs.saved_grams import check_manifest
from afterkernel.runs.warm_start import samples
from afterkernel.training import snapshot


def delete_unkept_artifacts(config: Config, run_dir: Path) -> None:
    """Remove the weights of a run's snapshots, unless keep=[checkpoint]; each snapshot's metadata stays.

    With keep=[] the Gram matrices of the samples are removed too. With weights they stay: a lost record can then be
    recomputed without evaluating the other snapshots again.
    """
    if "checkpoint" not in config.keep:
        for path in snapshot.paths(run_dir):
            path.with_suffix(".pt").unlink(missing_ok=True)
    if not config.keep:
        for path in samples(run_dir):
            path.unlink(missing_ok=True)


def check_checkpoints(run_dir: Path) -> None:
    """Raise UserError if weights of a run's snapshots are missing."""
    gone = [path.with_suffix(".pt").name for path in snapshot.paths(run_dir) if not path.with_suffix(".pt").exists()]
    if gone:
        raise UserError(
            f"{run_dir} has no weights to evaluate ({gone[0]} is missing): keep=[checkpoint], the default, "
            "keeps them; run it again with that and force=true."
        )


def check_saved_grams(config: Config, run_dir: Path) -> None:
    """Raise UserError if Gram matrices are to be kept and the manifest of the existing ones is damaged."""
    if "gram" in config.keep:
        check_manifest(run_dir)
