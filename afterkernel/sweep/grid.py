"""The grid of a sweep: every run composed, checked and named before the first one starts."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from afterkernel.config import Config, config_to_dict, explain, parse, run_id, to_config
from afterkernel.config.overrides import check_runs, count_runs
from afterkernel.config.schema import Sweep
from afterkernel.data import Source
from afterkernel.errors import UserError
from afterkernel.launchers.job import Job
from afterkernel.records import run_directory, write_atomic
from afterkernel.runs.finished import finished_on
from afterkernel.runs.planned import GRIDS


@dataclass(frozen=True)
class Entry:
    """One run of the grid: its overrides, those of them that differ between runs, its configuration, its job."""

    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    config: Config
    job: Job

    @property
    def run_dir(self) -> Path:
        """Where its results go."""
        return Path(self.job.run_dir)


def job_of(config: Config) -> Job:
    """A configuration as a job; a relative folder of images is made absolute, so that it is found from anywhere."""
    name = run_id(config)
    plain = config_to_dict(config)
    plain["dataset"] |= getattr(config.dataset, "canonical", {})
    folder = run_directory(Path(config.output_dir).expanduser().absolute(), config.sweep.name, name)
    return Job(name, plain, str(folder), str(Path.cwd()), tuple(sys.argv[1:]))


def entry_of(config: Config, overrides: Sequence[str] = (), swept: Sequence[str] = ()) -> Entry:
    """A run by its configuration."""
    return Entry(tuple(overrides), tuple(swept), config, job_of(config))


def grid_of(words: Sequence[str], held: DictConfig) -> Sequence[Sequence[str]]:
    """The overrides of every run of the grid that `words` span; of two for one option the later counts.

    `held` is what is the same in every run. Raises UserError for a word that is not accepted, and for more runs than
    sweep.max_runs.
    """
    overrides = parse(words)
    check_runs(count_runs(overrides), cast(Sweep, OmegaConf.to_object(held.sweep)))
    (grid,) = BasicSweeper.split_arguments(overrides, None)
    return grid


def compose_grid(load: Callable[[list[str]], DictConfig], grid: Sequence[Sequence[str]]) -> list[Entry]:
    """Compose and check every run; `load` composes one from its overrides.

    Raises UserError for the first that can't work, and for two that would be one run.
    """
    if not grid:
        raise UserError("the sweep has no run: an option is swept over no value at all.")
    entries: dict[str, Entry] = {}
    varied = swept(grid)
    for overrides in grid:
        own = tuple(word for word in overrides if word.partition("=")[0] in varied)
        job = f"job {' '.join(own or overrides)}"
        try:
            config = to_config(load(list(overrides)))
        except UserError as error:
            raise UserError(f"{job}: {error}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"{job}: {explain(error)}") from error
        entry = entry_of(config, overrides, own)
        if entry.job.run_dir in entries:
            twin = " ".join(entries[entry.job.run_dir].swept or overrides)
            raise UserError(f"job {twin} and {job} are one run: take one of them out.")
        entries[entry.job.run_dir] = entry
    return list(entries.values())


def finished(entries: Sequence[Entry]) -> set[Path]:
    """The folders of the runs that need no work: all recorded, on the images that are there now, and not forced."""
    images: dict[str, str | None] = {}
    done = set()
    for entry in entries:
        finished_with = None if entry.config.force else finished_on(entry.config, entry.run_dir)
        if finished_with is None:
            continue
        key = json.dumps(entry.job.config["dataset"], sort_keys=True)
        if key not in images:
            images[key] = _fingerprint(entry.config.dataset)
        if finished_with == images[key]:
            done.add(entry.run_dir)
    return done


def _fingerprint(source: Source) -> str | None:
    try:
        return source.load().fingerprint
    except (UserError, OSError):
        return None  # the run itself will say what is wrong with its images


def swept(grid: Sequence[Sequence[str]]) -> set[str]:
    """The names of the options that differ between runs."""
    values: dict[str, set[str]] = {}
    for overrides in grid:
        for word in overrides:
            name, _, value = word.partition("=")
            values.setdefault(name, set()).add(value)
    return {name for name, found in values.items() if len(found) > 1}


def keep_grid(entries: Sequence[Entry]) -> None:
    """Save the planned runs in the sweep's folder, so that `status` and `report` know which are missing.

    One file for each grid, named by what is in it, so that several processes on one sweep write the same.
    """
    by_sweep: dict[Path, dict[str, list[str]]] = {}
    for entry in entries:
        by_sweep.setdefault(entry.run_dir.parent, {})[entry.job.run_id] = list(entry.swept)
    for folder, runs in by_sweep.items():
        text = json.dumps({"version": 1, "runs": runs}, indent=1, sort_keys=True) + "\n"
        path = folder / GRIDS / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"
        if not path.exists():
            write_atomic(path, text)
