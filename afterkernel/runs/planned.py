"""The planned runs of a sweep, from the grids that `afterkernel.sweep.grid` saves.

SWEEP/grids/HASH.json    {"version": 1, "runs": {RUN_ID: [overrides that differ between runs]}}
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from afterkernel.files.reading import read_text
from afterkernel.records.skipped import warn_skipped

GRIDS = "grids"
_RUN_ID = re.compile(r"(.+)-lr(.+)-seed(\d+)-[0-9a-f]+")  # as afterkernel.config.identity makes it


def parts_of_run_id(run_id: str) -> tuple[str, str, str] | None:
    """Architecture, learning rate and seed in the id of a configured run; None for any other name."""
    found = _RUN_ID.fullmatch(run_id)
    return None if found is None else (found[1], found[2], found[3])


def planned(directory: Path | str) -> dict[Path, list[str]]:
    """The folder of every run planned below a directory, with the overrides that differ between runs.

    A grid that can't be read is skipped with a SkippedWarning.
    """
    runs: dict[Path, list[str]] = {}
    for path in sorted(Path(directory).rglob(f"{GRIDS}/*.json")):
        try:
            named = json.loads(read_text(path))["runs"]
            runs |= {path.parent.parent / str(name): [str(word) for word in words] for name, words in named.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warn_skipped(
                path, f"is not a grid of a sweep ({error}): remove it; the next start of the sweep writes it again"
            )
    return runs
