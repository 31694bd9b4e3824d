"""How much memory is free, on this machine or a GPU."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # of a container, where the kernel has cgroups of version 2


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on `device`, within the limit of a container; None where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = (_fields(MEMINFO).get("MemAvailable:"), _left_to_container())
    return min((one for one in found if one is not None), default=None)


def _left_to_container() -> int | None:
    """The limit of the container less what it uses; the page cache of files counts as free."""
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        return max(0, limit - used + _fields(CGROUP / "memory.stat").get("inactive_file", 0))
    return None


def _fields(file: Path) -> dict[str, int]:
    """The numbers of a file of the system by their names, in bytes; none where it can't be read."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, number, *unit = line.split()
            found[name] = int(number) * (1024 if unit == ["kB"] else 1)
    return found
