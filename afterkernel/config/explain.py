"""One sentence for an error of Hydra or OmegaConf: which option, which value, what would be right."""

from __future__ import annotations

import difflib
import re

from afterkernel.config.schema import every_option, option_types

_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a string",
    "list[int]": "a list of whole numbers, such as [0,1,2]",
    "list[float]": "a list of numbers, such as [0.25,0.5]",
    "list[str]": "a list of names, such as [a,b]",
}


def explain(error: BaseException) -> str:
    """The sentence for an error; where none of the known shapes fits, the first line that the library gave."""
    text = _whole_message(error)
    if match := re.search(r"In '([\w./-]+)': \w+ raised while composing config", text):
        return _in_file(match[1], text)
    if match := re.search(r"Error merging override ~(\S+)", text):
        return f"{match[1]} can't be deleted: give it a value, as {match[1]}=VALUE."
    if match := re.search(r"Error merging override \+*([\w.]+)=(.*)", text):
        return _wrong_type(match[1], match[2], text)
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown(_full_key(text) or match[1])
    if match := re.search(r"Could not find '([\w/-]+)/([^'/]+)'", text):
        listed = re.search(r"Available options in '[^']+':\n(.*?)(?:Config search path|$)", text, re.DOTALL)
        names = [name for name in (listed[1].split() if listed else []) if not name.startswith("base_")]
        return f"{match[1]}={match[2]} is not known: choose one of {', '.join(names)}."
    if match := re.search(r"Ambiguous value for argument '\+(sweep|experiment)=(.*)'", text):
        return f"+{match[1]}={match[2]} names several files, whose grids can't be joined: run them one by one."
    if match := re.search(r"Ambiguous value for argument '([\w.]+)=(.*)'", text):
        return f"{match[1]}={match[2]} names several values: add --multirun to sweep over them."
    if match := re.search(r"Multiple values for (\S+)\. ", text):
        return f"{match[1]} is chosen twice: write {match[1]}=NAME without a plus sign."
    if match := re.search(r"Error parsing override '(.*)'", text):
        return f"{match[1]!r} is neither a command nor an option: write options as name=value, and see --help."
    if match := re.search(r"LexerNoViableAltException: (.*)", text):
        return f"{match[1]} can't be read: write commas between several values, and quotes around special characters."
    if sentence := _misfit(text):
        return sentence
    if _full_key(text):
        return f"{_full_key(text)}: {_first_line(text)}"
    return f"the options can't be read ({_first_line(text).split(' expecting')[0]}): write them as name=value."


def unknown(name: str, known: set[str] | None = None) -> str:
    """The sentence for an option that does not exist (among `known`, or at all), with the nearest that does."""
    everywhere = option_types()
    if name in everywhere:
        return (
            f"{name} is not an option of the {name.split('.')[0]} chosen: python -m afterkernel --help says of which."
        )
    near = difflib.get_close_matches(name, sorted(known or everywhere), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "python -m afterkernel --help lists all options."
    return f"{name} is not an option: {hint}"


def _misfit(text: str) -> str | None:
    """OmegaConf's errors of a value that the schema does not take."""
    key = _full_key(text)
    if key and re.search(r"Key '.*?' (?:is )?not in", text):
        return unknown(key)
    if key and (match := re.search(r"Value '(.*?)' (?:of type|is not a valid|could not be)", text)):
        return _wrong_type(key, match[1], text)
    if match := re.search(r"Merge error: \w+ is not a subclass of (\w+)\. value: (.*)", text):
        return f"{match[2]} stands where the options of {match[1].lower()} belong, each as name: value."
    return None


def _in_file(name: str, text: str) -> str:
    """A mistake inside a YAML file of conf/ or sweeps/, known by Hydra as `name`."""
    folder, _, stem = name.rpartition("/")
    file = f"sweeps/{stem}.yaml" if folder == "sweep" else f"conf/{name}.yaml"
    if sentence := _misfit(text):
        return f"{file}: {sentence}"
    told = _first_line(text.partition("raised while composing config:")[2])
    return f"{file} can't be used: {told}."


def _wrong_type(name: str, value: str, text: str) -> str:
    wanted = option_types().get(name)
    if wanted is None:
        return f"{name}={value}: {_first_line(text.partition(chr(10))[2])}."
    optional = wanted.endswith(" | None")
    words = _WORDS.get(wanted.removesuffix(" | None"), wanted)
    if choices := every_option()[name][-1].metadata["choices"] if wanted == "list[str]" else ():
        words = f"a list of names, such as [{','.join(choices[:2])}]"
    return f"{name}={value} has the wrong type: it must be {words}{' or null' if optional else ''}."


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
    return lines[0].rstrip(".") if lines else "no more is known"
