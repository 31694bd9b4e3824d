"""Composing a configuration with Hydra: schema, groups, sweeps; then types and checks."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from afterkernel.config.catalogue import every_option
from afterkernel.config.checks import check
from afterkernel.config.explanations import explain, unknown
from afterkernel.config.identity import used_plugins
from afterkernel.config.overrides import check_once, check_override, read
from afterkernel.config.places import CONF
from afterkernel.config.schema import (
    KINDS,
    Config,
    config_from_dict,
    config_to_dict,
    load_plugins,
    register,
)
from afterkernel.config.user_files import plugins_of_sweep, store_choices, store_sweep, use_sweeps_in
from afterkernel.errors import UserError
from afterkernel.options import walk, wanted


def parse(words: Sequence[str]) -> list[Override]:
    """Parse and check these words as overrides, after importing the plugins that they name.

    Plugins are named by plugins=[...], or else in the file that +sweep=NAME names. Raises UserError for the first
    word that is not accepted.
    """
    overrides = _load_requested_plugins(words)
    for override in overrides:
        check_override(override)
    return overrides


def use_config_dir(folder: Path, words: Sequence[str]) -> None:
    """Add the choices and sweeps of a folder; they may build on the plugins that the overrides `words` name.

    Raises UserError for a folder or a file that can't be used.
    """
    use_sweeps_in(folder)
    _load_requested_plugins(words)
    store_choices(folder)


def _load_requested_plugins(words: Sequence[str]) -> list[Override]:
    overrides = read(words)
    load_plugins(_requested_plugins(overrides), announce=True)
    register()
    return overrides


def _requested_plugins(overrides: Sequence[Override]) -> list[str]:
    by_name = {override.key_or_group: override for override in overrides}
    if (given := by_name.get("plugins")) is not None:
        names = given.value()
        if not isinstance(names, list):
            raise UserError(f"{given.input_line} is not a list: write it as plugins=[my_lab.nets].")
        return [str(getattr(name, "text", name)) for name in names]
    if "sweep" not in by_name:
        return []
    check_override(by_name["sweep"])  # before any file is read
    return plugins_of_sweep(str(by_name["sweep"].value()))


def check_single_run(command: str, overrides: Sequence[str]) -> None:
    """Raise UserError for several values of one option, and for a sweep: the command is about one run."""
    parsed = parse(overrides)
    check_once(parsed)
    for each in parsed:
        if each.is_sweep_override():
            raise UserError(f"{each.input_line}: {command} takes one value for each option: give one of them.")
        if each.key_or_group == "sweep":
            raise UserError(f"{each.input_line}: {command} works on one run, not on a sweep: leave it out.")


def compose(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """The configuration that these overrides make, with or without Hydra's own node. Raises UserError for a mistake."""
    for given in parse(overrides):
        if given.key_or_group == "sweep":
            store_sweep(str(given.value()))
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides), return_hydra_config=with_hydra)
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(explain(error)) from error


def to_config(cfg: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked; references in `cfg` are resolved in place.

    Raises UserError for the first mistake in it.
    """
    config = typed(cfg)
    check(config)
    return _with_listed_classes(config)


def _with_listed_classes(config: Config) -> Config:
    """The configuration with all classes by name, as they are recorded."""
    if config.dataset.classes != "all":
        return config
    return dataclasses.replace(
        config, dataset=dataclasses.replace(config.dataset, classes=config.dataset.chosen_classes())
    )


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as dataclasses, whose values are not checked yet. Raises UserError for a mistake."""
    if "hydra" in cfg:
        cfg = copy.deepcopy(cfg)
        with open_dict(cfg):
            cfg.pop("hydra")
    _resolve(cfg)
    try:
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    if not isinstance(config, Config):
        raise UserError("the configuration has lost its schema: conf/config.yaml must begin with base_config.")
    _reject_unknown(cfg, config)
    used = [plugin for field in dataclasses.fields(config) for plugin in used_plugins(getattr(config, field.name))]
    return dataclasses.replace(config, plugins=sorted({*config.plugins, *used}))


def _resolve(cfg: DictConfig) -> None:
    """Resolve all references ${...} in place. Raises UserError that names the first option whose value can't be."""
    known = every_option()
    for name, section, key in _leaves(cfg):
        value: Any = section._get_node(key)
        if value is not None and value._is_interpolation():
            try:
                value = OmegaConf.select(section, key)
            except (OmegaConfBaseException, RecursionError) as error:
                raise UserError(f"{name}={value._value()}: {explain(error)}") from error
        # OmegaConf lets lists within lists pass.
        if OmegaConf.is_list(value) and any(map(OmegaConf.is_config, value)) and name in known:
            shown = json.dumps(OmegaConf.to_container(value), separators=(",", ":"))
            raise UserError(f"{name}={shown} has the wrong type: it must be {wanted(known[name][-1])}.")
    OmegaConf.resolve(cfg)


def override(config: Config, overrides: Sequence[str]) -> Config:
    """A configuration with some options changed: group choices (svm=libsvm) and single values (svm.tol=1e-3).

    What the overrides do not name stays as it is in `config`. Raises UserError for a mistake.
    """
    chosen = {word.partition("=")[0] for word in overrides}
    kinds = [f"{group}={getattr(config, group).name}" for group in KINDS if group not in chosen]
    composed = compose([*kinds, *overrides])
    base = OmegaConf.create(config_to_dict(config))
    for word in overrides:
        name = word.split("=")[0].lstrip("+~")
        try:
            value = OmegaConf.select(composed, name)
        except OmegaConfBaseException as error:
            raise UserError(f"{word}: {explain(error)}") from error
        OmegaConf.update(base, name, value, merge=False, force_add=True)
    changed = config_from_dict(OmegaConf.to_container(base, resolve=True))
    check(changed)
    return _with_listed_classes(changed)


def _reject_unknown(cfg: DictConfig, config: Config) -> None:
    """Raise UserError for an option that the schema does not have: Hydra's +key=value would add it."""
    known = {name for name, _, _ in walk(config)}
    for name, _, _ in _leaves(cfg):
        if name not in known:
            raise UserError(unknown(name, known))


def _leaves(section: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig, str]]:
    """Every value below a section: its dotted name, the section that holds it, and its key there."""
    for key in map(str, section):
        value = section._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", section, key
