"""The configuration: schema, composition, checks, identity."""

from afterkernel.config.check import check, device
from afterkernel.config.compose import compose, override, prepare, typed
from afterkernel.config.explain import explain
from afterkernel.config.identity import config_sha256, evaluation_id, run_id, training_difference, training_id
from afterkernel.config.places import CONF
from afterkernel.config.schema import Config, from_plain, to_plain

__all__ = [
    "CONF",
    "Config",
    "check",
    "compose",
    "config_sha256",
    "device",
    "evaluation_id",
    "explain",
    "from_plain",
    "override",
    "prepare",
    "run_id",
    "to_plain",
    "training_difference",
    "training_id",
    "typed",
]
