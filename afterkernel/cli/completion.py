"""completion SHELL: a script that completes commands, options and values in bash, zsh or fish.

The script is static: it calls no program, and is made anew when options have changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from afterkernel.cli import PROGRAM, CommandParser, Flag, command_facts
from afterkernel.config.catalogue import Option, option_groups
from afterkernel.config.places import preset_groups, presets, sweep_names

SHELLS = ("bash", "zsh", "fish")
_TEMPLATES = Path(__file__).with_name("shells")
# What the tables of a script have instead of values.
_PATH, _ANY = "PATH", "ANY"
_TRUTH = ["true", "false"]


def main(argv: Sequence[str]) -> int:
    """`completion SHELL`: print the script for a shell, which has to be sourced there."""
    parser = CommandParser(
        "completion",
        f"Print a script that completes commands, options and values of afterkernel and of {PROGRAM}: source it in "
        "the shell's startup file, as in the example, for fish as: python -m afterkernel completion fish | source.",
        "completion bash > ~/.afterkernel-completion && echo '. ~/.afterkernel-completion' >> ~/.bashrc",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    print(script(parser.parse_args(argv).shell))
    return 0


def script(shell: str) -> str:
    """The completion script for a shell, of the options of this package and of the plugins that are loaded."""
    facts = command_facts()
    named = [fact for fact in facts if fact.name]
    tables: dict[str, dict[tuple[str, ...], list[str]]] = {
        "values": {(name,): values for name, values in option_values().items()},
        "flags": {(fact.name,): [name for flag in fact.flags for name in flag.names] for fact in facts},
        "flag_values": {
            (fact.name, name): _flag_values(flag)
            for fact in facts
            for flag in fact.flags
            for name in flag.names
            if flag.takes_value
        },
    }
    table = _fish_table if shell == "fish" else _posix_table
    parts = {
        "COMMANDS": [fact.name for fact in named],
        "OPTIONS": [f"{name}=" for name in (*option_values(), "+sweep")],
        "OVERRIDING": [fact.name for fact in named if fact.takes_overrides],
        "SWEEPS": sweep_names(),
    }
    text = (_TEMPLATES / f"completion.{shell}").read_text(encoding="utf-8")
    text = text.replace("@TABLES@", "\n\n".join(table(name, rows) for name, rows in tables.items()))
    for name, words in parts.items():
        text = text.replace(f"@{name}@", " ".join(words))
    return text.rstrip("\n")


def option_values() -> dict[str, list[str]]:
    """The values of each option and group that can be listed, PATH for a path; none where any value is possible."""
    found: dict[str, list[str]] = {}
    for group in option_groups():
        names = [choice.name for choice in group.choices]
        if names or presets(group.name):
            found[group.name] = [*names, *presets(group.name)]
        for option in group.all_options:
            if not (group.choices and option.name == f"{group.name}.name"):
                found.setdefault(option.name, [])
                found[option.name] += [value for value in _values(option) if value not in found[option.name]]
    return {**found, **{group: list(presets(group)) for group in preset_groups() if group not in found}}


def _values(option: Option) -> list[str]:
    if option.is_path:
        return [_PATH]
    return option.choices or (_TRUTH if option.annotation.startswith("bool") else [])


def _flag_values(flag: Flag) -> list[str]:
    return [_PATH] if flag.is_path else flag.values or [_ANY]


def _posix_table(name: str, rows: Mapping[tuple[str, ...], Iterable[str]]) -> str:
    """A function of bash and zsh that prints what a table has for its arguments."""
    lines = [f"_afterkernel_{name}() {{", '    case "$*" in']
    for key, words in rows.items():
        if listed := " ".join(words):
            lines.append(f"    {shlex.quote(' '.join(key))}) echo {shlex.quote(listed)} ;;")
    return "\n".join([*lines, "    esac", "}"])


def _fish_table(name: str, rows: Mapping[tuple[str, ...], Iterable[str]]) -> str:
    """The same for fish, a line for each word."""
    lines = [f"function __afterkernel_{name}", '    switch "$argv"']
    for key, words in rows.items():
        if listed := " ".join(map(shlex.quote, words)):
            lines += [f"        case {shlex.quote(' '.join(key))}", f"            printf '%s\\n' {listed}"]
    return "\n".join([*lines, "    end", "end"])
