"""Registries: what this package and its plugins offer, by name, so that a new class is all that a new member needs.

A plugin is a module that defines subclasses of the bases of this package (an architecture, a data source, a kernel, a
measure, an SVM backend, a claim, a launcher). It is imported only where a user asks for it: by installing a package
with an entry point of the group `afterkernel`, or by naming it in `plugins=[my_lab.nets]`.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from afterkernel.errors import UserError

GROUP = "afterkernel"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

Member = TypeVar("Member")

# The modules of plugins by name, in the order in which they were imported.
_loaded: dict[str, ModuleType] = {}
# Whether this process is the program's alone, so that no other code relies on collections of what exists in it.
_own_process = False


class Registry(Mapping[str, Member]):
    """The classes below `base` by their `name`: those of the modules of `package`, and those of the plugins loaded.

    It grows when a plugin is loaded, so that what derives from it must be derived where it is used, not at import time.
    `make` turns a class into a member: the class itself by default. `fields_are_options` says that a dataclass below
    `base` is a section of the configuration, and `overrides` are methods of `base` of which a plugin's class defines at
    least one. Members are sorted by `order`, then by name.
    """

    def __init__(
        self,
        package: str,
        base: type,
        make: Callable[[Any], Member] = lambda kind: kind,
        *,
        overrides: tuple[str, ...],
        fields_are_options: bool = True,
    ) -> None:
        self.package, self.base, self._make = package, base, make
        self._overrides, self._options = overrides, fields_are_options
        self._kinds: dict[str, type] = {}
        self._members: dict[str, Member] = {}
        self._scanned: dict[str, ModuleType] | None = None  # the plugins that `_members` knows

    def __getitem__(self, name: str) -> Member:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def classes(self) -> list[type]:
        """The classes of all members."""
        self._current()
        return list(self._kinds.values())

    def _current(self) -> dict[str, Member]:
        _load_installed()
        if self._scanned != _loaded:
            kinds = self._find()
            names = sorted(kinds, key=lambda name: (getattr(kinds[name], "order", 0), name))
            self._kinds = {name: kinds[name] for name in names}
            self._members = {name: self._make(kind) for name, kind in self._kinds.items()}
            self._scanned = dict(_loaded)
        return self._members

    def _find(self) -> dict[str, type]:
        found: dict[str, type] = {}
        for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__, f"{self.package}."):
            found |= _named(importlib.import_module(info.name), info.name, self.base)
        for plugin, module in _loaded.items():
            for name, kind in _named(module, plugin, self.base).items():
                if found.get(name, kind) is not kind:
                    raise UserError(
                        f"plugins=[{plugin}]: {kind.__name__} has the name {name}, which {found[name].__module__} has "
                        "already given: choose another name."
                    )
                if not _NAME.fullmatch(name):
                    raise UserError(
                        f"plugins=[{plugin}]: {kind.__name__}.name={name} is not valid: use lower-case letters, digits "
                        "and _, beginning with a letter."
                    )
                if all(getattr(kind, method) is getattr(self.base, method) for method in self._overrides):
                    raise UserError(f"plugins=[{plugin}]: {kind.__name__} must define {' or '.join(self._overrides)}.")
                if self._options:
                    _check_options(plugin, kind)
                found[name] = kind
        return found


def _named(module: ModuleType, within: str, base: type) -> dict[str, type]:
    """The classes below `base` that a module defines itself, or imports from modules below `within`."""
    found = {}
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, base) and _is_within(value.__module__, within):
            # A dataclass keeps a field's default as a class attribute; an inherited name is that of the base.
            name = vars(value).get("name")
            if isinstance(name, dataclasses.Field):
                raise UserError(f"plugins=[{within}]: {value.__name__} declares options: decorate it with @dataclass.")
            if value is not base and name:
                found[str(name)] = value
    return found


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _check_options(plugin: str, kind: type) -> None:
    """Every field of a plugin's class is an option with its help, as those of this package are."""
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.init and "help" not in field.metadata:
            annotation = field.type.__name__ if isinstance(field.type, type) else field.type
            raise UserError(
                f"plugins=[{plugin}]: declare {kind.__name__}.{field.name} as "
                f"{field.name}: {annotation} = option(DEFAULT, HELP), with afterkernel.options.option."
            )


def load(names: Iterable[str], *, announce: bool = False) -> None:
    """Import plugins by the names of their modules, each once; with `announce` a line on stderr precedes each import.

    Modules are found as Python finds them, and in the working directory. Raises UserError for a name that is no module,
    and for a module that can't be imported.
    """
    for name in names:
        if not _DOTTED.fullmatch(name):
            raise UserError(f"plugins=[{name}] is not the name of a Python module: write it as my_lab.nets.")
        if name in _loaded:
            continue
        here = str(Path.cwd())
        if here not in sys.path and "" not in sys.path:
            sys.path.append(here)
        if announce and importlib.util.find_spec(name.partition(".")[0]) is not None:
            print(f"afterkernel: importing the plugin {name}", file=sys.stderr, flush=True)
        _loaded[name] = _imported(name, f"plugins=[{name}]")


@functools.cache
def _load_installed() -> None:
    """Import the plugins of installed packages. Raises UserError where one is broken."""
    for entry in importlib.metadata.entry_points(group=GROUP):
        owner = entry.dist.name if entry.dist is not None else entry.name
        if entry.module not in _loaded:
            asked = f"the plugin {entry.module} of the installed package {owner}"
            _loaded[entry.module] = _imported(entry.module, asked)


def _imported(name: str, asked: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and _is_within(name, error.name):
            raise UserError(
                f"{asked}: there is no module {error.name} here; install its package, or start in the folder that "
                "holds it."
            ) from error
        raise UserError(f"{asked} can't be imported: it needs the module {error.name}; install it.") from error
    except (Exception, SystemExit) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        raise UserError(f"{asked} can't be imported: {type(error).__name__}: {first}") from error


@contextlib.contextmanager
def without_collections(*, freeze: bool = False) -> Iterator[None]:
    """Import in this block without garbage collections, which take a third of the time and never free a module.

    With `freeze`, in a process of the program alone, later collections leave out all that exists after the block: it
    must not hold data or networks, which would never be freed if they are part of a cycle. See `own_process`.
    """
    enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if freeze and _own_process and len(sys.modules) > modules:
            gc.freeze()
        if enabled:
            gc.enable()


def own_process() -> None:
    """Keep collections from going through modules, in a process that is the program's alone.

    The first collections after the imports would take 0.6 s, and the last one, as the process ends, a second.
    """
    global _own_process
    _own_process = True
    atexit.register(gc.freeze)


def loaded() -> list[str]:
    """The names of the plugins that are loaded, those of installed packages included."""
    _load_installed()
    return list(_loaded)


def defining(kind: type) -> str | None:
    """The plugin that defines a class; None for a class of this package."""
    return plugin_of(kind.__module__)


def plugin_of(module: str) -> str | None:
    """The loaded plugin that a module belongs to, if any."""
    return next((plugin for plugin in _loaded if _is_within(module, plugin)), None)


def described() -> dict[str, str]:
    """The loaded plugins with the version of their package, or else the SHA-256 of their file: for provenance."""
    return {name: _version(name) for name in loaded()}


def _version(name: str) -> str:
    import hashlib

    owners = importlib.metadata.packages_distributions().get(name.partition(".")[0], [])
    if owners:
        return f"{owners[0]} {importlib.metadata.version(owners[0])}"
    file = getattr(_loaded[name], "__file__", None)
    return f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()}" if file else "no file"
