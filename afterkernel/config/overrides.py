"""Checks of overrides: they may set options and choices by name, but no code and none of Hydra's own settings.

Hydra imports and calls anything that a `_target_` names, and reads configuration files from any search path. So
everything that reaches it is checked first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException

from afterkernel.config.catalogue import choices_of, every_option, groups_with_choices, measure_names
from afterkernel.config.explanations import explain, unknown
from afterkernel.config.places import CONF, sweep_names
from afterkernel.config.written import check_written
from afterkernel.errors import UserError
from afterkernel.options import check_bounds, check_value, option_type, wanted
from afterkernel.text import did_you_mean

if TYPE_CHECKING:  # it imports torch, for which the first checks of a command line don't wait
    from afterkernel.config.schema import Sweep

# Keys that Hydra's instantiate and its defaults lists act on.
_CODE = re.compile(r"_[a-z]+_")
_MOST_VALUES = 10_000
# The one choice that may be a list of names.
LOGGER = "logger"
_NAME = re.compile(r"\w[\w-]*")
_INSTEAD = {
    "hydra.run": "choose where results go with output_dir and sweep.name",
    "hydra.sweep": "choose where results go with output_dir and sweep.name",
    "hydra.output_subdir": "choose where results go with output_dir and sweep.name",
    "hydra.job.chdir": "choose where results go with output_dir and sweep.name",
    "hydra.mode": "use --multirun for a sweep",
    "hydra.sweeper": "write OPTION=VALUE,VALUE with --multirun, or a file sweeps/NAME.yaml",
    "hydra/sweeper": "write OPTION=VALUE,VALUE with --multirun, or a file sweeps/NAME.yaml",
    "hydra.launcher": "choose with launcher=NAME",
    "hydra/launcher": "choose with launcher=NAME",
}


def groups() -> list[str]:
    """The options that are chosen by the name of a file: dataset, arch, ..., experiment."""
    return sorted({*groups_with_choices(), *(folder.name for folder in CONF.iterdir() if folder.is_dir())})


def choices(group: str) -> list[str]:
    """The names that a group takes."""
    if group == "sweep":
        return sweep_names()
    stored = (name.removesuffix(".yaml") for name in ConfigStore.instance().repo.get(group, {}))
    declared = measure_names() if group == "measure" else choices_of(group)
    return sorted({*declared, *stored, *(path.stem for path in (CONF / group).glob("*.yaml"))})


def read(words: Sequence[str]) -> list[Override]:
    """Parse these words as overrides, without checking them. Raises UserError for the first that can't be read."""
    parser = OverridesParser.create()
    parsed = []
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        check_length(word)
        if not word.strip():
            raise UserError(
                f"{word!r} is neither a command nor an option: write options as name=value, and see --help."
            )
        if "=" in word and word.endswith(","):
            values = f"{word}{following}" if following and "=" not in following else f"{word}VALUE"
            raise UserError(f"{short(word)} ends in a comma: write values without spaces, as {short(values)}.")
        try:
            parsed.append(parser.parse_override(word))
        except (HydraException, ValueError, RecursionError) as error:
            raise UserError(_unreadable(short(word), error)) from error
    return parsed


def check_early(words: Sequence[str]) -> None:
    """Raise UserError for the first override that no run takes, before torch is imported.

    Words that may add options or choices, by plugins or a sweep that names some, are left to `composition.parse`.
    """
    overrides = read(words)
    for override in overrides:
        if override.key_or_group == "sweep":
            check_override(override)
    if not any(override.key_or_group in ("plugins", "sweep") for override in overrides):
        for override in overrides:
            check_override(override)
            _check_name(override)
            _check_value(override)
        check_once(overrides)


def _check_name(override: Override) -> None:
    """Raise UserError for an option that no choice of any group has, and that is within no option."""
    name, known = override.key_or_group, every_option()
    is_chosen = name == "sweep" or name in groups() or override.is_add() or override.is_force_add()
    if not is_chosen and not any(f"{each}.".startswith(f"{name}.") or name.startswith(f"{each}.") for each in known):
        raise UserError(unknown(name))


def _check_value(override: Override) -> None:
    """Raise UserError for a value that its option does not allow, as far as it is sure how it is converted."""
    name, value = override.key_or_group, override.value()
    fields = every_option().get(name, [])
    if len(fields) != 1 or not isinstance(value, (bool, int, float, str)) or "${" in str(value):
        return
    field, kind = fields[0], option_type(fields[0])
    if value == (field.metadata["alternative"] or None):
        return
    if kind.is_list or (kind.base not in ("int", "float") and not field.metadata["choices"]):
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (kind.base == "float" and not is_number) or (kind.base == "int" and (not is_number or isinstance(value, float))):
        written = (override.input_line or "").partition("=")[2].strip()
        raise UserError(f"{name}={written} has the wrong type: it must be {wanted(field)}.")
    check_value(name, field, float(value) if kind.base == "float" else value, value)


def check_once(overrides: Sequence[Override]) -> None:
    """Raise UserError where a command line sets one option twice, or the classes in two ways: which one is meant?"""
    first: dict[str, str] = {}
    for override in overrides:
        key, text = override.key_or_group, short(override.input_line or "")
        if key in first:
            raise UserError(f"{first[key]} and {text} both set {key}: give it once.")
        first[key] = text
    for side in ("dataset.minus", "dataset.plus"):
        if side in first and "dataset.classes" in first:
            raise UserError(
                f"{first[side]} and {first['dataset.classes']} are both given: give either dataset.minus and "
                "dataset.plus, or dataset.classes."
            )


def check_length(word: str) -> None:
    """Raise UserError for too many values: Hydra's parser takes a millisecond for each, and is called several times."""
    if word.count(",") > _MOST_VALUES:
        raise UserError(f"{short(word)} has more than {_MOST_VALUES:,} values: give fewer, or a range.")


def _unreadable(word: str, error: BaseException) -> str:
    if isinstance(error, HydraException):
        return explain(error, word)
    return f"{word} can't be read: it contains a number with too many digits, or lists nested too deeply."


def check_override(override: Override) -> None:
    """Raise UserError if an override names code, a setting of Hydra, or a choice that does not exist."""
    key, text = override.key_or_group, short(override.input_line or "")
    if not key:
        raise UserError(f"{text} has no name before the =: write options as name=value.")
    check_no_code(text, [*re.split(r"[./@]", key), *keys_within(override.value())])
    if override.package is not None:
        cure = f"a choice can't be placed elsewhere: write {key}=NAME" if key in groups() else f"write {key}=VALUE"
        raise UserError(f"{text}: {cure}.")
    if re.match(r"hydra\b", key):
        _check_hydra(override)
    elif override.is_delete():
        cure = f"choose another, as {key}=NAME" if key in groups() else f"give it a value, as {key}=VALUE"
        raise UserError(f"{key} can't be deleted: {cure}.")
    elif "/" in key:
        raise UserError(unknown(key))
    elif key == "sweep" or key in groups():
        _check_choice(override, text)
    else:
        _check_option(override, text)


def _check_option(override: Override, text: str) -> None:
    """Raise UserError for an invalid value of an option; `text` is the override for the message."""
    value = override.value()
    if isinstance(value, (Glob, IntervalSweep)):
        raise UserError(f"{text} is not a list of values: write A,B or range(START,STOP).")
    if not isinstance(value, RangeSweep):
        written = (override.input_line or "").partition("=")[2].strip()
        check_written(override.key_or_group, value.list if isinstance(value, ChoiceSweep) else value, written)


def _check_hydra(override: Override) -> None:
    """Raise UserError for one of Hydra's own settings."""
    key = override.key_or_group
    instead = next((text for name, text in _INSTEAD.items() if re.match(rf"{name}\b", key)), None)
    raise UserError(f"{key} is a setting of Hydra that can't be changed here{f': {instead}' if instead else ''}.")


def _check_choice(override: Override, text: str) -> None:
    """Raise UserError unless a choice is the name of an existing file, not a path; `text` is the override."""
    key = override.key_or_group
    if key == "sweep" and not override.is_add():
        raise UserError(f"{text}: write +{text.lstrip('+')}, with one plus sign, to run the sweep of a file.")
    if override.is_force_add():
        raise UserError(f"{text}: write {key}=NAME without plus signs.")
    value = override.value()
    if isinstance(value, ChoiceSweep):
        if key == "sweep":
            raise UserError(f"{text} names several files, whose grids can't be joined: run them one by one.")
        if key == LOGGER:
            raise UserError(f"{text} is not one list: write {key}=[A,B] for several loggers.")
        values: list[Any] = value.list
    elif isinstance(value, Glob):
        raise UserError(f"{text}: write out the names, as {key}=A,B: choose from {', '.join(choices(key))}.")
    elif key == LOGGER and isinstance(value, list):
        check_loggers(value, text)
        values = value
    else:
        values = [value]
    known = choices(key)
    for each in values:
        name = each.text if isinstance(each, QuotedString) else each
        if isinstance(name, (list, dict)):
            raise UserError(f"{text} is not a valid choice: choose one name, as {key}=NAME; one of {', '.join(known)}.")
        if name is None and key == "experiment":
            raise UserError(f"{text} names no file: leave it out.")
        if str(name) not in known:
            shown = "null" if name is None else str(name).lower() if isinstance(name, bool) else name
            raise UserError(
                f"{key}={shown} is not known{did_you_mean(str(name), known)}: choose one of {', '.join(known)}."
            )


def check_loggers(names: list[Any], text: str) -> None:
    """Raise UserError for a list of loggers that names one twice, or none and another one."""
    names = [name.text if isinstance(name, QuotedString) else name for name in names]
    if "none" in names:
        raise UserError(f"{text}: none can't be one of several: write {LOGGER}=none, or leave it out.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{text} names {twice} twice: give each once.")


def check_no_code(text: str, keys: Sequence[str]) -> None:
    """Raise UserError for a key with which Hydra would run code, such as _target_."""
    for key in keys:
        if _CODE.fullmatch(key):
            raise UserError(f"{text}: {key} would run code, which no option and no file may do.")


def keys_within(value: Any) -> Iterator[str]:
    """Every key of the dictionaries within a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from keys_within(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from keys_within(item)
    elif isinstance(value, ChoiceSweep):
        yield from keys_within(value.list)


def short(text: str) -> str:
    """A text on one line, shortened for a message."""
    text = text.replace("\n", "\\n")
    return text if len(text) <= 120 else f"{text[:60]}..."


def count_runs(overrides: Sequence[Override]) -> int:
    """How many runs the grid of these overrides has, without making it. UserError for a sweep that has no end."""
    counts = {override.get_key_element(): _count(override) for override in overrides}
    return math.prod(counts.values())


def _count(override: Override) -> int:
    value, text = override.value(), short(override.input_line or "")
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep):
        try:
            start, stop, step = (Decimal(number or 0) for number in (value.start, value.stop, value.step))
            return max(0, math.ceil((stop - start) / step))
        except (ArithmeticError, ValueError) as error:
            raise UserError(f"{text} has no end: give range(START,STOP,STEP) in finite numbers, STEP not 0.") from error
    return 1


def check_runs(runs: int, sweep: Sweep) -> None:
    """Raise UserError for more runs than `sweep.max_runs` allows."""
    check_bounds(sweep, "sweep.")
    if runs > sweep.max_runs:
        raise UserError(
            f"the sweep has {runs:,} runs, more than sweep.max_runs={sweep.max_runs}: sweep over fewer values, or set "
            "a larger sweep.max_runs."
        )
