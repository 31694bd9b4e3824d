"""`sweep.dry_run=true`: a table of the runs, those that are finished, and the cost of the others."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from afterkernel import text as fmt
from afterkernel.config import Config, device
from afterkernel.data import Problem
from afterkernel.kernel_kinds import KINDS
from afterkernel.kernels import train_test_plan
from afterkernel.kernels.machine import matmul_rate, memory_format
from afterkernel.models import Network
from afterkernel.records.files import CONFIG
from afterkernel.runs.failure import read_failure
from afterkernel.runs.run import cpu_threads
from afterkernel.runs.run_lock import owner_of
from afterkernel.sweep.grid import PlannedRun, finished, recorded
from afterkernel.text import duration, print_table
from afterkernel.training.loss import cross_entropy

# Memory of Python, torch and Lightning without tensors; disk space of records and W&B log, and of snapshot metadata.
LIBRARIES_BYTES = 800_000_000
RECORDS_BYTES, SNAPSHOT_FACTS_BYTES = 150_000, 4_096
STEPS_TIMED = 3


@dataclass(frozen=True)
class RunCost:
    """The cost of a run: seconds of training and of kernels, bytes of peak memory and on disk."""

    wall_s_train: float
    wall_s_kernels: float
    peak_bytes: float
    disk_bytes: float


def print_plan(planned_runs: Sequence[PlannedRun]) -> None:
    """Print the table and its totals. Only a few steps of each network are run, to measure their time."""
    done = finished(planned_runs)
    in_file = recorded(planned_runs) - done
    estimator = CostEstimator()
    rows, wanted = [], []
    for planned in planned_runs:
        options = " ".join(planned.varied)
        if planned.run_dir in done | in_file:
            state = "finished" if planned.run_dir in done else "recorded"
            rows.append([planned.job.run_id, options, state, "", "", "", ""])
            continue
        cost = estimator.estimate(planned.config)
        wanted.append(cost)
        times = [duration(cost.wall_s_train), duration(cost.wall_s_kernels)]
        rows.append(
            [
                planned.job.run_id,
                options,
                _state(planned),
                *times,
                fmt.size(round(cost.peak_bytes)),
                fmt.size(round(cost.disk_bytes)),
            ]
        )
    print_table(["run", "options", "state", "training", "kernels", "memory", "disk"], rows)
    runs = fmt.plural(len(planned_runs), "run")
    recorded_in = f", {len(in_file)} recorded in {planned_runs[0].config.sweep.recorded}" if in_file else ""
    print(f"{runs}, {len(done)} finished{recorded_in}, {len(wanted)} to do; nothing was run (sweep.dry_run=true)")
    if wanted:
        total_s = sum(cost.wall_s_train + cost.wall_s_kernels for cost in wanted)
        peak = fmt.size(round(max(cost.peak_bytes for cost in wanted)))
        disk = fmt.size(round(sum(cost.disk_bytes for cost in wanted)))
        print(
            f"roughly {duration(total_s)} one after the other, {peak} of memory each at most, {disk} of disk; the "
            "start of a run (some 4 s), SVMs, measures and checks of the loss come on top, a whole training to its "
            "last epoch is assumed, which reaches all losses"
        )


class CostEstimator:
    """Estimates costs from a few training steps and the plan of the kernels; shared parts are measured once."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self._costs: dict[str, tuple[float, RunCost]] = {}

    def estimate(self, config: Config) -> RunCost:
        """The cost of one run from its start."""
        problem = self._problem(config)
        parts = (config.dataset, config.arch, config.kernel, config.training.batch_size, config.trainer)
        key = " ".join(map(str, parts))
        if key not in self._costs:
            with cpu_threads(config):
                self._costs[key] = _measure(config, problem)
        step_s, snapshot = self._costs[key]
        steps_an_epoch = math.ceil(len(problem.x_train) / config.training.batch_size)
        steps = config.training.epochs * steps_an_epoch
        if config.training.max_steps is not None:
            steps = min(steps, config.training.max_steps)
        count = len(config.snapshot.until(steps / steps_an_epoch)) + (len(config.snapshot.losses) if steps else 0)
        return replace(
            snapshot,
            wall_s_train=steps * step_s,
            wall_s_kernels=count * snapshot.wall_s_kernels,
            disk_bytes=count * snapshot.disk_bytes + RECORDS_BYTES,
        )

    def _problem(self, config: Config) -> Problem:
        key = json.dumps(vars(config.dataset), sort_keys=True, default=str)
        if key not in self._problems:
            self._problems[key] = config.dataset.load()
        return self._problems[key]


def _measure(config: Config, problem: Problem) -> tuple[float, RunCost]:
    """Seconds of a training step, and the cost of one snapshot."""
    place = device(config)
    network = config.arch.build(problem.image_shape, problem.n_outputs).to(place)
    step_s = _step_s(network, problem, config.training.batch_size, place)
    sample_s = step_s / min(config.training.batch_size, len(problem.x_train))
    n, m = len(problem.x_train), len(problem.x_test)
    wall_s, peak = 0.0, 0.0
    for name in config.kernel.names:
        phi = KINDS[name].embedding(config.kernel.input_of(name, network, problem, place))
        steps = train_test_plan(phi, problem.x_train, problem.x_test, config.kernel.budget_bytes, config.kernel.dtype)
        rate = matmul_rate(phi.device, phi.dtype, torch.get_num_threads())
        # An embedding takes a forward and a backward pass, as a training step does.
        wall_s += steps.multiplications / rate + steps.collected * sample_s
        peak = max(peak, steps.held_bytes + steps.result_bytes)
    images = sum(part.numel() * part.element_size() for part in (problem.x_train, problem.x_test))
    kept = n * (n + m) * config.kernel.precision.dtype.itemsize * len(config.kernel.names)
    disk = network.parameter_count * 4 + SNAPSHOT_FACTS_BYTES + (kept if "gram" in config.keep else 0)
    return step_s, RunCost(0.0, wall_s, LIBRARIES_BYTES + images + peak, disk)


def _step_s(network: Network, problem: Problem, batch_size: int, place: torch.device) -> float:
    """Seconds of a training step: the minimum of a few, after one to warm up."""
    network.to(memory_format=memory_format(network))
    images, labels = problem.x_train[:batch_size].to(place), problem.y_train[:batch_size].to(place)
    best = math.inf
    for _ in range(1 + STEPS_TIMED):
        started = time.perf_counter()
        network.zero_grad()
        cross_entropy(network(images), labels, problem.n_outputs).backward()  # type: ignore[no-untyped-call]
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        best = min(best, time.perf_counter() - started)
    return best


def _state(planned: PlannedRun) -> str:
    owner = owner_of(planned.run_dir)
    if owner is not None:
        return f"running ({owner})"
    failure = read_failure(planned.run_dir)
    if failure is not None:
        return "failed, to be tried again"
    return "started" if (planned.run_dir / CONFIG).exists() else "new"
