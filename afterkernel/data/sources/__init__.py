"""Sources by name: every subclass of Source that a module of this package defines."""

from __future__ import annotations

from afterkernel.data.source import Source
from afterkernel.plugins import Registry

SOURCES: Registry[type[Source]] = Registry(__name__, Source, overrides=("read",))
