"""Reading files that a user, or somebody else, has written: only regular files, and YAML that is nothing but data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml

from afterkernel.errors import UserError

_MOST_BYTES = 10_000_000


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file, of at most so many bytes.

    Raises OSError where it can't be read, and UserError where it is no regular file: opening a named pipe would wait
    for ever, and a device may have no end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path} is {_kind(found.st_mode)}, where a regular file is expected.")
        if most is not None and found.st_size > most:
            raise UserError(f"{path} is too large ({found.st_size:,} bytes): at most {most:,} are read.")
        return file.read()


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file that holds data alone: no tags, which could name code, and no aliases, which could make
    a small file endless.

    Raises UserError where it can't be read, or isn't such YAML.
    """
    try:
        text = read_bytes(path, _MOST_BYTES).decode("utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UserError(
                    f"{path} can't be read as YAML: it has aliases (*{event.anchor}): write the values out."
                )
            tag = getattr(event, "tag", None)
            if tag is not None and tag.startswith("tag:yaml.org,2002:python/"):
                raise UserError(f"{path} can't be read: its tag !!{tag.rpartition(':')[2]} names code, not data.")
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else "an unknown line"
        raise UserError(f"{path} can't be read as YAML: {error.problem or 'it is damaged'}, in {place}.") from error
    except RecursionError as error:
        raise UserError(f"{path} can't be read as YAML: it is nested too deeply.") from error
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
    return "a device or a socket"
