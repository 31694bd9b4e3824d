"""Paths that may be sent: W&B's client writes the local path of each file into the list of files that it uploads."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

# Not the TMPDIR of a job, which may name the user, and which ends with the job.
_TEMPORARY = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())


def neutral_path(folder: Path) -> Path:
    """A link to a folder whose own path names neither a user nor a project; the same on each call.

    Raises OSError if another file is in its place.
    """
    folder = folder.absolute()
    link = _TEMPORARY / f"afterkernel-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    try:
        link.symlink_to(folder)
    except FileExistsError:
        if not (link.is_symlink() and link.readlink() == folder):
            raise
    return link


def neutral_file(folder: Path, path: Path) -> str:
    """The path of a file below a folder, by the link to the folder."""
    return os.fspath(neutral_path(folder) / path.absolute().relative_to(folder.absolute()))
