"""Help on options: of a group, of a choice or preset of it, of one option, of all; and on sweeps."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from afterkernel.config.catalogue import Choice, Group, Option, option_groups
from afterkernel.config.places import first_comment, preset_groups, presets, sweep_file, sweep_names
from afterkernel.errors import UserError
from afterkernel.text import closest

EXPERIMENT = "experiment"
_EXPERIMENT_HELP = "presets that set options of several groups"
_WIDEST = 100


def help_on(topic: str) -> str:
    """Help on a group, a choice or a preset of a group (svm.libsvm), an option, `sweeps`, or `all`.

    Raises UserError for a name that is none of these.
    """
    groups = {group.name: group for group in option_groups()}
    if topic == "all":
        return "\n\n".join([*(_everything(group) for group in groups.values()), _experiments(), sweeps_help()])
    if topic == "sweeps":
        return sweeps_help()
    if topic == EXPERIMENT:
        return _experiments()
    if topic in groups:
        return _group(groups[topic])
    name, _, rest = topic.partition(".")
    if found := [(choice, option) for choice, option in _declarations(groups.values()) if option.name == topic]:
        return _option(groups, found)
    if name in groups and (choice := next((each for each in groups[name].choices if each.name == rest), None)):
        return _choice(groups[name], choice)
    if rest in presets(name):
        return _preset(name, rest)
    within = [option for group in groups.values() for option in _unique(group) if option.name.startswith(f"{topic}.")]
    if within:
        return "\n".join([f"Options below {topic}:", "", *_rows(within)])
    raise UserError(_unknown(topic, groups.values()))


def topics() -> dict[str, str]:
    """What `--help TOPIC` takes besides options and choices, each with one line: groups, experiments, sweeps."""
    found = {}
    for group in option_groups():
        names = [choice.name for choice in group.choices]
        found[group.name] = f"{group.help}{': ' if names else ''}{', '.join(names)}"
    return found


def preset_names() -> dict[str, list[str]]:
    """The names of presets by group."""
    return {group: list(presets(group)) for group in preset_groups()}


def sweeps_help() -> str:
    """All sweeps that +sweep=NAME takes, each with the first line of its file."""
    lines = ["Sweeps, run by +sweep=NAME, from sweeps/, --config-dir DIR and this package:", ""]
    for name in sweep_names():
        path = sweep_file(name)
        lines += entry(name, "" if path is None else first_comment(path))
    return "\n".join(lines)


def entry(term: str, text: str, column: int = 26) -> list[str]:
    """A term and its description, wrapped to the width of the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = textwrap.wrap(text, max(width - column, 30), break_on_hyphens=False) or [""]
    head = f"  {term}"
    if len(head) > width:  # a long list
        listed = textwrap.wrap(term.replace(",", ", "), width - 6, break_on_hyphens=False)
        return ["  " + "\n      ".join(listed), *(" " * column + line for line in lines if line)]
    if len(head) + 2 > column:
        return [head, *(" " * column + line for line in lines if line)]
    return [f"{head:<{column}}{lines[0]}".rstrip(), *(" " * column + line for line in lines[1:])]


def wrapped(text: str, indent: int = 0) -> list[str]:
    """A paragraph, wrapped to the width of the terminal less an indent."""
    return textwrap.wrap(text, min(shutil.get_terminal_size().columns, _WIDEST) - indent, break_on_hyphens=False)


def _group(group: Group) -> str:
    lines = wrapped(f"{group.name}: {group.help}.")
    if group.choices:
        lines += ["", f"Choices, by {group.name}=NAME; --help {group.name}.NAME lists the options of one:"]
        for choice in group.choices:
            default = " (the default)" if choice.name == group.default else ""
            lines += entry(f"{group.name}={choice.name}", f"{choice.help}{default}")
        default_choice = next(choice for choice in group.choices if choice.name == group.default)
        lines += ["", f"Options of {group.name}={group.default}:", *_rows(_visible(group, default_choice.options))]
    else:
        lines += ["", "Options:", *_rows(group.options)]
    for option in group.options:
        if option.choice_help:
            lines += ["", f"Choices of {option.name}:"]
            for name, text in option.choice_help.items():
                lines += entry(name, text)
    return "\n".join([*lines, *_preset_lines(group.name)])


def _everything(group: Group) -> str:
    """A group with the options of all of its choices."""
    lines = [_group(group)]
    for choice in group.choices:
        if choice.name != group.default:
            lines += ["", f"Options of {group.name}={choice.name}:", *_rows(_visible(group, choice.options))]
    return "\n".join(lines)


def _choice(group: Group, choice: Choice) -> str:
    default = ", the default" if choice.name == group.default else ""
    title = wrapped(f"{group.name}={choice.name}{default}: {choice.help}.")
    return "\n".join([*title, "", "Options:", *_rows(_visible(group, choice.options))])


def _preset(group: str, name: str) -> str:
    """What a preset is, and the file."""
    path = presets(group)[name]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    title = f"{group}={name}: {first_comment(path) or 'a preset'}"
    return "\n".join([*wrapped(title), "", "It sets:", *(f"  {line}" for line in lines)])


def _preset_lines(group: str) -> list[str]:
    found = presets(group)
    if not found:
        return []
    lines = ["", f"Presets, by {group}=NAME:"]
    for name, path in found.items():
        lines += entry(f"{group}={name}", first_comment(path))
    return lines


def _experiments() -> str:
    return "\n".join([*wrapped(f"{EXPERIMENT}: {_EXPERIMENT_HELP}."), *_preset_lines(EXPERIMENT)])


def _option(groups: dict[str, Group], found: Sequence[tuple[str, Option]]) -> str:
    """One option; where choices declare it differently, once for each declaration."""
    different: dict[str, list[str]] = {}
    for choice, option in found:
        text = "\n".join(_one(option))
        different.setdefault(text, []).append(choice)
    name = found[0][1].name
    group = name.partition(".")[0]
    parts = []
    for text, choices in different.items():
        of_all = group not in groups or len(choices) == len(groups[group].choices) or not choices[0]
        head = name if of_all else f"{name}, of {', '.join(f'{group}={choice}' for choice in choices)}"
        parts.append("\n".join([*wrapped(head), text]))
    return "\n\n".join(parts)


def _one(option: Option) -> list[str]:
    """What one option is, its default, and its values."""
    lines = [*entry("meaning", option.help, 12), *entry("default", option.default_text, 12)]
    lines += entry("values", option.values, 12)
    if not option.metadata["affects_results"]:
        lines += entry("results", "do not depend on it: it is not part of a run's identity", 12)
    for name, text in option.choice_help.items():
        lines += entry(name, text)
    return lines


def _rows(options: Iterable[Option]) -> list[str]:
    """Options with their defaults, help and bounds."""
    lines = []
    for option in options:
        lines += entry(f"{option.name}={option.default_text}", f"{option.help} ({option.values})", 6)
    return lines


def _visible(group: Group, options: Iterable[Option]) -> list[Option]:
    """Without the name of the choice, which GROUP=NAME sets."""
    return [option for option in options if option.name != f"{group.name}.name"]


def _unique(group: Group) -> list[Option]:
    return list({option.name: option for option in group.all_options}.values())


def _declarations(groups: Iterable[Group]) -> list[tuple[str, Option]]:
    """Every option with the choice that declares it, which is empty for those of all choices."""
    found = [("", option) for group in groups for option in group.options]
    return found + [(choice.name, option) for group in groups for choice in group.choices for option in choice.options]


def _unknown(topic: str, groups: Iterable[Group]) -> str:
    names = {"sweeps", "all", EXPERIMENT}
    for group in groups:
        names |= {group.name, *(option.name for option in group.all_options)}
        names |= {f"{group.name}.{choice.name}" for choice in group.choices}
    names |= {f"{group}.{name}" for group, found in preset_names().items() for name in found}
    near = closest(topic, sorted(names))
    hint = f"did you mean {near}?" if near else "--help lists the groups of options."
    return f"--help {topic}: there is no command, group or option of that name: {hint}"
