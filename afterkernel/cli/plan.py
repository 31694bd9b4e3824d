"""plan [OVERRIDES]: the estimated cost of a Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.cli import OVERRIDE, RUN_AND_SWEEP, CommandParser

GROUP = RUN_AND_SWEEP


def main(argv: Sequence[str]) -> int:
    """`plan [OVERRIDES]`: what the Gram matrices of one snapshot will cost in memory and multiplications."""
    parser = CommandParser(
        "plan",
        "Print what the Gram matrices of one snapshot will cost in memory and multiplications.",
        "plan arch=mlp kernel.dtype=float64",
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar=OVERRIDE, help="options of a run")
    overrides = parser.parse_overrides(list(argv)).overrides
    from afterkernel.config.overrides import check_early

    check_early(overrides)  # before the imports that follow, which take seconds
    import torch

    from afterkernel.config import check_single_run, compose, device, to_config
    from afterkernel.kernel_kinds import KINDS
    from afterkernel.kernels import train_test_plan
    from afterkernel.kernels.machine import matmul_rate

    check_single_run("plan", overrides)
    config = to_config(compose(overrides))
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape, problem.n_outputs)
    print(f"{config.arch.name} of width {network.width}: {network.parameter_count:,} parameters")
    for name in config.kernel.names:
        phi = KINDS[name].embedding(config.kernel.input_of(name, network, problem, device(config)))
        steps = train_test_plan(phi, problem.x_train, problem.x_test, config.kernel.budget_bytes, config.kernel.dtype)
        rate = matmul_rate(phi.device, phi.dtype, torch.get_num_threads())
        print(f"\n{name} (train x train and test x train, {config.kernel.dtype})\n{steps.describe(rate)}")
    return 0
