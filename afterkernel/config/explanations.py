"""Explains errors of Hydra and OmegaConf in one sentence: which option, which value, what would be right."""

from __future__ import annotations

import re

from afterkernel.config.catalogue import every_option, groups_with_choices
from afterkernel.options import wanted
from afterkernel.text import closest, closest_option

# Options by what records and other programs call them.
_OTHER_NAMES = {"learning_rate": "training.lr", "max_epochs": "training.epochs", "wd": "training.weight_decay"}


def explain(error: BaseException, word: str = "") -> str:
    """Explain an error in one sentence; `word` is the override that caused it, if known.

    If no known pattern matches, the sentence contains the first line of the library's own message.
    """
    if isinstance(error, RecursionError):
        return "the options refer to each other circularly: give one of them a value."
    text = _whole_message(error)
    if sentence := _reference_error(text):
        return sentence
    if match := re.search(r"In '([\w./-]+)': \w+ raised while composing config", text):
        return _file_error(match[1], text)
    if match := re.search(r"Error merging override ~(\S+)", text):
        return f"{match[1]} can't be deleted: give it a value, as {match[1]}=VALUE."
    if match := re.search(r"Error merging override \+*([\w.]+)=(.*)", text):
        return _type_error(match[1], match[2], text)
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match[1]} has a value already: write {match[1]}=VALUE, without a plus sign."
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown(match[1])
    if match := re.search(r"Could not find '([\w/-]+)/([^'/]+)'", text):
        listed = re.search(r"Available options in '[^']+':\n(.*?)(?:Config search path|$)", text, re.DOTALL)
        return f"{match[1]}={match[2]} is not known: choose one of {', '.join(listed[1].split() if listed else [])}."
    if match := re.search(r"Ambiguous value for argument '([\w.+]+)=(.*)'", text):
        return f"{match[1]}={match[2]} names several values: add --multirun to sweep over them."
    if match := re.search(r"Sweep parameters '(.*)' requires --multirun", text):
        return f"{match[1]} names several values: add --multirun to sweep over them."
    if match := re.search(r"Multiple values for (\S+)\. ", text):
        return f"{match[1]} is chosen twice: write {match[1]}=NAME without a plus sign."
    if match := re.search(r"Error parsing override '(.*)'", text):
        return f"{match[1]!r} is neither a command nor an option: write options as name=value, and see --help."
    if word and "missing EQUAL" in text:
        return f"{word!r} is neither a command nor an option: write options as name=value, and see --help."
    if word and "token recognition error" in text:
        name, equals, value = word.partition("=")
        if not equals:
            return f"{word!r} is neither a command nor an option: write options as name=value, and see --help."
        if not re.fullmatch(r"[+~]*[\w$-]+([./@:][\w$-]+)*", name):
            return f"{word!r} can't be read: {name!r} is not the name of an option; write options as name=value."
        quoted = f", as \"{name}='{value}'\"" if value and "'" not in value else ""
        return (
            f"{word} can't be read: write commas between several values, and quotes around special characters{quoted}."
        )
    if sentence := _schema_error(text):
        return sentence
    if _full_key(text):
        return f"{_full_key(text)}: {_first_line(text)}"
    if match := re.search(r"while evaluating '.*?': (.*)", text):
        reason = match[1][:200]
        return f"{word} can't be read ({reason}): write values as A,B or range(START,STOP), and quotes around text."
    reason = re.sub(r"^\w+Error while evaluating '.*?': ", "", _first_line(text)).split(" expecting")[0]
    return f"{word or 'the options'} can't be read ({reason[:200]}): write options as name=value."


def unknown(name: str, known: set[str] | None = None) -> str:
    """Explain that an option does not exist (among `known`, or at all) and suggest the most similar one."""
    everywhere = every_option()
    if name in everywhere:
        group = name.split(".")[0]
        hint = f"python -m afterkernel --help {group} lists the choices of {group}."
        return f"{name} is not an option of the selected {group}: {hint}"
    known = known or set(everywhere)
    near = closest_option(name, known) or closest(name, groups_with_choices())
    if near is None and (other := _OTHER_NAMES.get(name.rpartition(".")[2])) in known:
        near = other
    hint = "python -m afterkernel --help all lists all options." if near is None else f"did you mean {near}?"
    return f"{name} is not an option: {hint}"


def _reference_error(text: str) -> str | None:
    """Explain an error about a reference ${...}; None for any other error."""
    if match := re.search(r"Interpolation key '(.*?)' not found", text):
        return f"${{{match[1]}}} refers to an option that does not exist: name one, such as ${{training.lr}}."
    if match := re.search(r"Unsupported interpolation type (\S+)", text):
        return f"${{{match[1]}:...}} is not a valid reference: write ${{OPTION}} or ${{oc.env:VARIABLE}}."
    if match := re.search(r"Environment variable '(.*?)' not found", text):
        return f"the environment variable {match[1]} is not set: set it, or write ${{oc.env:{match[1]},DEFAULT}}."
    if re.search(r"UserError raised while resolving|[Rr]ecursive interpolation|recursion depth", text):
        return "it refers to itself: give a value."
    if match := re.search(r"While dereferencing interpolation '(.*?)': (.*)", text):
        return f"{match[1]} can't be converted to its type ({_first_line(match[2])})."
    if "nterpolation" in text:
        return f"it can't be resolved ({_first_line(text)[:200]})."
    return None


def _schema_error(text: str) -> str | None:
    """Explain an OmegaConf error about a key or value that the schema does not allow; None for any other error."""
    key = _full_key(text)
    if key and re.search(r"Key '.*?' (?:is )?not in", text):
        return unknown(key)
    if key and (match := re.search(r"Cannot convert '\w+' to string: '(.*?)'$", text, re.MULTILINE)):
        return f"{key}={match[1]} has the wrong type: it must be a string."
    if key and (match := re.search(r"Value '(.*?)' (?:of type|is not a valid|could not be)", text)):
        return _type_error(key, match[1], text)
    if match := re.search(r"Merge error: \w+ is not a subclass of (\w+)\. value: (.*)", text):
        return f"{match[2]} is not a section: write the options of {match[1].lower()} below it, each as name: value."
    return None


def _file_error(name: str, text: str) -> str:
    """Explain an error in a YAML file of conf/ or sweeps/, which Hydra calls `name`."""
    folder, _, stem = name.rpartition("/")
    file = f"sweeps/{stem}.yaml" if folder == "sweep" else f"conf/{name}.yaml"
    if sentence := _schema_error(text):
        return f"{file}: {sentence}"
    reason = _first_line(text.partition("raised while composing config:")[2])
    return f"{file} can't be used: {reason}."


def _type_error(name: str, value: str, text: str) -> str:
    """Explain a value of the wrong type; `text` is the error of OmegaConf."""
    known = every_option()
    fields = known.get(name)
    if fields is None and (above := next((option for option in known if name.startswith(f"{option}.")), None)):
        return f"{name} is not an option: {above} takes a value, as {above}=VALUE."
    if fields is None:
        return f"{name}={value}: {_first_line(text.partition(chr(10))[2])}."
    return f"{name}={value} has the wrong type: it must be {wanted(fields[-1])}."


def _whole_message(error: BaseException) -> str:
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 4:
        parts.append(str(cause))
        cause = cause.__cause__
    return "\n".join(parts)


def _full_key(text: str) -> str | None:
    found = re.search(r"full_key: (\S+)", text)
    return found[1] if found else None


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else "no details"
