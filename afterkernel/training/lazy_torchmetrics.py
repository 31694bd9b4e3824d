"""torchmetrics without its metrics until one is used: importing all of them, and scipy.signal, takes a second.

Lightning imports the package only to know its version, and two classes for isinstance.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import threading
from types import ModuleType
from typing import Any

_PACKAGE = "torchmetrics"
# Modules to import for a name, the last of which has it. The classes' modules import each other, utilities first.
_LIGHT = {
    "__version__": ("__about__",),
    "Metric": ("utilities", "metric"),
    "MetricCollection": ("utilities", "collections"),
}


def install() -> None:
    """Make the next `import torchmetrics` lazy. Without effect where it is imported already, or not installed."""
    spec = None if _PACKAGE in sys.modules else importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.loader is not None:
        package = importlib.util.module_from_spec(spec)
        package._logger = logging.getLogger(_PACKAGE)  # type: ignore[attr-defined]  # asked for by its own modules
        package.__getattr__ = _Attributes(package, spec.loader).get  # type: ignore[method-assign]
        sys.modules[_PACKAGE] = package


class _Attributes:
    """What the lazy package answers for a name that it does not have yet."""

    def __init__(self, package: ModuleType, loader: Any) -> None:
        self.package, self.loader = package, loader
        self.lock, self.executed = threading.RLock(), False

    def get(self, name: str) -> Any:
        """The attribute of this name, after as few imports as possible. Raises AttributeError if there is none."""
        with self.lock:
            if name in _LIGHT and not self.executed:
                try:
                    return self._light(name)
                except ImportError:  # in this version its modules depend on more
                    for one in [one for one in sys.modules if one.startswith(f"{_PACKAGE}.")]:
                        del sys.modules[one]
            # Other names with underscores are those by which programs inspect any module.
            if not self.executed and (name in _LIGHT or name == "__all__" or not name.startswith("__")):
                self.executed = True
                self.loader.exec_module(self.package)
            if name in vars(self.package):  # perhaps by another thread
                return vars(self.package)[name]
            raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")

    def _light(self, name: str) -> Any:
        modules = [importlib.import_module(f"{_PACKAGE}.{module}") for module in _LIGHT[name]]
        return getattr(modules[-1], name)
