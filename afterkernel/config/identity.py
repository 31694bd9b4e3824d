"""The identity of a run: a hash of the part of its configuration that decides its numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from afterkernel import plugins
from afterkernel.options import option_type
from afterkernel.training.options import LOSS_CHECK_OPTIONS

if TYPE_CHECKING:
    from afterkernel.config.schema import Config

EVALUATION_SECTIONS = ("kernel", "svm", "measure")


def deciding(node: Any) -> dict[str, Any]:
    """The options below a dataclass that decide a run's numbers, as plain data: equal for equivalent configurations.

    Left out are options with `affects_results=False`, and those that a dataclass names as `inactive`, because
    its other options switch them off. `canonical` of a dataclass gives the one spelling of values that have several.
    """
    values: dict[str, Any] = {}
    inactive: frozenset[str] = getattr(node, "inactive", frozenset())
    canonical: dict[str, Any] = getattr(node, "canonical", {})
    for field in dataclasses.fields(node):
        if field.name in inactive:
            continue
        value = canonical.get(field.name, getattr(node, field.name))
        if dataclasses.is_dataclass(value):
            if below := deciding(value):
                values[field.name] = below
        elif field.metadata.get("affects_results", True):
            values[field.name] = _spelled(value, field)
    if used := used_plugins(node):
        values["plugins"] = used  # another module may define another class of the same name
    return values


def used_plugins(section: Any) -> list[str]:
    """The plugins that define what a section of the configuration has chosen."""
    kinds = getattr(section, "member_classes", [type(section)])
    return sorted({plugin for kind in kinds if (plugin := plugins.defining(kind)) is not None})


def _spelled(value: Any, field: dataclasses.Field[Any]) -> Any:
    """The value in one spelling: numbers of a float option as floats, lists without order in alphabetical order."""
    if isinstance(value, list):
        spelled = [_spelled(item, field) for item in value]
        return sorted(set(spelled)) if field.metadata.get("unordered") else spelled
    if isinstance(value, (int, float)) and not isinstance(value, bool) and option_type(field).base == "float":
        return float(value) + 0.0  # -0.0 is 0.0
    return value


@dataclasses.dataclass(frozen=True)
class Identity:
    """The hashes of a configuration.

    `run_id` names the run by its numbers, such as vgg-lr0.1-seed0-3f2a9c1d7e: it ends in the first digits of
    `config_sha256`, the SHA-256 of all that affects results. `training_id` is the part of the snapshots, and
    `evaluation_id` that of the kernels, SVM and measures. `training` are the options behind `training_id`.
    """

    run_id: str
    config_sha256: str
    training_id: str
    evaluation_id: str
    training: dict[str, Any]


def identify(config: Config) -> Identity:
    """The hashes of a configuration; `Config.identity` computes them once."""
    values = deciding(config)
    # The end of training always has a snapshot, and none comes after it.
    values["snapshot"] = {"epochs": config.snapshot.until(config.training.epochs)}
    losses = sorted(map(float, config.snapshot.losses)) if config.training.epochs else []
    if losses:
        values["snapshot"]["losses"] = losses
    elif config.training.loss_target is None:
        for name in LOSS_CHECK_OPTIONS:
            values["training"].pop(name, None)
    training = {name: value for name, value in values.items() if name not in EVALUATION_SECTIONS}
    evaluation = {section: values.get(section, {}) for section in EVALUATION_SECTIONS}
    sha256 = digest(values)
    return Identity(
        run_id=f"{config.arch.name}-lr{config.training.lr:g}-seed{config.seed}-{sha256[:10]}",
        config_sha256=sha256,
        training_id=digest(training),
        evaluation_id=digest(evaluation)[:10],
        training=training,
    )


def evaluation_options(config: Config) -> dict[str, Any]:
    """The options that decide the numbers of an evaluation, by section."""
    return {section: deciding(getattr(config, section)) for section in EVALUATION_SECTIONS}


def digest(values: Any) -> str:
    """SHA-256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def training_difference(config: Config, trained: Config) -> str | None:
    """The first option that affects the snapshots and differs, as NAME=VALUE of `config`; None if all agree."""
    return _difference(config.identity.training, trained.identity.training, "")


def _difference(new: Any, old: Any, name: str) -> str | None:
    if isinstance(new, dict) and isinstance(old, dict):
        below = (_difference(new.get(key), old.get(key), f"{name}.{key}".lstrip(".")) for key in {**old, **new})
        return next((found for found in below if found is not None), None)
    return None if new == old else f"{name}={new}"
