"""The commands beside runs that have no package of their own: evaluate and plan."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from afterkernel.config import compose, device, override, run_id, training_part, typed
from afterkernel.errors import UserError
from afterkernel.keep import check_checkpoints
from afterkernel.kernels import embedding, train_test_plan
from afterkernel.kernels.machine import matmul_rate
from afterkernel.progress_file import watching
from afterkernel.run import read_config, reevaluate
from afterkernel.runs.run_lock import LockedError, run_lock
from afterkernel.sweep.tally import one_shown
from afterkernel.sweep.worker import Terminal
from afterkernel.training import snapshot


def evaluate_main(argv: Sequence[str]) -> int:
    """`evaluate RUN_DIR [OVERRIDES]`: judge a run's snapshots again, as it did or with other kernels, SVM, measures."""
    parser = argparse.ArgumentParser(prog="python -m afterkernel evaluate", description=evaluate_main.__doc__)
    parser.add_argument("run_dir", type=Path, help="folder of one run, such as runs/SWEEP/RUN_ID")
    parser.add_argument("overrides", nargs="*", default=[], help="options such as svm=libsvm or kernel.dtype=float64")
    arguments = parser.parse_args(argv)
    told = [Terminal("err")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=told)
    trained = read_config(arguments.run_dir)
    config = override(trained, arguments.overrides)
    if training_part(config) != training_part(trained):
        raise UserError(
            "evaluate recomputes kernel, svm and measure alone: an override changes what the snapshots were trained "
            "with; start a new run for that."
        )
    check_checkpoints(arguments.run_dir)
    # All of them before any is judged: a damaged one is no news for the end of a long evaluation.
    network = config.arch.build(config.dataset.image_shape())
    for path in snapshot.paths(arguments.run_dir):
        snapshot.load(arguments.run_dir, network, path)
    try:
        with (
            run_lock(arguments.run_dir) as lock,
            watching(arguments.run_dir),
            one_shown(run_id(trained), arguments.run_dir),
        ):
            reevaluate(config, arguments.run_dir, run_id(trained), lock=lock)
    except LockedError as error:
        raise UserError(f"{error.owner} works on {arguments.run_dir}: wait until it is done.") from error
    return 0


def plan_main(argv: Sequence[str]) -> int:
    """`plan [OVERRIDES]`: what the Gram matrices of one snapshot will cost in memory and multiplications."""
    without_flags("plan", argv)
    config = typed(compose(argv))
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape)
    print(f"{config.arch.name} of width {network.width}: {network.parameter_count:,} parameters")
    for name in config.kernel.names:
        phi = embedding(network, name, dtype=config.kernel.dtype, device=device(config))
        steps = train_test_plan(phi, problem.x_train, problem.x_test, config.kernel.budget_bytes, config.kernel.dtype)
        rate = matmul_rate(phi.device, phi.dtype, torch.get_num_threads())
        print(f"\n{name} (train x train and test x train, {config.kernel.dtype})\n{steps.describe(rate)}")
    return 0


def without_flags(command: str, argv: Sequence[str]) -> None:
    """Raise UserError for a word that starts with a dash."""
    for word in argv:
        if word.startswith("-"):
            raise UserError(f"{word} is not an option of {command}: python -m afterkernel --help lists them.")


def without_arguments(command: str, argv: Sequence[str]) -> None:
    """Raise UserError for any word at all."""
    if argv:
        raise UserError(f"{command} takes no arguments, and was given {' '.join(argv)}.")
