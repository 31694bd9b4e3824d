"""Properties of the machine: batch sizes, the relative cost of operations, the rate of matrix products."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from afterkernel.types import Tensor

# Measured on CPUs: 4 to 8; on GPUs a matrix product outpaces memory by more. Fixed, because with a measurement's
# noise every start of a job might choose other methods, and a continued run must give the same bits as an unbroken one.
_ELEMENTWISE_COST = {"cpu": 8.0}
_ELEMENTWISE_COST_ELSEWHERE = 64.0

_SIDE, _DEPTH = 512, 1024


@dataclass(frozen=True)
class BatchSizes:
    """How much is done at once.

    samples, activation_bytes: bounds on a batch, the second with the activations' gradients; few_samples,
    few_activation_bytes: a batch may grow to so many samples within the larger bound, as small batches are slow;
    patch_bytes: patches of a convolution that are laid out; columns: samples of a chunk that is streamed past a block
    of the Gram matrix; rows: samples of the block that it is multiplied with.
    """

    samples: int
    activation_bytes: int
    few_samples: int
    few_activation_bytes: int
    patch_bytes: int
    columns: int
    rows: int


# A CPU is fastest within its caches, and a GPU with enough to do for all its cores: measured on an H100.
ON_CPU = BatchSizes(
    samples=512,
    activation_bytes=1 << 26,
    few_samples=64,
    few_activation_bytes=1 << 28,
    patch_bytes=3 << 21,
    columns=512,
    rows=1024,
)
ON_GPU = BatchSizes(
    samples=2048,
    activation_bytes=1 << 29,
    few_samples=64,
    few_activation_bytes=1 << 29,
    patch_bytes=1 << 28,
    columns=2048,
    rows=4096,
)


def batch_sizes(device: torch.device) -> BatchSizes:
    """How much to do at once on a device."""
    return ON_CPU if device.type == "cpu" else ON_GPU


def elementwise_cost(device: torch.device) -> float:
    """An elementwise operation on a number in memory, in multiply-adds of a matrix product."""
    return _ELEMENTWISE_COST.get(device.type, _ELEMENTWISE_COST_ELSEWHERE)


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:  # noqa: ARG001 (key of the cache)
    """Multiply-adds a second of a matrix product, measured once per process and number of threads, in about 20 ms."""
    a = torch.ones(_SIDE, _DEPTH, device=device, dtype=dtype)
    out = torch.zeros(_SIDE, _SIDE, device=device, dtype=dtype)
    return _SIDE * _SIDE * _DEPTH / _seconds(lambda: out.addmm_(a, a.T), device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The best of three, after a first."""
    best = math.inf
    for _ in range(4):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return max(best, 1e-9)


def crashes_channels_last(weight: Tensor, stride: int | Sequence[int]) -> bool:
    """Whether torch's gradient in this convolution's weight may corrupt the heap in channels last, on a CPU.

    Seen in float32 for 1x1 convolutions with a stride and 2 to 5 input channels; refused below 8.
    """
    strides = [stride] if isinstance(stride, int) else list(stride)
    return weight.ndim == 4 and weight.shape[2:].numel() == 1 and max(strides) > 1 and weight.shape[1] < 8


def memory_format(network: nn.Module) -> torch.memory_format:
    """The memory format for training a network: channels last, unless that is unsafe for its convolutions on a CPU."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    crashes = any(crashes_channels_last(module.weight, module.stride) for module in convolutions)
    return torch.contiguous_format if crashes else torch.channels_last
