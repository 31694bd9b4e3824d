"""`--help [TOPIC]`: the overview, or help on a command, a group of options, a choice, an option, or sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afterkernel.cli import GROUPS, PROGRAM, command_facts, commands, load_plugins, main_of
from afterkernel.config.help import entry, help_on, preset_names, topics, wrapped
from afterkernel.config.places import sweep_names
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode

FLAGS = ("-h", "--help")
_CONFIG_DIR = ("--config-dir", "-cd")
_COLUMN = 14


def main(argv: Sequence[str]) -> int:
    """Print the overview, or help on each topic among the words; plugins and a --config-dir named there count.

    Raises UserError for an unknown topic.
    """
    words = load_plugins(_use_config_dir(argv))
    after = words.index(next(word for word in words if word in FLAGS))
    # arch=mlp --help asks for the overview, --help arch=mlp for that choice.
    asked = [word for at, word in enumerate(words) if not word.startswith("-") and (at > after or "=" not in word)]
    if not asked:
        print(overview())
    for at, topic in enumerate(asked):
        if at:
            print()
        if topic in commands():
            main_of(topic)(["--help"])
        else:
            print(help_on(_name(topic)))
    return 0


def overview() -> str:
    """Commands, groups of options, presets and sweeps, one line each."""
    lines = ["Run experiments and sweeps, and evaluate, report and inspect their results.", ""]
    lines += [f"usage: {PROGRAM} [OPTION=VALUE ...] [--multirun] [+sweep=NAME]", f"       {PROGRAM} COMMAND ..."]
    facts = command_facts()
    for group in GROUPS:
        lines += ["", f"{group}:"]
        for fact in facts:
            if fact.group == group:
                lines += entry(fact.usage, fact.purpose, 34)
    lines += ["", "Groups of options, as GROUP.OPTION=VALUE; --help GROUP lists those of one:"]
    for name, text in topics().items():
        lines += entry(name, text, _COLUMN)
    lines += ["", "Presets, as GROUP=NAME:"]
    for name, presets in preset_names().items():
        lines += entry(name, ", ".join(presets), _COLUMN)
    lines += ["", "Sweeps, as +sweep=NAME:"]
    lines += [f"  {line}" for line in wrapped(", ".join(sweep_names()), 2)]
    lines += ["", "More help:"]
    for topic, text in _MORE.items():
        lines += entry(f"--help {topic}", text, 34)
    lines += ["", "Examples:", *(f"  {PROGRAM} {words}" for words in _EXAMPLES), "", "Exit codes:"]
    for code in ExitCode:
        lines += entry(str(int(code)), code.meaning, _COLUMN)
    lines.append("")
    return "\n".join([*lines, *wrapped(_EXTENDING)])


_MORE = {
    "GROUP": "options of a group with defaults and bounds: --help svm",
    "GROUP.CHOICE": "options of a choice or preset: --help svm.libsvm",
    "OPTION": "one option: --help training.lr",
    "COMMAND": "usage and an example of a command",
    "sweeps": "what each sweep is",
    "all": "all options",
}
_EXAMPLES = (
    "arch=mlp training.lr=0.1",
    "--multirun arch=vgg,mlp training.lr=0.03,0.1 seed=0,1",
    "+sweep=demo",
    "--cfg job arch=mlp",
)
_EXTENDING = (
    "plugins=[MODULE] adds networks, data sets, kernels, measures, SVM backends, claims and launchers of your own; "
    "--config-dir DIR adds presets DIR/GROUP/NAME.yaml and sweeps DIR/sweeps/NAME.yaml."
)


def _name(topic: str) -> str:
    """The name of what svm=libsvm or training.lr=0.1 is about: svm.libsvm, training.lr."""
    name, equals, value = topic.lstrip("+~").partition("=")
    if not equals or not value or "." in name:
        return name
    return "sweeps" if name == "sweep" else f"{name}.{value}"


def _use_config_dir(argv: Sequence[str]) -> list[str]:
    """Use the folder of a --config-dir among the words, and return the others. UserError where it is no folder."""
    words, rest = list(argv), []
    while words:
        flag, equals, value = words.pop(0).partition("=")
        if flag not in _CONFIG_DIR:
            rest.append(f"{flag}{equals}{value}")
            continue
        from afterkernel.config.user_files import use_sweeps_in

        folder = value if equals or not words or words[0].startswith("-") else words.pop(0)
        if not folder:
            raise UserError(f"{flag} needs a folder: write {flag} DIR.")
        use_sweeps_in(Path(folder))
    return rest
