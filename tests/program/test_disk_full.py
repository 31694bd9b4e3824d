"""A disk that runs full: one clear sentence, nothing corrupted, and the sweep continues once there is space."""

import os
import subprocess
import sys

import pytest
from sweep_tools import GRID, numbers


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of few bytes; skips where none can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_reported_and_the_sweep_continues_after_space_is_made(program, unbroken, small_disk, tmp_path):
    words = [*GRID, "logger=wandb"]
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 180_000))

    full = program(*words, f"output_dir={small_disk}/runs", cwd=tmp_path)
    assert full.returncode == 1, full.stdout + full.stderr
    failures = [line for line in full.stderr.splitlines() if "FAILED" in line]
    assert failures
    assert all("No space left on device" in line or "the disk is full" in line for line in failures), failures
    assert "Traceback" not in full.stdout + full.stderr
    kept = numbers(small_disk / "runs" / "s") if list(small_disk.rglob("records/*.json")) else {}

    ballast.unlink()
    again = program(*words, "logger=none", f"output_dir={small_disk}/runs", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    found = numbers(small_disk / "runs" / "s")
    run_ids = {run_id for run_id, _, _ in found}
    assert len(run_ids) == 4
    assert found == {key: value for key, value in unbroken.items() if key[0] in run_ids}
    assert kept == {key: found[key] for key in kept}
    assert not [path for path in (small_disk / "runs").rglob(".*.tmp") if not {"wandb", "locks"} & set(path.parts)]
