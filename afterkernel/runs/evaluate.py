"""Evaluation of one snapshot: its kernels, their SVMs and measures, as one record."""

from __future__ import annotations

import logging
import resource
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from afterkernel.config import Config, config_to_dict, device
from afterkernel.data import Problem
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS
from afterkernel.kernels import Embedding, Grams, train_test_grams, train_test_plan
from afterkernel.kernels.sketch_embedding import SketchEmbedding
from afterkernel.measures import Context, MeasureState, Numbers, measure_all
from afterkernel.measures.normalisation import embedding_norm
from afterkernel.models import Network
from afterkernel.progress.work import Stage
from afterkernel.records import KernelRecord, Record, Resources, write_atomic
from afterkernel.records.columns import NAMES
from afterkernel.records.record import MEASURED
from afterkernel.runs import numeric_warnings
from afterkernel.runs.classify import classify
from afterkernel.runs.provenance import device_name, git_commit, provenance
from afterkernel.runs.run_state import OWNER
from afterkernel.runs.saved_grams import SavedKernel, save_grams
from afterkernel.runs.warm_start import WarmStarts
from afterkernel.svm import Outcome
from afterkernel.text import cosine, epochs, plain
from afterkernel.training.snapshot import Snapshot

log = logging.getLogger(__name__)

# Multiply-adds of a Gram matrix from which its tiles are kept on disk: some ten seconds on two cores, or on a GPU.
LONG_MULTIPLICATIONS = 10**12
GPU_FACTOR = 200


@dataclass
class Evaluator:
    """Evaluates the snapshots of one run, which it must be given in their order.

    `run_id` names the run that made the snapshots, however they are evaluated. `warm_starts` holds the support of each
    kernel's last hard margin on the same images, and `history` what measures need of earlier snapshots; both are
    updated. With keep=[gram] the Gram matrices are kept below `run_dir`. `place` is where kernels are computed, by
    default the device that trainer.device names.
    """

    config: Config
    problem: Problem
    run_id: str
    run_dir: Path | None = None
    warm_starts: WarmStarts = field(default_factory=dict)
    history: MeasureState = field(default_factory=MeasureState)
    place: torch.device | None = None

    def evaluate(
        self, network: Network, snapshot: Snapshot, *, training_end: str, tiles: Path | None = None, owner: str = ""
    ) -> Record:
        """The record of one snapshot, whose weights `network` already holds; `training_end` says how training
        ended if it ended with it, and is empty otherwise.

        `tiles` is a folder for the tiles of long Gram matrices, with which a killed evaluation continues; `owner` names
        the run and weights that they belong to. Raises UserError if a kernel is not finite.
        """
        config, problem = self.config, self.problem
        kernels = self.evaluate_kernels(network, self.context(snapshot.epoch, snapshot.step), tiles, owner)
        of_snapshot = {name: value for name, value in vars(snapshot).items() if name in NAMES}
        return Record(
            **of_snapshot,
            run_id=self.run_id,
            evaluation_id=config.identity.evaluation_id,
            sweep=config.sweep.name,
            dataset=config.dataset.title,
            minus=problem.minus,
            plus=problem.plus,
            classes=problem.classes,
            n_train=len(problem.x_train),
            n_test=len(problem.x_test),
            arch=config.arch.name,
            width=network.width,
            parameters=network.parameter_count,
            learning_rate=config.training.lr,
            seed=config.seed,
            final=bool(training_end),
            training_end=training_end,
            config_sha256=config.identity.config_sha256,
            commit=git_commit(),
            device=device_name(device(config)),
            kernels=kernels,
            config=config_to_dict(config),
            provenance=provenance(problem.fingerprint, snapshot.sha256) | {"execution": execution(config)},
        )

    def context(self, epoch: float | None, step: int | None = None) -> Context:
        """The measures of the next snapshot; see `afterkernel.measures.Context`."""
        config = self.config
        return Context(
            config.measure,
            self.problem,
            epoch,
            self.history,
            step=step,
            dtype=config.kernel.dtype,
            budget_bytes=config.kernel.budget_bytes,
        )

    def evaluate_kernels(
        self, network: nn.Module, context: Context, tiles: Path | None = None, owner: str = ""
    ) -> tuple[KernelRecord, ...]:
        """Every kernel of a network, with its SVM and measures. UserError if a kernel is not finite."""
        evaluated = []
        for name in (known for known in KINDS if known in self.config.kernel.names):  # always in the same order
            with Stage(name):
                evaluated.append(self._evaluate_kernel(name, network, context, tiles and tiles / name, owner))
        with Stage("measures"):
            numbers = measure_all(context)
        kernels = tuple(_with_measures(kernel, numbers[kernel.kernel], context) for kernel in evaluated)
        for kernel in kernels:
            log.info("%s, %s", _place(context), _line(kernel))
        return kernels

    def _evaluate_kernel(
        self, name: str, network: nn.Module, context: Context, tiles: Path | None, owner: str
    ) -> KernelRecord:
        config, problem = self.config, self.problem
        warnings = list(problem.warnings)
        with numeric_warnings.python_warnings(warnings):
            place = self.place or device(config)
            phi = KINDS[name].embedding(config.kernel.input_of(name, network, problem, place))

            started = time.perf_counter()
            grams = _grams(phi, problem, config, tiles, owner)
            K, K_test = grams.train, grams.test
            norm = embedding_norm(K)
            K /= norm**2
            K_test /= norm**2
            K, K_test = K.cpu(), K_test.cpu()
            approximation = phi.estimated_error(problem.x_train) if isinstance(phi, SketchEmbedding) else None
            warnings += numeric_warnings.of_kernel(K, grams.relative_error, config.kernel.dtype)
            if self.run_dir is not None and "gram" in config.keep:
                kept = SavedKernel(
                    epoch=context.place if context.epoch is None else context.epoch,
                    step=int(context.place),
                    evaluation_id=config.identity.evaluation_id,
                    kernel=name,
                    normalisation=norm,
                )
                save_grams(self.run_dir, kept, K, K_test, problem.y_train, problem.y_test)
            kernel_done = time.perf_counter()

            found = classify(name, K, K_test, problem, config.svm, self.warm_starts)
            warnings += found.warnings
            svm_done = time.perf_counter()

            context.add(name, phi, K, K_test, norm, approximation or 0.0)
        output = config.kernel.output_of(name, problem)
        return KernelRecord(
            **found.numbers,
            kernel=name,
            kernel_output="" if output is None else str(output),
            kernel_dtype=config.kernel.dtype,
            svm_backend=config.svm.name,
            svm_intercept=config.svm.has_intercept,
            embedding_norm=norm,
            kernel_error=grams.relative_error,
            approximation_error=approximation,
            warnings=tuple(warnings),
            resources=Resources(
                wall_s_kernel=kernel_done - started,
                wall_s_svm=svm_done - kernel_done,
                wall_s_measures=0.0,
                peak_bytes=_peak_bytes(place),
            ),
        )


def execution(config: Config) -> dict[str, Any]:
    """What changes the last digits of the numbers: not part of a run's identity, but recorded."""
    return {
        "device": device(config).type,
        "threads": torch.get_num_threads(),
        "budget_bytes": config.kernel.budget_bytes,
    }


def _with_measures(kernel: KernelRecord, numbers: Numbers, context: Context) -> KernelRecord:
    """The record with what was measured, and how long that took. UserError if a measure takes a column's name."""
    if taken := sorted(numbers.keys() & (NAMES - MEASURED)):
        raise UserError(f"a measure gives a number named {taken[0]}, which is another column of the record: rename it.")
    own: dict[str, Any] = {name: numbers[name] for name in numbers.keys() & MEASURED}
    return replace(
        kernel,
        **own,
        measures={name: value for name, value in numbers.items() if name not in MEASURED},
        resources=replace(kernel.resources, wall_s_measures=context.kernels[kernel.kernel].wall_s),
    )


def _grams(phi: Embedding, problem: Problem, config: Config, tiles: Path | None, owner: str) -> Grams:
    """The Gram matrices; long ones are computed in tiles that are stored on disk, if the options allow it."""
    images = phi, problem.x_train, problem.x_test
    budget_bytes, dtype = config.kernel.budget_bytes, config.kernel.dtype
    if tiles is None or not config.kernel.resumable:
        return train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype)
    long = LONG_MULTIPLICATIONS * (1 if phi.device.type == "cpu" else GPU_FACTOR)
    if train_test_plan(*images, budget_bytes, dtype).multiplications < long:
        return train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype)
    if not tiles.parent.exists():
        write_atomic(tiles.parent / OWNER, owner)
    grams = train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype, store=tiles)
    # Copies, since the matrices are normalised in place and the files must stay unchanged.
    return replace(grams, train=grams.train.clone(), test=grams.test.clone())


def _peak_bytes(place: torch.device) -> int:
    """Peak memory of the GPU, or of this process if the kernels are computed on the CPU."""
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated(place)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _place(context: Context) -> str:
    return f"step {plain(context.step)}" if context.epoch is None else f"epoch {epochs(context.epoch)}"


def _line(kernel: KernelRecord) -> str:
    outcome = Outcome.of(kernel.separable, kernel.converged, soft=kernel.gap is None)
    gap = outcome.label if kernel.gap is None else f"gap {kernel.gap:.0e}"
    if not outcome.converged and kernel.gap is not None:
        gap += ", not converged"
    backend = "" if kernel.svm_backend == "exact" else f" ({kernel.svm_backend})"
    svm = f"SVM{backend} with intercept," if kernel.svm_intercept else f"SVM{backend}"
    cost = kernel.resources
    return (
        f"{kernel.kernel}: {svm} test error {100 * kernel.svm_test_error:.2f} %, {kernel.n_support} support vectors, "
        f"{gap}; swap {cosine(kernel.swap_invariance)}, shift {cosine(kernel.shift_invariance)}; "
        f"{cost.wall_s_kernel:.1f} s kernel, {cost.wall_s_svm:.1f} s SVM, {cost.wall_s_measures:.1f} s measures"
    )
