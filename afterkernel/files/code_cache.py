"""What is derived from this package's files alone, kept in a file from one start of the program to the next.

Declarations lie in modules that import torch, which takes seconds. What help and completion need of them is derived
once, and kept as JSON where Python keeps its compiled code, until a source file changes. The caches can be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def derived(name: str, build: Callable[[], Any], read: Iterable[Path] = ()) -> Any:
    """The plain data that `build` returns, which must depend only on the code of this package and the files it `read`.

    It is called where no cache of this name is there, or one of these files has changed since.
    """
    signature = _signature(read)
    for path in _places(name):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["signature"] == signature:
                return found["data"]
    text = json.dumps({"signature": signature, "data": build()})
    for path in _places(name):
        if _write(path, text):
            break
    return json.loads(text)["data"]


def _signature(read: Iterable[Path]) -> str:
    """SHA-256 (hex) of the names, sizes and times of all source files and of those, and of the version of Python."""
    files = sorted([*_sources(_PACKAGE), *((str(path), path.stat()) for path in read)])
    parts = [sys.version, str(_PACKAGE), *(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sources(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                yield from _sources(Path(entry.path))
            elif entry.name.endswith(".py"):
                yield entry.path, entry.stat()


def _places(name: str) -> Iterator[Path]:
    """Files for the data: next to Python's compiled code, or in the user's cache where that can't be written."""
    if not sys.dont_write_bytecode:
        yield Path(importlib.util.cache_from_source(__file__)).with_name(f"{name}.json")
    base = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):  # a user without a home
        where = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
        yield where / "afterkernel" / hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16] / f"{name}.json"


def _write(path: Path, text: str) -> bool:
    """Replace a file atomically; False where it can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as draft:
            draft.write(text)
        Path(draft.name).replace(path)
    except OSError:
        return False
    return True
