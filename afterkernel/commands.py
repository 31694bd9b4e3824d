"""The commands evaluate and plan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from afterkernel.arguments import CommandParser
from afterkernel.errors import UserError
from afterkernel.records.files import check_run_folder

# Everything else is imported where it is needed: help and a wrong path must not wait seconds for torch.


def evaluate_main(argv: Sequence[str]) -> int:
    """`evaluate RUN_DIR [OVERRIDES]`: recompute kernels, SVM and measures of a run's snapshots."""
    parser = CommandParser(
        "evaluate",
        "Recompute kernels, SVM and measures of a run from its snapshots, as before or with other options.",
        "evaluate runs/demo/RUN_ID svm=libsvm kernel.dtype=float64",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of one run, such as runs/SWEEP/RUN_ID")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="OPTION=VALUE", help="options of kernel, svm and measure"
    )
    arguments = parser.parse_overrides(list(argv))
    check_run_folder(arguments.run_dir)
    from afterkernel.config import override, run_id, training_difference
    from afterkernel.keep import check_checkpoints
    from afterkernel.progress_file import watching
    from afterkernel.run import read_config, reevaluate
    from afterkernel.runs.run_lock import LockedError, LockLostError, run_lock
    from afterkernel.sweep.tally import one_shown
    from afterkernel.sweep.worker import Terminal
    from afterkernel.training import snapshot

    one_value_each("evaluate", arguments.overrides)
    told = [Terminal("err")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=told)
    trained = read_config(arguments.run_dir)
    config = override(trained, arguments.overrides)
    if (changed := training_difference(config, trained)) is not None:
        raise UserError(
            f"{changed} differs from what the snapshots were trained with, and evaluate takes options of kernel, svm "
            "and measure alone: start a new run for that."
        )
    check_checkpoints(arguments.run_dir)
    # All of them before any is judged: a damaged one should not surface at the end of a long evaluation.
    network = config.arch.build(config.dataset.image_shape())
    for path in snapshot.paths(arguments.run_dir):
        snapshot.load(arguments.run_dir, network, path)
    try:
        with (
            run_lock(arguments.run_dir) as lock,
            watching(lock),
            one_shown(run_id(trained), arguments.run_dir),
        ):
            reevaluate(config, arguments.run_dir, run_id(trained), lock=lock)
    except LockedError as error:
        raise UserError(f"{error.owner} works on {arguments.run_dir}: wait until it is done.") from error
    except LockLostError as error:
        raise UserError(f"{error} while this one was paused: what that one records counts.") from error
    return 0


def plan_main(argv: Sequence[str]) -> int:
    """`plan [OVERRIDES]`: what the Gram matrices of one snapshot will cost in memory and multiplications."""
    parser = CommandParser(
        "plan",
        "Print what the Gram matrices of one snapshot will cost in memory and multiplications.",
        "plan arch=mlp kernel.dtype=float64",
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar="OPTION=VALUE", help="options of a run")
    overrides = parser.parse_overrides(list(argv)).overrides
    import torch

    from afterkernel.config import compose, device, typed
    from afterkernel.kernels import embedding, train_test_plan
    from afterkernel.kernels.machine import matmul_rate

    one_value_each("plan", overrides)
    config = typed(compose(overrides))
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape)
    print(f"{config.arch.name} of width {network.width}: {network.parameter_count:,} parameters")
    for name in config.kernel.names:
        phi = embedding(network, name, dtype=config.kernel.dtype, device=device(config))
        steps = train_test_plan(phi, problem.x_train, problem.x_test, config.kernel.budget_bytes, config.kernel.dtype)
        rate = matmul_rate(phi.device, phi.dtype, torch.get_num_threads())
        print(f"\n{name} (train x train and test x train, {config.kernel.dtype})\n{steps.describe(rate)}")
    return 0


def one_value_each(command: str, overrides: Sequence[str]) -> None:
    """Raise UserError for several values of one option, and for a sweep: the command is about one run."""
    from afterkernel.config.overrides import check_once, parse

    parsed = parse(overrides)
    check_once(parsed)
    for each in parsed:
        if each.is_sweep_override():
            raise UserError(f"{each.input_line}: {command} takes one value for each option: give one of them.")
        if each.key_or_group == "sweep":
            raise UserError(f"{each.input_line}: {command} works on one run, not on a sweep: leave it out.")
