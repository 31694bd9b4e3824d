"""The configuration: schema, composition, checks, identity.

Names are resolved on first use, since the schema imports torch, for which help and error messages don't wait.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afterkernel.config.checks import check, device
    from afterkernel.config.composition import (
        check_single_run,
        compose,
        override,
        parse,
        to_config,
        typed,
        use_config_dir,
    )
    from afterkernel.config.explanations import explain
    from afterkernel.config.identity import Identity, training_difference
    from afterkernel.config.places import CONF
    from afterkernel.config.schema import Config, config_from_dict, config_to_dict

__all__ = [
    "CONF",
    "Config",
    "Identity",
    "check",
    "check_single_run",
    "compose",
    "config_from_dict",
    "config_to_dict",
    "device",
    "explain",
    "override",
    "parse",
    "to_config",
    "training_difference",
    "typed",
    "use_config_dir",
]

_HOMES = {
    "checks": ("check", "device"),
    "composition": ("check_single_run", "compose", "override", "parse", "to_config", "typed", "use_config_dir"),
    "explanations": ("explain",),
    "identity": ("Identity", "training_difference"),
    "places": ("CONF",),
    "schema": ("Config", "config_from_dict", "config_to_dict"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
