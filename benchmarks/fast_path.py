"""The share of a network's parameters that are on the fast path, for the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from afterkernel.kernels.calls import batches_of, network_embedding
from afterkernel.kernels.numeric import real_numbers
from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Forward


@dataclass(frozen=True)
class FastPath:
    """The share, and the slow parameters (or layers, for slow calls) with the reasons.

    Slow are parameters with per-example gradients of the whole network, and those of a call that is differentiated
    one sample at a time. The share is of the trained numbers that the output depends on.
    """

    share: float
    reasons: dict[str, str]


def fast_path(
    model: nn.Module,
    x: Inputs,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> FastPath:
    """What the engine plans for samples x, called as in `ak.ntk`."""
    batches = batches_of(model, x, None, forward)
    phi = network_embedding("ntk", model, batches, dtype, None, output=output)
    plans = phi.plan_layers(batches["x"])
    layout = phi.layout  # type: ignore[attr-defined]
    slow = [
        plan
        for plan in plans
        if plan.reason.startswith("per-example gradients") or "one sample at a time" in plan.reason
    ]
    trained = {name: real_numbers(value) for name, value in phi.model.named_parameters() if value.requires_grad}
    used = sum(size for name, size in trained.items() if name not in layout.unused)
    share = 1 - sum(plan.cost.numbers for plan in slow) / layout.outputs / used
    return FastPath(share, {plan.layer: plan.reason for plan in slow})
