"""Every option with its default, help and bounds, by group: read without importing what declares it.

The catalogue is derived from the declarations (`afterkernel.config.declared`) and kept from one start of the program to
the next, so that help, completion and the first checks of a command line don't wait for torch.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

from afterkernel import plugins
from afterkernel.config.places import CHOSEN
from afterkernel.files.code_cache import derived
from afterkernel.options import bounds, option_type, wanted

_DECLARATIONS = "afterkernel.config.schema"
_MEASURES = "measure.names"
_Key = tuple[tuple[str, ...], bool]


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of one group or choice.

    `annotation` is the type of its field, and `metadata` what `afterkernel.options.option` declares: help, choices (as
    a list), bounds. `choice_help` has a line for each of its choices that declares one.
    """

    name: str
    annotation: str
    default: Any
    metadata: dict[str, Any]
    choice_help: dict[str, str]

    @property
    def help(self) -> str:
        """What the option is, in one line."""
        return str(self.metadata["help"])

    @property
    def default_text(self) -> str:
        """The default as it would be written on the command line."""
        return _written(self.default)

    @property
    def choices(self) -> list[str]:
        """The strings that it takes; empty where it takes any."""
        return list(self.metadata["choices"])

    @property
    def values(self) -> str:
        """What its values may be, in words: their type, and their bounds or choices."""
        if self.choices and not self.field.metadata["alternative"]:
            several = "a list of " if self.is_list else ""
            return f"{several}{', '.join(self.choices)}"
        limits = bounds(self.field)
        return f"{wanted(self.field)}{f', {limits}' if limits else ''}"

    @property
    def is_list(self) -> bool:
        """Whether its values are lists."""
        return option_type(self.field).is_list

    @property
    def is_path(self) -> bool:
        """Whether its values are paths of this machine."""
        return bool(self.metadata["redact"])

    @functools.cached_property
    def field(self) -> dataclasses.Field[Any]:
        """The field of a dataclass that declares such an option."""
        made: dataclasses.Field[Any] = dataclasses.field(default=self.default, metadata=self.metadata)
        made.name, made.type = self.name.rpartition(".")[2], self.annotation
        return made


@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice of a group, such as svm=libsvm: what it is in one line, and its options."""

    name: str
    help: str
    options: list[Option]


@dataclasses.dataclass(frozen=True)
class Group:
    """A section of the configuration: its own options, or choices that each have theirs, with the default one.

    The group "run" has the options without a section.
    """

    name: str
    help: str
    options: list[Option]
    choices: list[Choice]
    default: str = ""

    @property
    def all_options(self) -> list[Option]:
        """Its own options, and those of all of its choices, in which names may occur several times."""
        return [*self.options, *(option for choice in self.choices for option in choice.options)]


def option_groups() -> list[Group]:
    """All groups of options, those of loaded plugins included, in the order in which help lists them."""
    return _groups(_key())


def every_option() -> dict[str, list[dataclasses.Field[Any]]]:
    """The fields of every option, of all choices, by dotted name; choices may share a name."""
    return _fields(_key())


def choices_of(group: str) -> list[str]:
    """The choices of a group that classes declare; none where the group has no choices."""
    return next(([choice.name for choice in each.choices] for each in option_groups() if each.name == group), [])


def groups_with_choices() -> list[str]:
    """The groups of which a class is chosen: dataset, arch, svm, launcher."""
    return [group.name for group in option_groups() if group.choices]


def measure_names() -> list[str]:
    """The names of all measures, each of which is a choice of the group `measure`."""
    return next(option.choices for group in option_groups() for option in group.options if option.name == _MEASURES)


def forget() -> None:
    """Derive the catalogue anew when it is next needed, as after a plugin was removed."""
    _groups.cache_clear()
    _fields.cache_clear()


@functools.cache
def _groups(key: _Key) -> list[Group]:
    loaded, imported = key
    if loaded or imported:
        return _declared()
    plain = derived("options", lambda: [dataclasses.asdict(group) for group in _declared()], read=[CHOSEN])
    return [_group(each) for each in plain]


@functools.cache
def _fields(key: _Key) -> dict[str, list[dataclasses.Field[Any]]]:
    found: dict[str, list[dataclasses.Field[Any]]] = {}
    for group in _groups(key):
        for option in group.all_options:
            found.setdefault(option.name, []).append(option.field)
    return found


def _key() -> _Key:
    """The loaded plugins, and whether the declarations are imported: then they are read themselves."""
    return tuple(plugins.loaded()), _DECLARATIONS in sys.modules


def _declared() -> list[Group]:
    from afterkernel.config.declared import declared_groups  # it imports what declares options, and torch with it

    return declared_groups()


def _group(plain: dict[str, Any]) -> Group:
    choices = [Choice(each["name"], each["help"], _options(each["options"])) for each in plain["choices"]]
    return Group(plain["name"], plain["help"], _options(plain["options"]), choices, plain["default"])


def _written(value: Any) -> str:
    """A default as it would be written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _options(plain: list[dict[str, Any]]) -> list[Option]:
    return [Option(**each) for each in plain]
