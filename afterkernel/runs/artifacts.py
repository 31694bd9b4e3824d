"""What stays of a run once every snapshot has its record: with keep=[checkpoint] its weights, else none of them."""

from __future__ import annotations

from pathlib import Path

from afterkernel.config import Config
from afterkernel.errors import UserError
from afterkernel.runs.saved_grams import check_manifest
from afterkernel.runs.warm_start import samples
from afterkernel.training import snapshot


def delete_unkept_artifacts(config: Config, run_dir: Path) -> None:
    """Remove the weights of a run's snapshots, unless keep=[checkpoint]; each snapshot's metadata stays.

    With them go the Gram matrices of samples, by which later snapshots were measured, unless keep=[gram]: as long as
    there are weights, a record that is lost can be made again without the others.
    """
    if "checkpoint" not in config.keep:
        for path in snapshot.paths(run_dir):
            path.with_suffix(".pt").unlink(missing_ok=True)
    if not config.keep:
        for path in samples(run_dir):
            path.unlink(missing_ok=True)


def check_checkpoints(run_dir: Path) -> None:
    """Raise UserError where weights of a run's snapshots are gone."""
    gone = [path.with_suffix(".pt").name for path in snapshot.paths(run_dir) if not path.with_suffix(".pt").exists()]
    if gone:
        raise UserError(
            f"{run_dir} has no weights to evaluate ({gone[0]} is missing): keep=[checkpoint], the default, "
            "keeps them; run it again with that and force=true."
        )


def check_saved_grams(config: Config, run_dir: Path) -> None:
    """Raise UserError where Gram matrices are to be kept and the manifest of those that lie there is damaged."""
    if "gram" in config.keep:
        check_manifest(run_dir)
