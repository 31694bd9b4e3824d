"""A copy of the rows of many runs in one file, so that a large sweep opens quickly the second time.

DIR/.results-KEY.parquet, DIR the folder that holds the runs; KEY is a hash of the names and checksums of all their
files, so that a copy is found for exactly what lies there. It is a cache: a damaged one is not used, and it may be
removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.store import seal
from afterkernel.store.columns import SIGNATURE
from afterkernel.store.files import write_bytes_atomic
from afterkernel.store.seal import Sealed

# Fewer files than that open in a moment.
FROM_FILES = 100
_PREFIX = ".results-"


def path_for(found: Sequence[Sealed]) -> Path | None:
    """Where the copy of these files' rows lies, or would lie; None where they are too few."""
    if len(found) < FROM_FILES:
        return None
    folder = os.path.commonpath([one.path.parent for one in found])
    digest = hashlib.sha256(SIGNATURE.encode())
    for one in found:
        digest.update(f"{os.path.relpath(one.path, folder)} {one.digest}\n".encode())
    return Path(folder, f"{_PREFIX}{digest.hexdigest()[:32]}.parquet")


def is_whole(path: Path) -> bool:
    """Whether the copy is there and undamaged."""
    try:
        seal.check(path)
    except UserError:
        return False
    return True


def write(path: Path, data: bytes) -> None:
    """Write a copy and remove earlier ones; nothing happens where the folder can't be written to."""
    with contextlib.suppress(OSError):
        write_bytes_atomic(path, data)
        for other in path.parent.glob(f"{_PREFIX}*.parquet"):
            if other != path:
                other.unlink(missing_ok=True)
