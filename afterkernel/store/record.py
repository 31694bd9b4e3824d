"""The record of one snapshot: what was trained, what each of its kernels gave, and where that came from.

A record is plain data (numbers, strings, lists), versioned by `SCHEMA_VERSION`. What decides numbers stands in
`Record` and `KernelRecord`. What varies from run to run on one machine are times and memory (`Resources` and
`wall_s_train`) and provenance (`commit`, `device`, `config_sha256`, `config`, `provenance`): two runs with one seed
have equal records but for these.
"""

from __future__ import annotations

import dataclasses
from typing import Any

SCHEMA_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one kernel of one snapshot cost. Times in seconds, memory in bytes (peak of the process so far)."""

    wall_s_kernel: float
    wall_s_svm: float
    wall_s_measures: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class KernelRecord:
    """What one kernel of one snapshot gave; `None` where a number does not exist.

    `kernel` is "ntk" or "conjugate". `margin` is that of the normalised embedding; it is `None` where the training
    data are not separable. `gap` is the relative duality gap, certified outside the solver. The invariances are
    mean cosines in [-1, 1]. `effective_rank` is `None` where K is zero. `kernel_error` is the largest difference of a
    sample of the Gram matrix from the same gradients multiplied in float64, relative to its largest entry (from exact
    gradients for tf32 and bf16). `warnings` says in sentences what is numerically doubtful about these numbers.
    """

    kernel: str
    svm_backend: str
    svm_intercept: bool
    svm_test_error: float
    svm_train_error: float
    margin: float | None
    gap: float | None
    n_support: int
    separable: bool | None
    converged: bool
    svm_path: str
    embedding_norm: float
    shift_invariance: float | None
    rotation_invariance: float | None
    zoom_invariance: float | None
    swap_invariance: float | None
    effective_rank: float | None
    resources: Resources
    kernel_error: float | None = None
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Record:
    """One snapshot of one run, evaluated. Epoch 0 is the initialisation, so its NTK is the NTK, later ones AKs.

    `wall_s_train` is the time in seconds spent training up to the snapshot. `config` is the resolved
    configuration as plain data, and `config_sha256` the hash of the part of it that decides numbers; `commit` is the
    package's (None outside a checkout), `device` is in words; `provenance` names versions, hashes of data and
    weights, and the command. Names of hosts and users are not recorded.
    """

    run_id: str
    evaluation_id: str
    sweep: str
    dataset: str
    minus: str
    plus: str
    n_train: int
    n_test: int
    arch: str
    width: int
    parameters: int
    learning_rate: float
    seed: int
    epoch: int
    step: int
    final: bool
    train_loss: float
    net_train_error: float
    net_test_error: float
    wall_s_train: float
    config_sha256: str
    commit: str | None
    device: str
    kernels: tuple[KernelRecord, ...]
    config: dict[str, Any]
    provenance: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
