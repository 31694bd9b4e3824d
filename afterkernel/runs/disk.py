"""Disk space that a run takes, by kind of file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.records.files import KERNELS_FOLDER, RECORDS, REPLACED, SNAPSHOTS, TILES

# Folders of a run by the kind of their files: `samples` is what the next snapshot is compared with, `replaced` the old
# contents of a forced run that has not finished. Files elsewhere (configuration, logs) are "other".
_KINDS = {
    folder: folder for folder in (RECORDS, SNAPSHOTS, KERNELS_FOLDER, TILES, "wandb", "csv", "tensorboard", REPLACED)
} | {"supports": "samples"}


def disk_use(run_dir: Path | str) -> Counter[str]:
    """Bytes of the files of a run by kind; links are not followed, and files removed meanwhile are left out."""
    run_dir = Path(run_dir)
    found: Counter[str] = Counter()
    for folder, _, names in os.walk(run_dir):
        for name in names:
            path = Path(folder, name)
            try:
                count = path.lstat().st_size
            except FileNotFoundError:
                continue
            found[_KINDS.get(path.relative_to(run_dir).parts[0], "other")] += count
    return found


def describe_use(found: Counter[str]) -> str:
    """The total, and in brackets its parts, the largest first: 1.20 MiB (snapshots 1.00 MiB, wandb 205 KiB)."""
    listed = ", ".join(f"{kind} {fmt.size(count)}" for kind, count in found.most_common() if count)
    return fmt.size(found.total()) + (f" ({listed})" if listed else "")
