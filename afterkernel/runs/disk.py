"""What a run takes on disk, by kind."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.records.files import KERNELS_FOLDER, RECORDS, REPLACED, SNAPSHOTS

_KINDS = {
    RECORDS: "records",
    SNAPSHOTS: "snapshots",
    KERNELS_FOLDER: "kernels",
    "tiles": "tiles",
    "supports": "samples",
    "wandb": "wandb",
    REPLACED: "replaced",
}


@dataclasses.dataclass(frozen=True)
class DiskUse:
    """Bytes of the files of a run, or of several.

    `samples` is what the next snapshot is compared with; `replaced` the old contents of a forced run that has not
    finished; `other` configuration, logs and the like.
    """

    records: int = 0
    snapshots: int = 0
    kernels: int = 0
    tiles: int = 0
    samples: int = 0
    wandb: int = 0
    replaced: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.astuple(self))

    def __add__(self, more: DiskUse) -> DiskUse:
        return DiskUse(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(more), strict=True)))

    def describe(self) -> str:
        """The total, and in brackets its parts, the largest first: 1.20 MiB (snapshots 1.00 MiB, wandb 205 KiB)."""
        parts = sorted(dataclasses.asdict(self).items(), key=lambda part: -part[1])
        listed = ", ".join(f"{kind} {fmt.size(count)}" for kind, count in parts if count)
        return f"{fmt.size(self.total)} ({listed})" if listed else fmt.size(0)


def disk_use(run_dir: Path | str) -> DiskUse:
    """What a run takes on disk; links are not followed, and files that go away meanwhile count as nothing."""
    run_dir = Path(run_dir)
    found = dict.fromkeys([*_KINDS.values(), "other"], 0)
    for folder, _, names in os.walk(run_dir):
        for name in names:
            path = Path(folder, name)
            try:
                count = path.lstat().st_size
            except FileNotFoundError:
                continue
            found[_KINDS.get(path.relative_to(run_dir).parts[0], "other")] += count
    return DiskUse(**found)
