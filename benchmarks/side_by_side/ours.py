"""Ours: the one place where the benchmark calls what it is about."""

from __future__ import annotations

import afterkernel as ak
from afterkernel.kernels import embedding, train_test_grams
from afterkernel.models import Network
from afterkernel.types import Tensor
from side_by_side.cases import BUDGET_BYTES


def ours(network: Network, x: Tensor, x_test: Tensor | None) -> list[Tensor]:
    """The NTK of x with itself and, where given, of x_test with x."""
    if x_test is None:
        return [ak.ntk(network, x, budget_bytes=BUDGET_BYTES)]
    phi = embedding(network, "ntk", device=x.device)
    grams = train_test_grams(phi, x, x_test, budget_bytes=BUDGET_BYTES)
    return [grams.train, grams.test]
