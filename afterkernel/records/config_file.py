"""The configuration that a run keeps, RUN/config.yaml, as far as readers of records need it: damage is named.

`afterkernel.runs.run.read_config` reads it in full, as the configuration of this version.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from afterkernel.records.files import CONFIG
from afterkernel.records.store import RunFolder

# What we write ends with the option force; so much tells that nothing is missing, in a hundredth of the time of YAML.
_WHOLE = re.compile(rb"dataset:\n(?: *(?:- |\w+:)[ -~]*\n)*force: (?:true|false)\n")


def warn_if_damaged(run: RunFolder) -> None:
    """Name the configuration of a run where it is damaged."""
    path, whole = run.path / CONFIG, None
    with contextlib.suppress(OSError):
        whole = path.is_file() and _WHOLE.fullmatch(path.read_bytes())
    if not whole:
        config_of(run)


def config_of(run: RunFolder) -> dict[str, Any] | None:
    """A run's configuration; None, and a warning that names it, where it is damaged or another program's."""
    import yaml

    path = run.path / CONFIG
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the first is ten times as fast
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=loader) if path.is_file() else path.stat() and None
    except OSError as error:
        run.warn_skipped(str(path), f"can't be read ({error.strerror})")
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        run.warn_skipped(str(path), f"can't be read as YAML: {' '.join(str(error).split())}")
        return None
    if not isinstance(config, dict) or not any(isinstance(config.get(name), dict) for name in ("arch", "training")):
        run.warn_skipped(str(path), "is not a configuration of afterkernel" if path.is_file() else "is not a file")
        return None
    if "dataset" in config and "force" not in config:
        run.warn_skipped(str(path), "is truncated: it lacks the option force, with which it ends")
        return None
    return config
