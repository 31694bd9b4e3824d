"""With this folder on PYTHONPATH a process, and all that it starts, run as if on a machine of their own, SOAK_MACHINE.

So a process that is paused can lose its locks to one of another machine. Locks go stale within seconds.
"""

import importlib.util
import os
import sys

NAME = "afterkernel.runs.run_lock"
HEARTBEAT_S, STALE_S = 0.3, 1.5


def patch(module):
    machine = os.environ["SOAK_MACHINE"]
    module._machine = lambda: machine
    module.run_lock.__wrapped__.__kwdefaults__.update(heartbeat_s=HEARTBEAT_S, stale_s=STALE_S)


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if "SOAK_MACHINE" in os.environ:
    sys.meta_path.insert(0, Finder())
