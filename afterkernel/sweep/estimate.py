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
from afterkernel.training.options import PAPER

# Memory of Python, torch and Lightning without tensors; disk space of records and W&B log, and of snapshot metadata.
LIBRARIES_BYTES = 800_000_000
RECORDS_BYTES, SNAPSHOT_FACTS_BYTES = 150_000, 4_096
STEPS_TIMED = 3
# Measured on 2 CPU cores: the start of a process and of each run; the SVM of a kernel with the measures, besides
# the embeddings of their images; these embeddings, for each image (see `measures.invariance`).
PROCESS_S, RUN_S, SVM_AND_MEASURES_S, MEASURE_PASSES = 4.0, 0.7, 1.5, 7
FORWARD_SHARE = 1 / 3  # of a training step, which has a backward pass too


@dataclass(frozen=True)
class RunCost:
    """The cost of a run: seconds of training, of kernels and of the rest, bytes of peak memory and on disk.

    The rest is the start of the run, SVMs and measures; training includes the checks of the loss.
    """

    wall_s_train: float
    wall_s_kernels: float
    wall_s_rest: float
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
            rows.append([planned.job.run_id, options, state, "", "", "", "", ""])
            continue
        cost = estimator.estimate(planned.config)
        wanted.append(cost)
        times = [duration(each) for each in (cost.wall_s_train, cost.wall_s_kernels, cost.wall_s_rest)]
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
    print_table(["run", "options", "state", "training", "kernels", "rest", "memory", "disk"], rows)
    runs = fmt.plural(len(planned_runs), "run")
    recorded_in = f", {len(in_file)} recorded in {planned_runs[0].config.sweep.recorded}" if in_file else ""
    print(f"{runs}, {len(done)} finished{recorded_in}, {len(wanted)} to do; nothing was run (sweep.dry_run=true)")
    if wanted:
        parts_s = (cost.wall_s_train + cost.wall_s_kernels + cost.wall_s_rest for cost in wanted)
        total_s = PROCESS_S + sum(parts_s)
        early = any(planned.config.training.loss_target is not None for planned in planned_runs)
        peak = fmt.size(round(max(cost.peak_bytes for cost in wanted)))
        disk = fmt.size(round(sum(cost.disk_bytes for cost in wanted)))
        print(
            f"roughly {duration(total_s)}{' at most' if early else ''} one after the other, {peak} of memory each at "
            f"most, {disk} of disk; rest: start, SVMs and measures, by the times of other runs"
            f"{'; a run that reaches training.loss_target ends before its last epoch' if early else ''}"
        )


class CostEstimator:
    """Estimates costs from a few training steps and the plan of the kernels; shared parts are measured once."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self._costs: dict[str, tuple[tuple[float, float], RunCost]] = {}

    def estimate(self, config: Config) -> RunCost:
        """The cost of one run from its start."""
        problem = self._problem(config)
        parts = (config.dataset, config.arch, config.kernel, config.training.batch_size, config.trainer)
        key = " ".join(map(str, parts))
        if key not in self._costs:
            with cpu_threads(config):
                self._costs[key] = _measure(config, problem)
        (step_s, sample_s), snapshot = self._costs[key]
        steps_an_epoch = math.ceil(len(problem.x_train) / config.training.batch_size)
        steps = config.training.epochs * steps_an_epoch
        if config.training.max_steps is not None:
            steps = min(steps, config.training.max_steps)
        count = len(config.snapshot.until(steps / steps_an_epoch)) + (len(config.snapshot.losses) if steps else 0)
        return replace(
            snapshot,
            wall_s_train=steps * step_s + self._images_checked(config, problem, steps, steps_an_epoch) * sample_s,
            wall_s_rest=RUN_S + count * snapshot.wall_s_rest,
            wall_s_kernels=count * snapshot.wall_s_kernels,
            disk_bytes=count * snapshot.disk_bytes + RECORDS_BYTES,
        )

    def _images_checked(self, config: Config, problem: Problem, steps: int, steps_an_epoch: int) -> float:
        """The checks of the loss in a training, as a number of images of a training step."""
        training = config.training
        if training.loss_target is None and not config.snapshot.losses:
            return 0.0
        if training.loss_check == PAPER:  # few checks, after epochs 10, 30, 70, ...
            return FORWARD_SHARE * len(problem.x_train) * math.log2(1 + steps / steps_an_epoch / 10)
        checks = steps / steps_an_epoch * min(training.loss_checks_per_epoch, steps_an_epoch)
        images = min(training.loss_check_images or len(problem.x_train), len(problem.x_train))
        return FORWARD_SHARE * images * checks

    def _problem(self, config: Config) -> Problem:
        key = json.dumps(vars(config.dataset), sort_keys=True, default=str)
        if key not in self._problems:
            self._problems[key] = config.dataset.load()
        return self._problems[key]


def _measure(config: Config, problem: Problem) -> tuple[tuple[float, float], RunCost]:
    """Seconds of a training step and of one of its images, and the cost of one snapshot."""
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
    measured = MEASURE_PASSES * min(config.measure.num_images, m) * sample_s
    rest_s = len(config.kernel.names) * (SVM_AND_MEASURES_S + measured)
    return (step_s, sample_s), RunCost(0.0, wall_s, rest_s, LIBRARIES_BYTES + images + peak, disk)


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
