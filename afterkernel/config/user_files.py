"""Files that users write: sweeps, and the choices of a folder given by --config-dir. They hold options, never code.

Hydra imports and calls whatever a `_target_` names, so each file is read and checked here, and only then handed over.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from afterkernel.config.overrides import (
    LOGGER,
    check_length,
    check_loggers,
    check_no_code,
    check_override,
    choices,
    groups,
    keys_within,
    short,
)
from afterkernel.config.places import sweep_file, use_folder
from afterkernel.config.schema import Config
from afterkernel.config.written import check_all_written
from afterkernel.errors import UserError
from afterkernel.files.reading import is_folder, read_yaml_text
from afterkernel.records.files import is_name

_GLOBAL = ("experiment", "sweep")  # groups whose files set options of any section


def read_sweep(name: str) -> DictConfig:
    """The content of the file of a sweep. Raises UserError where it can't be read."""
    path = sweep_file(name)
    assert path is not None
    node = _read(path, "a sweep")
    if not node:
        raise UserError(f"{path} is empty: name what is swept, as sweeps/demo.yaml does.")
    return node


def plugins_of_sweep(name: str) -> list[str]:
    """The plugins that the file of a sweep asks for. Raises UserError where the file can't be read."""
    plain = OmegaConf.to_container(read_sweep(name), resolve=False)
    named = plain.get("plugins", []) if isinstance(plain, dict) else []
    if not isinstance(named, list):
        raise UserError(f"sweeps/{name}.yaml: plugins={named} is not a list: write it as plugins: [my_lab.nets].")
    return [str(plugin) for plugin in named]


def store_sweep(name: str) -> None:
    """Check the file of a sweep, and put it where Hydra finds it. Raises UserError for what no sweep may hold."""
    node = read_sweep(name)
    check_sweep(f"sweeps/{name}.yaml", node)
    ConfigStore.instance().store(group="sweep", name=name, node=node, package="_global_")


def use_sweeps_in(folder: Path) -> None:
    """Add the sweeps of FOLDER/sweeps to those of this package. Raises UserError for what is no folder."""
    if not is_folder("--config-dir", folder):
        raise UserError(f"--config-dir={folder} is not a folder: name one that holds dataset/NAME.yaml or the like.")
    use_folder(folder)


def store_choices(folder: Path) -> None:
    """Add the choices of FOLDER/GROUP/NAME.yaml to those of this package and of the plugins that are loaded.

    Raises UserError where the folder holds neither choices nor sweeps, for a name that is taken, and for a file with
    anything but options.
    """
    found = sorted(path for group in groups() for path in (folder / group).glob("*.yaml"))
    if not found and not any((folder / "sweeps").glob("*.yaml")):
        raise UserError(
            f"--config-dir={folder} holds no file GROUP/NAME.yaml: GROUP is one of {', '.join(groups())} or sweeps."
        )
    known = {group: choices(group) for group in groups()}
    for path in found:
        if path.stem in known[path.parent.name]:
            raise UserError(f"{path} has the name of an existing choice of {path.parent.name}: rename the file.")
        if not is_name(path.stem):
            raise UserError(f"{path} has no valid name: use letters, digits, - and _.")
        bases = sorted({*known[path.parent.name], *(other.stem for other in found if other.parent == path.parent)})
        _store_choice(path, bases)


def _store_choice(path: Path, bases: list[str]) -> None:
    """Check a file and store it; `bases` are the choices that its defaults may name."""
    group = path.parent.name
    node = _read(path, f"a choice of {group}")
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    if group in _GLOBAL:
        for key in ("hydra", "plugins"):
            if key in plain:
                raise UserError(f"{path}: {key} can't be set here: only a sweep file may.")
        check_sweep(str(path), node)
    else:
        check_no_code(str(path), list(keys_within(plain)))
        if "# @package" in path.read_text(encoding="utf-8"):
            raise UserError(f"{path}: leave out the line # @package: it sets options of {group} alone.")
        base = plain.pop("defaults", [])
        if not isinstance(base, list) or any(item not in ("_self_", *bases) for item in base):
            raise UserError(
                f"{path}: defaults={json.dumps(base)} is not a list of choices of {group}: write one of "
                f"{', '.join(bases)}, as [{bases[0]}]."
            )
        check_all_written({group: plain}, f"{path}: ")
    ConfigStore.instance().store(
        group=group, name=path.stem, node=node, package="_global_" if group in _GLOBAL else None
    )


def _read(path: Path, what: str) -> DictConfig:
    text = read_yaml_text(path)
    try:
        node = OmegaConf.load(io.StringIO(text))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())}.") from error
    if OmegaConf.is_list(node) or not isinstance(node, DictConfig):
        raise UserError(
            f"{path} is not {what}: it must contain options, each as name: value, as sweeps/demo.yaml does."
        )
    return node


def check_sweep(place: str, node: DictConfig) -> None:
    """Raise UserError for what a sweep file must not hold: code, Hydra's settings, values that are no grid."""
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    check_no_code(place, list(keys_within(plain)))
    known = [field.name for field in dataclasses.fields(Config)]
    for key in map(str, plain):
        if key not in (*known, "hydra", "defaults"):
            cure = (
                f"write it nested, as {key.partition('.')[0]}: with {key.partition('.')[2]}: below it"
                if key.partition(".")[0] in known and "." in key
                else f"name one of {', '.join(known)}, or hydra.sweeper.params"
            )
            raise UserError(f"{place}: {key} is not a section of the configuration: {cure}.")
    if "defaults" in plain:
        _check_defaults(place, plain["defaults"])
    check_all_written({key: value for key, value in plain.items() if key not in ("hydra", "defaults")}, f"{place}: ")
    if "hydra" in plain:
        _check_hydra_section(place, plain["hydra"])


def _check_defaults(place: str, defaults: Any) -> None:
    """A defaults list chooses among our own files by name, each group once."""
    found: list[str] = []
    for item in defaults if isinstance(defaults, list) else [defaults]:
        (said, value) = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, None)
        named = re.fullmatch(r"override /(\w+)", str(said))
        names = value if named and named[1] == LOGGER and isinstance(value, list) else [value]
        is_choice = named and all(isinstance(name, str) for name in names)
        group = "_self_" if item == "_self_" else named[1] if named and is_choice else ""
        if not isinstance(defaults, list) or group not in ("_self_", *groups()):
            raise UserError(
                f"{place}: defaults can't hold {json.dumps(item)}: write choices of {', '.join(groups())} alone, as "
                "- override /dataset: mnist."
            )
        if group in found:
            raise UserError(f"{place}: defaults name {group} twice: name it once.")
        found.append(group)
        if group == "_self_":
            continue
        if unknown := [name for name in names if name not in choices(group)]:
            raise UserError(f"{place}: {group}={unknown[0]} is not known: choose one of {', '.join(choices(group))}.")
        if len(names) > 1:
            check_loggers(names, f"{place}: {group}=[{','.join(map(str, names))}]")


def _check_hydra_section(place: str, section: Any) -> None:
    """Of Hydra's settings a sweep file sets its mode and the values to sweep over."""
    if not isinstance(section, dict):
        raise UserError(f"{place}: hydra must hold sweeper: with params: below it, as sweeps/demo.yaml does.")
    for key in section:
        if key not in ("mode", "sweeper"):
            raise UserError(
                f"{place}: hydra.{key} can't be set in a file: only hydra.mode and hydra.sweeper.params can."
            )
    if section.get("mode", "MULTIRUN") not in ("MULTIRUN", "RUN"):
        raise UserError(f"{place}: hydra.mode={section['mode']} is not known: choose one of MULTIRUN, RUN.")
    sweeper = section.get("sweeper", {})
    if not isinstance(sweeper, dict) or sweeper.keys() - {"params"}:
        raise UserError(f"{place}: hydra.sweeper takes only params, with one option and its values in each line.")
    params = sweeper.get("params")
    if params and section.get("mode") == "RUN":
        raise UserError(f"{place}: hydra.mode=RUN has no values to sweep over: leave out either it or hydra.sweeper.")
    if params is None or params == {}:
        if section.get("mode") == "MULTIRUN":
            raise UserError(f"{place} sweeps over nothing: give hydra.sweeper.params an option with values.")
        return
    if not isinstance(params, dict):
        raise UserError(
            f"{place}: hydra.sweeper.params={json.dumps(params)} is not a mapping: write one OPTION: VALUE,VALUE "
            "in each line below it."
        )
    for option, values in params.items():
        _check_values(f"{place}: hydra.sweeper.params.{option}", str(option), values)


def _check_values(place: str, option: str, values: Any) -> None:
    """Values to sweep over that Hydra can't read, or would take for one."""
    if isinstance(values, (list, dict)):
        hint = ",".join(map(str, values)) if isinstance(values, list) else "a,b"
        raise UserError(f"{place}={json.dumps(values)} is one value: write {hint} to sweep over several.")
    if values is None or "${" in str(values):
        raise UserError(f"{place}={'' if values is None else values} is not a list of values: write 0,1,2 or range(5).")
    if not re.fullmatch(r"\+?[\w./@-]+", option):
        raise UserError(f"{place} is not the name of an option.")
    check_length(str(values))
    try:
        parsed = OverridesParser.create().parse_override(f"{option}={values}")
    except (HydraException, ValueError, RecursionError) as error:
        raise UserError(
            f"{place}={short(str(values))} can't be read: write values with commas between them, such as 0,1,2 or "
            "range(5)."
        ) from error
    if parsed.key_or_group == "sweep":
        raise UserError(f"{place}: a sweep can't go over other sweeps: run them one by one.")
    if re.match(r"\+?hydra\b", option):
        raise UserError(f"{place} is a setting of Hydra, which can't be swept over.")
    try:
        check_override(parsed)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
