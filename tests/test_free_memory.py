"""How much memory is free: by the system, and by the limit of a container."""

import pytest
import torch

from afterkernel import memory

KIB = 1024


@pytest.fixture
def system(tmp_path, monkeypatch):
    """`system(name, text)` writes a file of the system; there is none at first."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return lambda name, text: (tmp_path / name).write_text(text)


def free():
    return memory.free_bytes(torch.device("cpu"))


def test_the_free_memory_of_the_system(system):
    assert free() is None
    system("meminfo", "MemTotal:  100 kB\nMemAvailable:   7 kB\n")
    assert free() == 7 * KIB
    system("meminfo", "MemTotal:  100 kB\n")
    assert free() is None


def test_a_container_may_leave_less(system):
    system("meminfo", "MemTotal:  100 kB\nMemAvailable:   70 kB\n")
    system("memory.current", f"{50 * KIB}\n")
    system("memory.max", "max\n")
    assert free() == 70 * KIB
    system("memory.max", f"{60 * KIB}\n")
    assert free() == 10 * KIB
    system("memory.stat", f"anon 1\ninactive_file {5 * KIB}\n")
    assert free() == 15 * KIB
    system("memory.max", f"{40 * KIB}\n")
    assert free() == 0
