"""Reading files that a user, or somebody else, has written: only regular files, and YAML that is nothing but data."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from afterkernel.errors import UserError

_MOST_BYTES = 10_000_000
_DEEPEST = 50


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file, of at most so many bytes.

    Raises OSError where it can't be read, and UserError where it is not a regular file: opening a named pipe would wait
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
    """Whether a regular file is there. Raises UserError where something else is, or where nobody can tell."""
    return _is_a(stat.S_ISREG, "a regular file", option, path)


def is_folder(option: str, path: Path) -> bool:
    """The same for a directory."""
    return _is_a(stat.S_ISDIR, "a directory", option, path)


def _is_a(kind: Callable[[int], bool], words: str, option: str, path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UserError(f"{option}: {path} is a link to nowhere: remove or replace it.") from None
        return False
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{option}: {shown} can't be used ({reason}).") from error
    if not kind(mode):
        raise UserError(f"{option}: {path} is {_kind(mode)}, where {words} is expected.")
    return True


def expanded(option: str, text: str) -> Path:
    """A path with ~ replaced. Raises UserError for the home of a user that does not exist."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{option}={text}: there is no such user here; write the path in full.") from error


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file that holds data alone: no tags, which could name code, and no aliases, which could make
    a small file endless.

    Raises UserError where it can't be read, or isn't such YAML.
    """
    import yaml  # only here: the kernels read files too, and need no more than torch and numpy

    try:
        text, depth = read_bytes(path, _MOST_BYTES).decode("utf-8"), 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise UserError(f"{path} can't be read as YAML: it is nested more than {_DEEPEST} levels deep.")
            if isinstance(event, yaml.AliasEvent):
                raise UserError(
                    f"{path} can't be read as YAML: it has aliases (*{event.anchor}): write the values out."
                )
            tag = getattr(event, "tag", None)
            if tag is not None and tag.startswith("tag:yaml.org,2002:python/"):
                raise UserError(
                    f"{path} can't be read: its tag !!{tag.removeprefix('tag:yaml.org,2002:')} names code, not data."
                )
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else "an unknown line"
        raise UserError(f"{path} can't be read as YAML: {error.problem or 'it is damaged'}, in {place}.") from error
    except UserError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"{path} can't be read as YAML: {reason}.") from error
    return text


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISREG(mode):
        return "a file"
    return "a device or a socket"
