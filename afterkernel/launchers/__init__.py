"""Launchers: where the jobs of a sweep run. Each launcher is one file."""

from afterkernel.launchers.launcher import Launcher
from afterkernel.plugins import Registry

LAUNCHERS: Registry[type[Launcher]] = Registry(__name__, Launcher, overrides=("launch",))

__all__ = ["LAUNCHERS", "Launcher"]
