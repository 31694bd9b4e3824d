"""evaluate RUN_DIR [OVERRIDES]: recompute kernels, SVM and measures from snapshots."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from afterkernel.cli import OVERRIDE, RUN_AND_SWEEP, CommandParser, folder_argument
from afterkernel.errors import LockLostError, UserError
from afterkernel.records.files import check_run_folder

GROUP = RUN_AND_SWEEP


def main(argv: Sequence[str]) -> int:
    """`evaluate RUN_DIR [OVERRIDES]`: recompute kernels, SVM and measures of a run's snapshots."""
    parser = CommandParser(
        "evaluate",
        "Recompute kernels, SVM and measures of a run from its snapshots, as before or with other options.",
        "evaluate runs/demo/RUN_ID svm=libsvm kernel.dtype=float64",
    )
    parser.add_argument(
        "run_dir", type=folder_argument, metavar="RUN_DIR", help="folder of one run, such as runs/SWEEP/RUN_ID"
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar=OVERRIDE, help="options of kernel, svm and measure")
    arguments = parser.parse_overrides(list(argv))
    check_run_folder(arguments.run_dir)
    from afterkernel.config import check_single_run, override, training_difference
    from afterkernel.runs.artifacts import check_checkpoints
    from afterkernel.runs.progress_file import writing_progress
    from afterkernel.runs.run import read_config, reevaluate
    from afterkernel.runs.run_lock import LockedError, run_lock
    from afterkernel.runs.worker import Terminal
    from afterkernel.sweep.progress import display_run
    from afterkernel.training import snapshot

    check_single_run("evaluate", arguments.overrides)
    _check_options(arguments.overrides)
    handlers = [Terminal("err")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    trained = read_config(arguments.run_dir)
    config = override(trained, arguments.overrides)
    if (changed := training_difference(config, trained)) is not None:
        raise UserError(
            f"{changed} differs from what the snapshots were trained with, and evaluate takes only options of kernel, "
            "svm and measure: start a new run for that."
        )
    check_checkpoints(arguments.run_dir)
    # All are loaded before any is evaluated: a damaged one should not be found at the end of a long evaluation.
    network = config.arch.build(config.dataset.image_shape(), config.dataset.n_outputs)
    for path in snapshot.paths(arguments.run_dir):
        snapshot.load(arguments.run_dir, network, path)
    try:
        with (
            run_lock(arguments.run_dir) as lock,
            writing_progress(lock),
            display_run(trained.identity.run_id, arguments.run_dir),
        ):
            reevaluate(config, arguments.run_dir, trained.identity.run_id, lock=lock)
    except LockedError as error:
        raise UserError(f"{error.owner} works on {arguments.run_dir}: wait until it is done.") from error
    except LockLostError as error:
        raise UserError(f"{error} while this one was paused: the records of that process are valid.") from error
    return 0


def _check_options(overrides: Sequence[str]) -> None:
    """Raise UserError for options of where and how a run is started, which have no effect here."""
    for word in overrides:
        name = word.partition("=")[0].lstrip("+~")
        if name.partition(".")[0] in ("experiment", "force", "launcher", "output_dir", "sweep"):
            raise UserError(
                f"{word} has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out."
            )
