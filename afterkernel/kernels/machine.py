"""A short calibration of the machine: what the plan weighs methods with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

_SIDE, _DEPTH = 512, 1024


@dataclass(frozen=True)
class Machine:
    """Multiply-adds a second of a matrix product, and numbers a second of an elementwise product."""

    matmul_rate: float
    elementwise_rate: float

    @property
    def elementwise_cost(self) -> float:
        """An elementwise operation in multiply-adds of a matrix product, to the nearest power of two.

        Rounded, so that the noise of one measurement does not change the plan of the same job from day to day.
        """
        return float(2.0 ** round(math.log2(self.matmul_rate / self.elementwise_rate)))


@cache
def machine(device: torch.device, dtype: torch.dtype, threads: int) -> Machine:  # noqa: ARG001 (key of the cache)
    """Rates of a device, measured once a process and number of threads, in about 20 ms."""
    a = torch.ones(_SIDE, _DEPTH, device=device, dtype=dtype)
    out = torch.zeros(_SIDE, _SIDE, device=device, dtype=dtype)
    factor = torch.ones_like(out)
    matmul_s = _seconds(lambda: out.addmm_(a, a.T), device)
    elementwise_s = _seconds(lambda: out.addcmul_(factor, factor), device)
    return Machine(_SIDE * _SIDE * _DEPTH / matmul_s, _SIDE * _SIDE / elementwise_s)


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
