"""The catalogue of options as the dataclasses of the schema declare it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import OmegaConf

from afterkernel.config.catalogue import Choice, Group, Option
from afterkernel.config.places import CHOSEN
from afterkernel.config.schema import KINDS, Config
from afterkernel.measures import MEASURES
from afterkernel.options import walk

# The group of the options that have no section.
RUN = "run"
# Class attributes that say what a choice is: of measures and of kinds of sections, of kernels, of claims.
_DECLARED = ("what", "definition", "statement")


def declared_groups() -> list[Group]:
    """All groups of options, of loaded plugins too; imports torch."""
    base = OmegaConf.load(CHOSEN)
    chosen = {str(key): str(name) for each in base.defaults if OmegaConf.is_dict(each) for key, name in each.items()}
    groups = []
    config, alone = Config(), []
    for field in dataclasses.fields(Config):
        name, section, text = field.name, getattr(config, field.name), field.metadata["help"]
        if name in KINDS:
            choices = [
                Choice(kind_name, _line(kind), _options(walk(kind(), f"{name}.")))
                for kind_name, kind in KINDS[name].items()
            ]
            groups.append(Group(name, text, [], choices, chosen[name]))
        elif dataclasses.is_dataclass(section):
            groups.append(Group(name, text, _options(walk(section, f"{name}.")), []))
        else:
            alone += _options([(name, field, section)])
    return [*groups, Group(RUN, "options without a group: seed, plugins, what to keep, folder of results", alone, [])]


def _options(found: Iterable[tuple[str, dataclasses.Field[Any], Any]]) -> list[Option]:
    return [_option(*each) for each in found]


def _option(name: str, field: dataclasses.Field[Any], value: Any) -> Option:
    metadata = dict(field.metadata)
    metadata["choices"] = list(metadata["choices"])
    annotation = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    registry = MEASURES if name == "measure.names" else field.metadata["choices"]
    lines = {each: _line(registry[each]) for each in registry} if isinstance(registry, Mapping) else {}
    return Option(name, annotation, value, metadata, lines)


def _line(member: Any) -> str:
    """One line about a choice: what it declares, or else the first sentence of its documentation."""
    if declared := next((text for name in _DECLARED if (text := getattr(member, name, ""))), ""):
        cost = getattr(member, "cost", "")
        return f"{declared}{f'; cost: {cost}' if cost else ''}"
    kind = member if isinstance(member, type) else type(member)
    paragraph = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
    return paragraph.removesuffix(".")
