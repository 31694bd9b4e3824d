"""One checkpoint in, one record out: the only place that puts kernels, SVM and measures together."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from afterkernel.config import Config, config_sha256, config_to_dict, device, evaluation_id
from afterkernel.data import Problem
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernels import Embedding, Grams, train_test_grams, train_test_plan
from afterkernel.measures import Context, MeasureState, Numbers, measure_all
from afterkernel.measures.invariance import NORM_OFFSET
from afterkernel.models import Network
from afterkernel.progress.work import stage
from afterkernel.records import KernelRecord, Record, Resources, write_atomic
from afterkernel.records.record import KERNEL_FIELDS
from afterkernel.runs import numeric_warnings
from afterkernel.runs.kept import keep_grams
from afterkernel.runs.provenance import device_name, git_commit, provenance
from afterkernel.runs.run_state import OWNER
from afterkernel.runs.warm_start import WarmStarts
from afterkernel.svm import HardMarginSVM, Outcome
from afterkernel.text import cosine
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Tensor

log = logging.getLogger(__name__)

# Multiply-adds of a Gram matrix from which its tiles are kept on disk: some ten seconds on two cores, or on a GPU.
LONG_MULTIPLICATIONS = 10**12
GPU_FACTOR = 200


@dataclass
class Carried:
    """What the evaluations of a run's snapshots, in order, hand on to the next one, and where they keep files.

    `warm_starts` holds the support of each kernel's last hard margin on the same images, and `history` what measures
    need of earlier snapshots; both are updated. `tiles` is a folder for the tiles of long Gram matrices, with which a
    killed evaluation continues; `owner` names the run and weights that they belong to. With keep=[gram] the Gram
    matrices are kept below `run_dir`.
    """

    warm_starts: WarmStarts = field(default_factory=dict)
    history: MeasureState = field(default_factory=MeasureState)
    run_dir: Path | None = None
    tiles: Path | None = None
    owner: str = ""


def evaluate(
    network: Network,
    snapshot: Snapshot,
    problem: Problem,
    config: Config,
    *,
    run_id: str,
    final: bool,
    carried: Carried | None = None,
) -> Record:
    """Judge every kernel of one snapshot, whose weights `network` already holds.

    `run_id` names the run that made the snapshot, however it is judged; `final` says whether the snapshot is the end
    of its training. Raises UserError where a kernel is not finite.
    """
    carried = carried or Carried()
    context = Context(
        config.measure,
        problem,
        snapshot.epoch,
        carried.history,
        dtype=config.kernel.dtype,
        budget_bytes=config.kernel.budget_bytes,
    )
    judged = []
    for name in (known for known in KINDS if known in config.kernel.names):  # in one order, however they were named
        with stage(name):
            judged.append(_judge(name, network, problem, config, carried, context))
    with stage("measures"):
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
        wall_s_train=snapshot.wall_s_train,
        config_sha256=config_sha256(config),
        commit=git_commit(),
        device=device_name(device(config)),
        kernels=kernels,
        config=config_to_dict(config),
        provenance=provenance(problem.fingerprint, snapshot.sha256) | {"execution": execution(config)},
    )


def execution(config: Config) -> dict[str, Any]:
    """How the numbers are computed, as far as that changes last digits: no part of a run's identity, but recorded."""
    return {
        "device": device(config).type,
        "threads": torch.get_num_threads(),
        "budget_bytes": config.kernel.budget_bytes,
    }


def _judge(
    name: str, network: Network, problem: Problem, config: Config, carried: Carried, context: Context
) -> KernelRecord:
    warnings = list(problem.warnings)
    with numeric_warnings.python_warnings(warnings):
        place = device(config)
        phi = KINDS[name].embedding(KernelInput(network, problem.x_train, config.kernel.dtype, place))

        started = time.perf_counter()
        grams = _grams(phi, problem, config, None if carried.tiles is None else carried.tiles / name, carried.owner)
        K, K_test = grams.train, grams.test
        norm = _normalise(K, K_test)
        K, K_test = K.cpu(), K_test.cpu()
        warnings += numeric_warnings.of_kernel(K, grams.relative_error, config.kernel.dtype)
        if carried.run_dir is not None and "gram" in config.keep:
            labels = problem.y_train, problem.y_test
            place_in_store = carried.run_dir, context.epoch, evaluation_id(config), name
            keep_grams(*place_in_store, train=K, test=K_test, labels=labels, normalisation=norm)
        kernel_done = time.perf_counter()

        answer = _classify(K, K_test, problem, config, name, carried.warm_starts, warnings)
        svm_done = time.perf_counter()

        context.add(name, phi, K, K_test, norm)
    return KernelRecord(
        kernel=name,
        svm_backend=config.svm.name,
        svm_intercept=config.svm.has_intercept,
        svm_test_error=answer.test_error,
        svm_train_error=answer.train_error,
        margin=answer.margin,
        gap=answer.gap,
        n_support=answer.n_support,
        separable=answer.outcome.separable,
        converged=answer.outcome.converged,
        svm_path=answer.path,
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
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class _Answer:
    """What the SVM says of one kernel; None where a number does not exist."""

    test_error: float
    train_error: float
    margin: float | None
    gap: float | None
    n_support: int
    outcome: Outcome
    path: str


def _classify(
    K: Float[Tensor, "n n"],
    K_test: Float[Tensor, "m n"],
    problem: Problem,
    config: Config,
    name: str,
    warm_starts: WarmStarts,
    warnings: list[str],
) -> _Answer:
    if not (K.diagonal() > 0).any():
        # Of zero embeddings the only w is 0, so that every image is taken for class 0, as where f(x) = 0.
        warnings.append("the kernel is zero everywhere: the network is dead, and nothing was there to classify")
        wrong, wrong_train = (y.double().mean().item() for y in (problem.y_test, problem.y_train))
        outcome, path = Outcome.NOT_SEPARABLE_NOT_CONVERGED, "none: the kernel is zero everywhere"
        return _Answer(wrong, wrong_train, None, None, 0, outcome, path)
    svm = HardMarginSVM(config.svm).fit(K, problem.y_train, start=warm_starts.get(name))
    if svm.soft_certificate_ is None:  # a soft margin's support, most of the samples, would be a slow start
        warm_starts[name] = svm.support_
    warnings += numeric_warnings.of_svm(svm, config.svm.tol)
    return _Answer(
        test_error=(svm.predict(K_test) != problem.y_test).double().mean().item(),
        train_error=svm.train_error_,
        margin=_or_none(svm.margin_),
        gap=_or_none(svm.gap_),
        n_support=svm.n_support_,
        outcome=svm.outcome_,
        path=svm.path_,
    )


def _with_measures(kernel: KernelRecord, numbers: Numbers, context: Context) -> KernelRecord:
    """The record with what was measured, and how long that took."""
    own: dict[str, Any] = {name: value for name, value in numbers.items() if name in KERNEL_FIELDS}
    return replace(
        kernel,
        **own,
        measures={name: value for name, value in numbers.items() if name not in own},
        resources=replace(kernel.resources, wall_s_measures=context.kernels[kernel.kernel].wall_s),
    )


def _grams(phi: Embedding, problem: Problem, config: Config, tiles: Path | None, owner: str) -> Grams:
    """The Gram matrices; long ones by way of a store on disk, where the options allow it."""
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
