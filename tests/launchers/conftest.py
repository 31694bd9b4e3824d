"""Jobs for the launchers: a fake run, imported by its name in the processes that an engine starts."""

import os
from pathlib import Path

import pytest

from afterkernel.launchers.job import Job


@pytest.fixture
def stand_in(monkeypatch):
    """Processes that a launcher starts in this test find `standin.execute`."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def make_jobs(tmp_path):
    """Jobs by name and what they do: `make_jobs(a={}, b={"act": "kill"})`."""

    def make(**configs) -> list[Job]:
        return [Job(name, config, str(tmp_path / "sweep" / name), str(tmp_path)) for name, config in configs.items()]

    return make


class Recorder:
    """Keeps what a launcher reports; returns False from the `stop_after`-th outcome on."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.outcomes, self.begun_ids = {}, []
        self.stop_after = stop_after

    def on_start(self, job) -> None:
        if job.run_id not in self.begun_ids:
            self.begun_ids.append(job.run_id)

    def on_finish(self, outcome) -> bool:
        assert outcome.run_id not in self.outcomes
        self.outcomes[outcome.run_id] = outcome
        return self.stop_after is None or len(self.outcomes) < self.stop_after

    @property
    def states(self) -> dict[str, str]:
        return {name: outcome.state for name, outcome in self.outcomes.items()}


@pytest.fixture
def recorder():
    return Recorder


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "sweep"
