"""Measure one method of torch: python -m side_by_side.torch_child METHOD FOLDER, where FOLDER holds a prepared case."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from afterkernel.types import Tensor
from side_by_side.cases import CHECKED_IMAGES, Case, Facts
from side_by_side.limit import limit_s
from side_by_side.measure import (
    HostMemory,
    Memory,
    Outcome,
    checked,
    fail_before_the_system_does,
    free_bytes,
    measure,
    too_large,
    unequal,
)
from side_by_side.methods import PEERS
from side_by_side.ours import ours
from side_by_side.peers import WAYS
from side_by_side.prepare import network_of


class CudaMemory:
    """Memory that torch holds on the GPU."""

    _before = 0

    def start(self) -> None:
        """Take the present as baseline, and forget earlier peaks."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self._before = torch.cuda.memory_allocated()

    def peak_bytes(self) -> int:
        """The peak since `start` over the baseline."""
        return torch.cuda.max_memory_allocated() - self._before


def outcome(method: str, folder: Path) -> Outcome:
    """Check the method against ours on a few images, then measure it."""
    case, facts = Case.read(folder), Facts.read(folder)
    arrays = np.load(folder / "case.npz")
    on_gpu = case.device != "cpu"
    torch.set_num_threads(case.threads)
    # What is called float32 is float32, for every method.
    torch.backends.cudnn.allow_tf32 = False
    network = network_of(case).to(case.device)
    x, x_test = (torch.from_numpy(arrays[name]).to(case.device) for name in ("x", "x_test"))
    test = x_test if case.n_test else None
    synchronise = torch.cuda.synchronize if on_gpu else lambda: None
    if method == "limit":
        return Outcome(seconds=limit_s(network, x, test, synchronise))
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_bytes()
    if any(peer.key == method and peer.holds_gradients for peer in PEERS):
        overflow = too_large(4 * facts.parameters * (case.n + case.n_test), free)
        if overflow:
            return overflow
    if not on_gpu:
        fail_before_the_system_does()
    most = max(1, int(free / 2 / facts.bytes_an_image))

    def work(x: Tensor, x_test: Tensor | None) -> list[Tensor]:
        if method == "ours":
            return ours(network, x, x_test)
        return WAYS[method](network, x, x_test, most)

    corners: list[Tensor] = []

    def work_on(x: Tensor, x_test: Tensor | None) -> None:
        corners[:] = [K.detach()[:CHECKED_IMAGES, :CHECKED_IMAGES].clone() for K in work(x, x_test)]

    def error() -> float:
        pairs = [(K.cpu().numpy(), arrays[f"expected{i}"]) for i, K in enumerate(corners)]
        return max(float(abs(K - expected).max() / abs(expected).max()) for K, expected in pairs)

    work_on(x[:CHECKED_IMAGES], None if test is None else test[:CHECKED_IMAGES])
    refusal = unequal(error())
    if refusal:
        return refusal
    memory: Memory = CudaMemory() if on_gpu else HostMemory()
    measured = measure(lambda: work_on(x, test), memory, synchronise)
    return checked(measured, error())


if __name__ == "__main__":
    outcome(sys.argv[1], Path(sys.argv[2])).write(Path(sys.argv[2]), sys.argv[1])
