"""Workers of sweeps that are forked from the program: a new interpreter takes seconds for the same imports."""

import atexit
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from joblib.externals.loky.backend import fork_exec, resource_tracker


def fork_workers() -> None:
    """Have loky fork the workers of this process, which must have imported everything and compute nothing itself."""
    fork_exec.fork_exec = _fork


def _fork(command: Sequence[str], keep_fds: Sequence[int], env: Mapping[str, str] | None = None) -> int:
    """What loky's `fork_exec` does with `python -m MODULE WORDS`: the process ID of a child that keeps these files."""
    if (child := os.fork()) != 0:
        return child
    code = 1
    try:
        _let_go_of_all_but(keep_fds)
        atexit._clear()
        resource_tracker._resource_tracker._lock = threading.RLock()  # another thread may have held it
        os.environ.update(env or {})
        _, _, module, *words = command
        sys.argv = [module, *words]
        sys.modules.pop(module, None)  # runpy warns of a module that it finds there
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _let_go_of_all_but(keep_fds: Sequence[int]) -> None:
    """Point every other open file to /dev/null: the parent's end of a pipe would hide from it that a worker died.

    None is closed, as an object that owns one could later close another file of its number.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != nowhere and number not in keep_fds:
            os.dup2(nowhere, number)
