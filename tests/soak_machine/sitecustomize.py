"""With this folder on PYTHONPATH, every process that the program starts runs as if on the machine SOAK_MACHINE."""

import importlib.util
import os
import sys

from other_machine import patch

NAME = "afterkernel.runs.run_lock"


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
