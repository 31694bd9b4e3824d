"""Reading files that may come from others: only regular files, and only YAML without tags or aliases."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afterkernel.errors import UserError

_MOST_BYTES = 10_000_000
_DEEPEST = 50
_TAGS = ("!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")))
# Numbers of YAML 1.1 that are probably not meant as such: 1:30 is 90, 010 is 8, 1_0 is 10.
_ODD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|0x[\da-fA-F_]+|0b[01_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?|\d+(_\d+)+)")


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file, of at most so many bytes.

    Raises OSError where it can't be read, and UserError if it is not a regular file: opening a named pipe would wait
    for ever, and a device may have no end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise UserError(f"{path} is {_kind(found.st_mode)}, where a regular file is expected.")
    with os.fdopen(handle, "rb") as file:
        if most is not None and found.st_size > most:
            raise UserError(f"{path} is too large ({found.st_size:,} bytes): at most {most:,} are read.")
        return file.read()


def read_text(path: Path) -> str:
    """The content of a regular file in UTF-8. Raises what `read_bytes` raises, and ValueError for other text."""
    return read_bytes(path).decode("utf-8")


def is_file(option: str, path: Path) -> bool:
    """Whether a regular file exists. Raises UserError for anything else of that name, or if it can not be checked."""
    return _is_a(stat.S_ISREG, "a regular file", option, path)


def is_folder(option: str, path: Path) -> bool:
    """The same for a directory."""
    return _is_a(stat.S_ISDIR, "a directory", option, path)


def _is_a(kind: Callable[[int], bool], words: str, option: str, path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UserError(f"{option}: {path} is a broken link: remove or replace it.") from None
        return False
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{option}: {shown} can't be used ({reason}).") from error
    if not kind(mode):
        raise UserError(f"{option}: {path} is {_kind(mode)}, where {words} is expected.")
    return True


def expand_user(option: str, text: str) -> Path:
    """The path with ~ expanded. Raises UserError for an unknown user."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{option}={text}: there is no such user here; write the path in full.") from error


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file that contains only data: no tags, which could name code, and no aliases, which could make
    a small file endless.

    Raises UserError if it can't be read, or isn't such YAML.
    """
    import yaml  # imported here, since kernels read files too and need only torch and numpy

    try:
        text = read_bytes(path, _MOST_BYTES).decode("utf-8")
        # For each open collection: the keys of a mapping so far, and whether a key comes next; None for a list.
        within: list[tuple[set[str], bool] | None] = []
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                within.pop()
                continue
            _check_yaml(path, event)
            if isinstance(event, (yaml.CollectionStartEvent, yaml.ScalarEvent)) and within and within[-1] is not None:
                keys, is_key = within[-1]
                if is_key and isinstance(event, yaml.ScalarEvent):
                    if event.value in keys:
                        raise UserError(
                            f"{path} can't be read as YAML: {event.value} appears twice{_line(event)[:-1]}."
                        )
                    keys.add(event.value)
                within[-1] = keys, not is_key
            if isinstance(event, yaml.CollectionStartEvent):
                within.append((set(), True) if isinstance(event, yaml.MappingStartEvent) else None)
            if len(within) > _DEEPEST:
                raise UserError(f"{path} can't be read as YAML: it is nested more than {_DEEPEST} levels deep.")
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else "an unknown line"
        raise UserError(f"{path} can't be read as YAML: {error.problem or 'it is damaged'}, in {place}.") from error
    except UserError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"{path} can't be read as YAML: {reason}.") from error
    return text


def _check_yaml(path: Path, event: Any) -> None:
    """Raise UserError for an alias, a tag that is not of plain data, or a number that is probably not meant as one."""
    import yaml

    if isinstance(event, yaml.AliasEvent):
        raise UserError(f"{path} can't be read as YAML: it has aliases (*{event.anchor}): write the values out.")
    tag = getattr(event, "tag", None)
    if tag is not None and tag not in _TAGS:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        fault = "names code, not data" if "python/" in tag else "is not a plain data type: remove it"
        raise UserError(f"{path} can't be read: its tag {shown} {fault}.")
    if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _ODD_NUMBER.fullmatch(event.value):
        raise UserError(
            f"{path} can't be read as YAML: {event.value}{_line(event)} is not a plain number: write it in decimal "
            "digits, or in quotes as text."
        )


def _line(event: Any) -> str:
    return f", in line {event.start_mark.line + 1}," if event.start_mark else ""


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISREG(mode):
        return "a file"
    return "a device or a socket"
