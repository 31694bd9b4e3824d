"""How many CPU threads a solver uses: one, but for single calls that are large.

A solver makes thousands of calls of well under a millisecond. With several threads each of them waits until the slowest
thread is scheduled, so that on a busy machine two threads are many times slower than one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

LARGE = 2000  # rows of a matrix from which its factorisation is one long call, worth all threads

_all_threads: ContextVar[int] = ContextVar("all_threads", default=0)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the block on one CPU thread."""
    before = torch.get_num_threads()
    token = _all_threads.set(_all_threads.get() or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _all_threads.reset(token)


@contextlib.contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Within `one_thread`, run the block on all threads if it works on a matrix of at least LARGE rows."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(before, _all_threads.get()) if rows >= LARGE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_blas_thread() -> contextlib.AbstractContextManager[object]:
    """Run the block with one thread in the BLAS of NumPy and SciPy, which know nothing of torch's number."""
    limited: contextlib.AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@functools.cache
def _libraries() -> ThreadpoolController:
    import scipy.linalg.lapack  # noqa: F401  loaded before it is looked for

    return ThreadpoolController()
