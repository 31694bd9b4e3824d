"""One checkpoint in, one record out: the only place that puts kernels, SVM and measures together."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from afterkernel.config import Config, device, evaluation_id, to_plain
from afterkernel.data import Problem
from afterkernel.kernels import Embedding, Grams, embedding, train_test_grams, train_test_plan
from afterkernel.measures import Context, MeasureState, Numbers, measure_all
from afterkernel.models import Network
from afterkernel.provenance import provenance
from afterkernel.store import KernelRecord, Record, Resources
from afterkernel.store.format import cosine
from afterkernel.supports import Supports
from afterkernel.svm import HardMarginSVM
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Tensor

log = logging.getLogger(__name__)

NORM_OFFSET = 1e-4

# Multiply-adds of a Gram matrix from which its tiles are kept on disk: some ten seconds on two cores.
LONG_MULTIPLICATIONS = 10**12


def evaluate(
    network: Network,
    snapshot: Snapshot,
    problem: Problem,
    config: Config,
    *,
    run_id: str,
    final: bool,
    tiles: Path | None = None,
    starts: Supports | None = None,
    measured: MeasureState | None = None,
) -> Record:
    """Judge every kernel of one snapshot, whose weights `network` already holds.

    `run_id` names the run that made the snapshot, however it is judged; `final` says whether the snapshot is the end
    of its training; `tiles` is a folder for the tiles of long Gram matrices, with which a killed evaluation goes on;
    `starts` holds the support of each kernel's last hard margin on the same images, to start from, and is updated;
    `measured` holds what measures need of the run's earlier snapshots, and is updated.
    Raises UserError where a kernel is not finite.
    """
    starts = {} if starts is None else starts
    context = Context(
        config.measure,
        problem,
        snapshot.epoch,
        measured,
        dtype=config.kernel.dtype,
        budget_bytes=config.kernel.budget_bytes,
    )
    judged = [_judge(name, network, problem, config, tiles, starts, context) for name in config.kernel.names]
    numbers = measure_all(context)
    kernels = tuple(_with_measures(kernel, numbers[kernel.kernel], context) for kernel in judged)
    for kernel in kernels:
        log.info("epoch %d, %s", snapshot.epoch, _line(kernel))
    return Record(
        run_id=run_id,
        evaluation_id=evaluation_id(config),
        sweep=config.sweep.name,
        dataset=config.dataset.name,
        minus=problem.minus,
        plus=problem.plus,
        n_train=len(problem.x_train),
        n_test=len(problem.x_test),
        arch=config.arch.name,
        width=network.width,
        parameters=network.parameter_count,
        learning_rate=config.training.lr,
        seed=config.seed,
        epoch=snapshot.epoch,
        step=snapshot.step,
        final=final,
        train_loss=snapshot.train_loss,
        net_train_error=snapshot.net_train_error,
        net_test_error=snapshot.net_test_error,
        kernels=kernels,
        config=to_plain(config),
        provenance=provenance(device(config), problem.fingerprint, snapshot.sha256),
    )


def _judge(
    name: str,
    network: Network,
    problem: Problem,
    config: Config,
    tiles: Path | None,
    starts: Supports,
    context: Context,
) -> KernelRecord:
    place = device(config)
    phi = embedding(network, name, dtype=config.kernel.dtype, device=place)

    started = time.perf_counter()
    grams = _grams(phi, problem, config, tiles / name if tiles is not None else None)
    K, K_test = grams.train, grams.test
    norm = _normalise(K, K_test)
    K, K_test = K.cpu(), K_test.cpu()
    kernel_done = time.perf_counter()

    svm = HardMarginSVM(config.svm).fit(K, problem.y_train, start=starts.get(name))
    if svm.soft_certificate_ is None:  # a soft margin's support, most of the samples, would be a slow start
        starts[name] = svm.support_
    test_error = (svm.predict(K_test) != problem.y_test).double().mean().item()
    svm_done = time.perf_counter()

    context.add(name, phi, K, K_test, norm)
    return KernelRecord(
        kernel=name,
        svm_backend=config.svm.name,
        svm_intercept=config.svm.has_intercept,
        svm_test_error=test_error,
        svm_train_error=svm.train_error_,
        margin=_or_none(svm.margin_),
        gap=_or_none(svm.gap_),
        n_support=svm.n_support_,
        separable=svm.separable_,
        converged=svm.converged_,
        svm_path=svm.path_,
        embedding_norm=norm,
        shift_invariance=None,
        rotation_invariance=None,
        zoom_invariance=None,
        swap_invariance=None,
        effective_rank=None,
        resources=Resources(
            wall_s_kernel=kernel_done - started,
            wall_s_svm=svm_done - kernel_done,
            wall_s_measures=0.0,
            peak_bytes=_peak_bytes(place),
        ),
        kernel_error=grams.relative_error,
    )


def _with_measures(kernel: KernelRecord, numbers: Numbers, context: Context) -> KernelRecord:
    """The record with what was measured, and how long that took."""
    wall_s = context.kernels[kernel.kernel].wall_s
    return replace(
        kernel,
        shift_invariance=numbers.get("shift_invariance"),
        rotation_invariance=numbers.get("rotation_invariance"),
        zoom_invariance=numbers.get("zoom_invariance"),
        swap_invariance=numbers.get("swap_invariance"),
        effective_rank=numbers.get("effective_rank"),
        resources=replace(kernel.resources, wall_s_measures=wall_s),
    )


def _grams(phi: Embedding, problem: Problem, config: Config, tiles: Path | None) -> Grams:
    """The Gram matrices; long ones by way of a store on disk, where the options allow it."""
    images = phi, problem.x_train, problem.x_test
    budget_bytes, dtype = config.kernel.budget_bytes, config.kernel.dtype
    if tiles is None or not config.kernel.resumable:
        return train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype)
    if train_test_plan(*images, budget_bytes, dtype).multiplications < LONG_MULTIPLICATIONS:
        return train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype)
    grams = train_test_grams(*images, budget_bytes=budget_bytes, dtype=dtype, store=tiles)
    # What lies on disk stays as it is: the matrices are normalised in memory.
    return replace(grams, train=grams.train.clone(), test=grams.test.clone())


def _normalise(K: Float[Tensor, "n n"], K_test: Float[Tensor, "m n"]) -> float:
    """Divide phi by Z = 1e-4 + the mean over the training set of |phi(x)| (arXiv 2105.10585), in place; return Z."""
    norm = NORM_OFFSET + K.diagonal().double().sqrt().mean().item()
    K /= norm**2
    K_test /= norm**2
    return norm


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _peak_bytes(place: torch.device) -> int:
    """Peak memory: of the GPU where there is one, else of this process since it started."""
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated(place)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _line(kernel: KernelRecord) -> str:
    gap = "not separable" if kernel.gap is None else f"gap {kernel.gap:.0e}"
    cost = kernel.resources
    return (
        f"{kernel.kernel}: SVM test error {100 * kernel.svm_test_error:.2f} %, {kernel.n_support} support vectors, "
        f"{gap}; swap {cosine(kernel.swap_invariance)}, shift {cosine(kernel.shift_invariance)}; "
        f"{cost.wall_s_kernel:.1f} s kernel, {cost.wall_s_svm:.1f} s SVM, {cost.wall_s_measures:.1f} s measures"
    )
