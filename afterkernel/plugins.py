"""Finding what a package offers by walking its files, so that a new file is all that a new member needs."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

Base = TypeVar("Base")


def members(package: str, base: type[Base]) -> dict[str, type[Base]]:
    """The dataclasses below `base` defined in the modules of `package`, by the default of their `name` field."""
    found: dict[str, type[Base]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == info.name:
                name = vars(value).get("name")  # a dataclass keeps a field's default as a class attribute
                if value is not base and name:
                    found[name] = value
    return dict(sorted(found.items()))
