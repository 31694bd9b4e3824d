"""The configuration: schema, composition, checks, identity."""

from afterkernel.config.check import check, device
from afterkernel.config.compose import check_single_run, compose, override, parse, prepare, to_config
from afterkernel.config.explain import explain
from afterkernel.config.identity import config_sha256, evaluation_id, run_id, training_difference, training_id
from afterkernel.config.places import CONF
from afterkernel.config.schema import Config, config_from_dict, config_to_dict

__all__ = [
    "CONF",
    "Config",
    "check",
    "check_single_run",
    "compose",
    "config_from_dict",
    "config_sha256",
    "config_to_dict",
    "device",
    "evaluation_id",
    "explain",
    "override",
    "parse",
    "prepare",
    "run_id",
    "to_config",
    "training_difference",
    "training_id",
]
