"""The grid of a sweep: all runs are composed, checked and named before the first one starts."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from afterkernel.config import Config, config_to_dict, explain, parse, to_config
from afterkernel.config.overrides import check_once, check_runs, count_runs
from afterkernel.config.schema import Sweep
from afterkernel.data.label_noise import with_label_noise
from afterkernel.errors import UserError
from afterkernel.files.reading import expand_user, is_file
from afterkernel.launchers.job import Job
from afterkernel.records import run_directory, write_atomic
from afterkernel.records.exported import read_exported
from afterkernel.runs.finished import finished_data_sha256
from afterkernel.runs.planned import GRIDS

# Options that hold for a whole sweep.
_OF_ALL = re.compile(r"(sweep|launcher)(\.|$)|(plugins|output_dir)$")


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid: all its overrides, those that differ between runs, its configuration and its job."""

    overrides: tuple[str, ...]
    varied: tuple[str, ...]
    config: Config
    job: Job

    @property
    def run_dir(self) -> Path:
        """The folder of its results."""
        return Path(self.job.run_dir)


def make_job(config: Config) -> Job:
    """The job of a configuration. Relative folders of images are made absolute, so that any process finds them."""
    name = config.identity.run_id
    plain = config_to_dict(config)
    plain["dataset"] |= getattr(config.dataset, "canonical", {})
    folder = run_directory(Path(config.output_dir).expanduser().absolute(), config.sweep.name, name)
    return Job(name, plain, str(folder), str(Path.cwd()), tuple(sys.argv[1:]))


def planned_run(config: Config, overrides: Sequence[str] = (), varied: Sequence[str] = ()) -> PlannedRun:
    """A run by its configuration."""
    return PlannedRun(tuple(overrides), tuple(varied), config, make_job(config))


def grids_of(swept: Sequence[str], given: Sequence[str], held: DictConfig) -> list[Sequence[Sequence[str]]]:
    """The overrides of every run, grid by grid: that of a sweep file's `swept` words, and those of `sweep.also`.

    The words `given` on the command line hold in every grid; of two words for one option the later counts. `held` are
    the overrides that are the same in every run. Raises UserError for a word that is not accepted, and for more runs
    than sweep.max_runs.
    """
    sweep = cast(Sweep, OmegaConf.to_object(held.sweep))
    grids = [parse([*swept, *given]), *(_also(text, swept, given) for text in sweep.also)]
    check_runs(sum(map(count_runs, grids)), sweep)
    return [BasicSweeper.split_arguments(grid, None)[0] for grid in grids]


def _also(text: str, swept: Sequence[str], given: Sequence[str]) -> list[Override]:
    """The overrides of one further grid, by its text in `sweep.also`."""
    words = text.split()
    try:
        if not words:
            raise UserError('it is empty: write options, such as "arch=vgg seed=0,1".')
        own = parse(words)
        check_once(own)
        if of_all := next((each for each in own if _OF_ALL.match(each.key_or_group)), None):
            raise UserError(f"{of_all.input_line} can't differ between grids: give it to the whole sweep.")
    except UserError as error:
        raise UserError(f"sweep.also=[{text}]: {error}") from error
    return parse([*swept, *words, *given])


def compose_grid(load: Callable[[list[str]], DictConfig], *grids: Sequence[Sequence[str]]) -> list[PlannedRun]:
    """Compose and check every run; `load` composes one from its overrides. What several grids hold is one run.

    Raises UserError for the first invalid run, and for two of one grid that are the same run.
    """
    every = [overrides for grid in grids for overrides in grid]
    if not every:
        raise UserError("the sweep has no runs: an option has an empty list of values.")
    planned_runs: dict[str, PlannedRun] = {}
    varied = varied_options(every)
    for grid in grids:
        of_grid: dict[str, PlannedRun] = {}
        for overrides in grid:
            planned = _composed(load, overrides, varied)
            if planned.job.run_dir in of_grid:
                jobs = [" ".join(one.varied or overrides) for one in (of_grid[planned.job.run_dir], planned)]
                raise UserError(f"job {jobs[0]} and job {jobs[1]} are the same run: remove one of them.")
            of_grid[planned.job.run_dir] = planned
        planned_runs |= {run_dir: one for run_dir, one in of_grid.items() if run_dir not in planned_runs}
    return list(planned_runs.values())


def _composed(load: Callable[[list[str]], DictConfig], overrides: Sequence[str], varied: set[str]) -> PlannedRun:
    own = tuple(word for word in overrides if word.partition("=")[0] in varied)
    job = f"job {' '.join(own or overrides)}"
    try:
        config = to_config(load(list(overrides)))
    except UserError as error:
        raise UserError(f"{job}: {error}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{job}: {explain(error)}") from error
    return planned_run(config, overrides, own)


def finished(planned_runs: Sequence[PlannedRun]) -> set[Path]:
    """The folders of the finished runs: all snapshots are recorded, on the present images, and `force` is not set."""
    images: dict[str, str | None] = {}
    done = set()
    for planned in planned_runs:
        finished_with = None if planned.config.force else finished_data_sha256(planned.config, planned.run_dir)
        if finished_with is None:
            continue
        if finished_with == _present_images(planned, images):
            done.add(planned.run_dir)
    return done


def recorded(planned_runs: Sequence[PlannedRun]) -> set[Path]:
    """The folders of the runs whose end is recorded in the file `sweep.recorded`, of the present images.

    UserError if there is no such file or it is damaged.
    """
    ends: dict[str, dict[tuple[str, str], set[str]]] = {}
    images: dict[str, str | None] = {}
    found = set()
    for planned in planned_runs:
        identity, file = planned.config.identity, planned.config.sweep.recorded
        if file is None:
            continue
        if file not in ends:
            ends[file] = _ends(file)
        made_of = ends[file].get((identity.run_id, identity.evaluation_id))
        if made_of and not planned.config.force and _present_images(planned, images) in made_of:
            found.add(planned.run_dir)
    return found


def _ends(file: str) -> dict[tuple[str, str], set[str]]:
    """The hashes of the images of the runs in a file that have ended, by run_id and evaluation_id."""
    setting = f"sweep.recorded={file}"
    path = expand_user("sweep.recorded", file)
    if not is_file(setting, path):
        raise UserError(f"{setting}: there is no such file; name one that results --export wrote.")
    try:
        records = read_exported(path)
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error
    ends: dict[tuple[str, str], set[str]] = {}
    for record in records:
        if record.final:
            hashes = ends.setdefault((record.run_id, record.evaluation_id), set())
            hashes.add(str(record.provenance.get("data_sha256")))
    return ends


def _present_images(planned: PlannedRun, images: dict[str, str | None]) -> str | None:
    """The hash of the images and training labels of a run; `images` keeps those that are known. None if not loaded."""
    config = planned.config
    noise = [config.training.label_noise, config.seed] if config.training.label_noise else []
    key = json.dumps([planned.job.config["dataset"], *noise], sort_keys=True)
    if key not in images:
        try:
            images[key] = with_label_noise(config.dataset.load(), config.training.label_noise, config.seed).fingerprint
        except (UserError, OSError):
            images[key] = None  # the run itself reports what is wrong with its images
    return images[key]


def varied_options(grid: Sequence[Sequence[str]]) -> set[str]:
    """The names of the options that differ between runs; one that only some runs set differs from the others."""
    values: dict[str, list[str]] = {}
    for overrides in grid:
        for word in overrides:
            name, _, value = word.partition("=")
            values.setdefault(name, []).append(value)
    return {name for name, found in values.items() if len(set(found)) > 1 or len(found) < len(grid)}


def save_grid(planned_runs: Sequence[PlannedRun]) -> None:
    """Save the planned runs in the sweep's folder, so that `status` and `report` know which are missing.

    One file per grid, named by a hash of its content, so that several processes on one sweep write the same file.
    """
    by_sweep: dict[Path, dict[str, list[str]]] = {}
    for planned in planned_runs:
        by_sweep.setdefault(planned.run_dir.parent, {})[planned.job.run_id] = list(planned.varied)
    for folder, runs in by_sweep.items():
        text = json.dumps({"version": 1, "runs": runs}, indent=1, sort_keys=True) + "\n"
        path = folder / GRIDS / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"
        if not path.exists():
            write_atomic(path, text)
