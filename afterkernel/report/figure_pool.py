"""Drawing the figures of a report: in this process if they are few, in several others if they are many."""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from afterkernel import plugins
from afterkernel.errors import UserError

# A new process first imports matplotlib and pandas, which takes as long as drawing a few figures.
_FIGURES_PER_PROCESS, _MOST_PROCESSES = 8, 8
_IDLE_S = 60
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextlib.contextmanager
def figure_pool(n_figures: int) -> Iterator[Executor]:
    """An executor that draws about `n_figures` figures. Figures are the same whichever process draws them.

    The processes (loky's, from joblib) end with the `with` block, or a minute later if this process is killed. Raises
    UserError if one of them is killed.
    """
    wanted = min(n_figures // _FIGURES_PER_PROCESS, _MOST_PROCESSES)
    if wanted > 1:
        from joblib.externals.loky import cpu_count

        wanted = min(wanted, cpu_count())
    if wanted < 2:
        yield _InlineExecutor()
        return
    from joblib.externals.loky import ProcessPoolExecutor

    pool = _ProcessPool(
        ProcessPoolExecutor(wanted, timeout=_IDLE_S, initializer=_initialise, initargs=[plugins.loaded()])
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "A process that drew figures was killed, perhaps because memory ran out: build the report again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class _InlineExecutor(Executor):
    """Runs each task at once, in this process."""

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **kwargs))
        return done


class _ProcessPool(Executor):
    """A pool of processes whose shutdown can cancel tasks that have not begun, which loky's own can't."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._submitted: list[Future[Any]] = []

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self._submitted.append(self._pool.submit(_then_collect_garbage, work, *args, **kwargs))
        return self._submitted[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for future in self._submitted if cancel_futures else ():
            future.cancel()
        self._pool.shutdown(wait)


def _initialise(loaded: list[str]) -> None:
    """Set a process up: its parent handles Ctrl-C, figures get their titles, garbage is collected once per figure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("pandas", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"):
        importlib.import_module(name)

    plugins.load(loaded)
    gc.freeze()
    gc.disable()


def _then_collect_garbage(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do the work, then free its memory: a figure is full of reference cycles, and one collection is cheap."""
    try:
        return work(*args, **kwargs)
    finally:
        gc.collect()
