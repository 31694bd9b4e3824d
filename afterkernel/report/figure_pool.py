"""Who draws the figures of a report: this process where they are few, several others where they are many."""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from afterkernel.errors import UserError

# To begin with, a process imports what it draws with, which takes as long as drawing a few figures.
_FIGURES_A_PROCESS, _MOST_PROCESSES = 8, 8
_IDLE_S = 60
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextlib.contextmanager
def figure_pool(n_figures: int) -> Iterator[Executor]:
    """Takes the drawing of about so many figures, each on its own, so that they are the same wherever they are drawn.

    Processes are joblib's, loky; they end with the `with` block, or, should this process be killed, a minute later.
    UserError where one of them is killed.
    """
    wanted = min(n_figures // _FIGURES_A_PROCESS, _MOST_PROCESSES)
    if wanted > 1:
        from joblib.externals.loky import cpu_count

        wanted = min(wanted, cpu_count())
    if wanted < 2:
        yield _InlineExecutor()
        return
    from joblib.externals.loky import ProcessPoolExecutor

    others = _Others(ProcessPoolExecutor(wanted, timeout=_IDLE_S, initializer=_begin))
    try:
        yield others
    except BrokenProcessPool as error:
        raise UserError(
            "A process that drew figures was ended from outside, perhaps because memory ran out: make the report again."
        ) from error
    finally:
        others.shutdown(cancel_futures=True)


class _InlineExecutor(Executor):
    """Does at once what it is given."""

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **kwargs))
        return done


class _Others(Executor):
    """The processes of a pool. What has not begun can be called off, which loky's own `shutdown` can't do."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._given: list[Future[Any]] = []

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self._given.append(self._pool.submit(_tidily, work, *args, **kwargs))
        return self._given[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for future in self._given if cancel_futures else ():
            future.cancel()
        self._pool.shutdown(wait)


def _begin() -> None:
    """Set a process up: Ctrl-C is its parent's to see, and garbage is looked for once a figure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("pandas", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"):
        importlib.import_module(name)

    gc.freeze()
    gc.disable()


def _tidily(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Work, then free what it left: a figure is a net of cycles, and one collection is cheaper than many."""
    try:
        return work(*args, **kwargs)
    finally:
        gc.collect()
