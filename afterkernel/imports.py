"""Imports that take seconds, without the garbage collections that would make them take half as long again."""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Import in this context: modules are never garbage, and each collection would go through those imported so far."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def skip_last_collection() -> None:
    """Have this process end without a last collection, which would go through all modules again."""
    atexit.register(gc.freeze)
