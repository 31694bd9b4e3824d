"""The record of one snapshot: what was trained, what each of its kernels gave, and where that came from.

A record is plain data (numbers, strings, lists), versioned by `SCHEMA_VERSION`. What decides numbers is in
`Record` and `KernelRecord`. What varies from run to run on one machine are times and memory (`Resources` and
`wall_s_train`) and provenance (`commit`, `device`, `config_sha256`, `config`, `provenance`): two runs with one seed
have equal records but for these.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from annotated_types import Interval

SCHEMA_VERSION = 3
Int64 = Annotated[int, Interval(ge=-(2**63), lt=2**63)]
# How pydantic reads the fields: no conversions between types, finite numbers only, unknown keys ignored.
_PYDANTIC = {"strict": True, "allow_inf_nan": False, "extra": "ignore"}


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one kernel of one snapshot cost. Times in seconds, memory in bytes (peak of the process so far)."""

    __pydantic_config__ = _PYDANTIC
    wall_s_kernel: float
    wall_s_svm: float
    wall_s_measures: float
    peak_bytes: Int64


@dataclasses.dataclass(frozen=True)
class KernelRecord:
    """What one kernel of one snapshot gave; `None` where a number does not exist.

    `kernel` is "ntk" or "conjugate". `margin` is that of the normalised embedding; it is `None` where the training
    data are not separable. `gap` is the relative duality gap, certified outside the solver. The invariances are
    mean cosines in [-1, 1]. `effective_rank` is `None` where K is zero. `kernel_error` is the largest difference of a
    sample of the Gram matrix from the same gradients multiplied in float64, relative to its largest entry (from exact
    gradients for tf32 and bf16). What follows it is measured on a sample (docs/definitions.md); `None` also where it
    was not asked for. `measures` holds by name what depends on options: eigenvalues, other strengths of a transform,
    single layers. `warnings` says in sentences what is numerically doubtful about these numbers.
    """

    __pydantic_config__ = _PYDANTIC
    kernel: str
    svm_backend: str
    svm_intercept: bool
    svm_test_error: float
    svm_train_error: float
    margin: float | None
    gap: float | None
    n_support: Int64
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
    alignment_with_ntk: float | None = None
    alignment_with_conjugate: float | None = None
    alignment_with_initial_ntk: float | None = None
    alignment_with_initial_conjugate: float | None = None
    cka_with_ntk: float | None = None
    cka_with_conjugate: float | None = None
    cka_with_initial_ntk: float | None = None
    cka_with_initial_conjugate: float | None = None
    target_alignment: float | None = None
    target_cka: float | None = None
    distance_to_initial: float | None = None
    kernel_velocity: float | None = None
    ridge_test_error: float | None = None
    ridge_loo_error: float | None = None
    ridge: float | None = None
    decay_exponent: float | None = None
    warnings: tuple[str, ...] = ()
    measures: dict[str, float | None] = dataclasses.field(default_factory=dict)


KERNEL_FIELDS = frozenset(field.name for field in dataclasses.fields(KernelRecord))


@dataclasses.dataclass(frozen=True)
class Record:
    """One snapshot of one run, evaluated. Epoch 0 is the initialisation, so its NTK is the NTK, later ones AKs.

    `wall_s_train` is the time in seconds spent training up to the snapshot. `config` is the resolved
    configuration as plain data, and `config_sha256` the hash of the part of it that decides numbers; `commit` is the
    package's (None outside a checkout), `device` is in words; `provenance` names versions, hashes of data and
    weights, and the command. Names of hosts and users are not recorded.
    """

    __pydantic_config__ = _PYDANTIC
    run_id: str
    evaluation_id: str
    sweep: str
    dataset: str
    minus: str
    plus: str
    n_train: Int64
    n_test: Int64
    arch: str
    width: Int64
    parameters: Int64
    learning_rate: float
    seed: Int64
    epoch: Int64
    step: Int64
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
    schema_version: Int64 = SCHEMA_VERSION
