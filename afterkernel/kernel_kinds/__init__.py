"""Kernels of a run, one file each: what it is called everywhere, and how it is computed for a network.

Everything else derives from the declaration: choices of `kernel.names`, evaluation, titles in the report and the
dashboard, and the documentation. No torch is imported before a kernel is computed, so that reports need none.
"""

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind
from afterkernel.plugins import Registry

KINDS: Registry[KernelKind] = Registry(__name__, KernelKind, make=lambda kind: kind(), overrides=("embedding",))


def describe(name: str) -> KernelKind:
    """The kernel of that name; where it is not installed, as a plugin's may not be, only its name is known."""
    if name in KINDS:
        return KINDS[name]
    unknown: KernelKind = type("UnknownKernel", (KernelKind,), {"name": name, "title": name})()
    return unknown


__all__ = ["KINDS", "KernelInput", "KernelKind", "describe"]
