"""The configuration of a run, RUN/config.yaml, as plain data for readers of records; damage is reported.

`afterkernel.runs.run.read_config` reads it as the configuration of this version.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from afterkernel.records.files import CONFIG
from afterkernel.records.store import RunFolder

# A complete file ends with the option force. Matching it takes a hundredth of the time of parsing YAML.
_WHOLE = re.compile(rb"dataset:\n(?: *(?:- |\w+:)[ -~]*\n)*force: (?:true|false)\n")


def warn_if_damaged(run: RunFolder) -> None:
    """Warn if the configuration of a run is damaged."""
    path, whole = run.path / CONFIG, None
    with contextlib.suppress(OSError):
        whole = path.is_file() and _WHOLE.fullmatch(path.read_bytes())
    if not whole:
        config_of(run)


def config_of(run: RunFolder) -> dict[str, Any] | None:
    """A run's configuration; None, with a warning, if it is damaged or another program's."""
    import yaml

    path = run.path / CONFIG
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the C loader is ten times as fast
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
