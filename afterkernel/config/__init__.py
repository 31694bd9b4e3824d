"""The configuration: schema, composition, checks, identity."""

from afterkernel.config.check import check, device
from afterkernel.config.compose import check_single_run, compose, override, parse, to_config, typed, use_config_dir
from afterkernel.config.explain import explain
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
