"""Composing a configuration with Hydra: schema, groups, sweeps; then types and checks."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from afterkernel.config.check import check
from afterkernel.config.explain import explain, unknown
from afterkernel.config.identity import run_id
from afterkernel.config.schema import Config, from_plain, register, to_plain
from afterkernel.errors import UserError
from afterkernel.options import walk

_PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    """conf/ and sweeps/ stand beside the package in a checkout, inside it when installed as a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONF = _folder("conf")
SWEEPS = _folder("sweeps")


def prepare() -> None:
    """Register the schema, and every sweeps/NAME.yaml (here and of the project) as +sweep=NAME."""
    register()
    own = Path("sweeps")
    sweeps = _shipped_sweeps()
    if own.resolve() != SWEEPS.resolve():
        sweeps = sweeps | _read_sweeps(own)
    store = ConfigStore.instance()
    for name, node in sweeps.items():
        store.store(group="sweep", name=name, node=node, package="_global_")
    OmegaConf.register_new_resolver("run_id", _run_id, replace=True)


@functools.cache
def _shipped_sweeps() -> dict[str, DictConfig]:
    return _read_sweeps(SWEEPS)


def _read_sweeps(folder: Path) -> dict[str, DictConfig]:
    return {path.stem: _read_sweep(path) for path in sorted(folder.glob("*.yaml"))}


def _read_sweep(path: Path) -> DictConfig:
    try:
        node = OmegaConf.load(path)
    except MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"
        raise UserError(f"{path} can't be read as YAML: {error.problem or 'it is damaged'}, in {place}.") from error
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(node, DictConfig):
        raise UserError(f"{path} is no sweep: it must hold options by name, as sweeps/demo.yaml does.")
    return node


def _check_sweeps(overrides: Sequence[str]) -> None:
    """What Hydra would take for a single run of all defaults: a sweep file that is empty, or names no grid."""
    for word in overrides:
        name = word.removeprefix("+sweep=")
        found = ConfigStore.instance().repo.get("sweep", {}).get(f"{name}.yaml")
        if name == word or found is None:
            continue
        if not found.node:
            raise UserError(f"sweeps/{name}.yaml is empty: name what is swept, as sweeps/demo.yaml does.")
        params = OmegaConf.select(found.node, "hydra.sweeper.params")
        if not params and OmegaConf.select(found.node, "hydra.mode") == "MULTIRUN":
            raise UserError(f"sweeps/{name}.yaml sweeps over nothing: give hydra.sweeper.params an option with values.")
        for option, values in (params or {}).items():
            _check_values(f"sweeps/{name}.yaml: hydra.sweeper.params.{option}", option, values)


def _check_values(place: str, option: str, values: Any) -> None:
    """Values to sweep over that Hydra can't read, or would take for one."""
    if OmegaConf.is_config(values):
        shown = json.dumps(OmegaConf.to_container(values))
        hint = ",".join(map(str, values)) if OmegaConf.is_list(values) else "a,b"
        raise UserError(f"{place}={shown} is one value: write {hint} to sweep over several.")
    try:
        OverridesParser.create().parse_override(f"{option}={values}")
    except HydraException as error:
        raise UserError(
            f"{place}={values} can't be read: write values with commas between them, such as 0,1,2 or range(5)."
        ) from error


def _run_id(*, _root_: DictConfig) -> str:
    """The run's folder, for hydra.run.dir; the configuration is checked again, with better words, in the job."""
    return run_id(_typed(_root_))


def compose(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """The configuration that these overrides make, with or without Hydra's own node. Raises UserError for a mistake."""
    prepare()
    _check_sweeps(overrides)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(explain(error)) from error


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked. Raises UserError for the first mistake in it."""
    config = _typed(cfg)
    check(config)
    return config


def _typed(cfg: DictConfig) -> Config:
    plain = copy.deepcopy(cfg)
    with open_dict(plain):
        plain.pop("hydra", None)
    try:
        OmegaConf.resolve(plain)
        config = OmegaConf.to_object(plain)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    if not isinstance(config, Config):
        raise UserError("the configuration has lost its schema: conf/config.yaml must begin with base_config.")
    _reject_unknown(plain, config)
    return config


def override(config: Config, overrides: Sequence[str]) -> Config:
    """A configuration with some options changed: group choices (svm=libsvm) and single values (svm.tol=1e-3).

    What the overrides do not name stays as it is in `config`. Raises UserError for a mistake.
    """
    composed = compose(overrides)
    base = OmegaConf.create(to_plain(config))
    for word in overrides:
        name = word.split("=")[0].lstrip("+~")
        OmegaConf.update(base, name, OmegaConf.select(composed, name), merge=False, force_add=True)
    changed = from_plain(OmegaConf.to_container(base, resolve=True))
    check(changed)
    return changed


def _reject_unknown(cfg: DictConfig, config: Config) -> None:
    """Hydra's +key=value passes a schema, so what the schema does not know is looked for here."""
    known = {name for name, _, _ in walk(config)}
    for name in _leaves(cfg):
        if name not in known:
            raise UserError(unknown(name, known))


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
