"""The record of one snapshot: what was trained, the results of each kernel, and their origin.

A record is plain data (numbers, strings, lists), versioned by `SCHEMA_VERSION`. Two runs with the same options and seed
on one machine have equal records, except for times and memory (`Resources`, `wall_s_train`) and provenance (`commit`,
`device`, `config_sha256`, `config`, `provenance`).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from annotated_types import Interval

SCHEMA_VERSION = 3
# The section of `config` that only `afterkernel.Recorder` writes.
RECORDED = "recorder"
Int64 = Annotated[int, Interval(ge=-(2**63), lt=2**63)]
# How pydantic reads the fields: no conversions between types, finite numbers only, unknown keys ignored.
_PYDANTIC = {"strict": True, "allow_inf_nan": False, "extra": "ignore"}


SHARE, COSINE, SECONDS = "share in [0, 1]", "mean cosine in [-1, 1]", "s"
_REQUIRED: Any = dataclasses.MISSING


def column(title: str, topic: str, *, measured: bool = False, default: Any = _REQUIRED, **shown: Any) -> Any:
    """A field of the record with its title, its topic (a key of `glossary.TOPICS`) and what else a `glossary.Term` has.

    Storage, columns of the results, docs, reports, W&B and dashboards are derived from this declaration. A field with a
    default is optional: records written before it was added read as that default.
    """
    metadata = {"measured": measured, "term": {"title": title, "topic": topic, **shown}}
    if callable(default):
        return dataclasses.field(metadata=metadata, default_factory=default)
    return dataclasses.field(metadata=metadata, default=default)


def measured(title: str, topic: str, **shown: Any) -> Any:
    """A column for the number of this name of a measure; None if it was not measured or does not exist."""
    return column(title, topic, measured=True, default=None, **shown)


def required() -> Any:
    """A required field that is not a column by itself."""
    return dataclasses.field()


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one kernel of one snapshot cost. Times in seconds, memory in bytes (peak of the process so far)."""

    __pydantic_config__ = _PYDANTIC
    wall_s_kernel: float = column("time of the Gram matrices", "cost", unit=SECONDS)
    wall_s_svm: float = column("time of the SVM", "cost", unit=SECONDS)
    wall_s_measures: float = column("time of the measures", "cost", unit=SECONDS)
    peak_bytes: Int64 = column("peak memory of the process so far, or of the GPU", "cost", unit="bytes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """The results of one kernel of one snapshot; `None` for a number that does not exist.

    `kernel` is its name, such as "ntk". `margin` is that of the normalised embedding; it is `None` where the training
    data are not separable. `gap` is the relative duality gap, certified outside the solver. Of several classes there is
    one SVM for each against the rest, and `margin` and `gap` are `None` where any has none. The invariances are mean
    cosines in [-1, 1]. `effective_rank` is `None` where K is zero. `kernel_error` is the largest difference of a
    sample of the Gram matrix from the same gradients multiplied in float64, relative to its largest entry (from exact
    gradients for tf32, tf32x3 and bf16). `approximation_error` is `None` for exact kernels. The columns after it are
    measured on a sample (docs/definitions.md) and `None` if not measured. `measures` holds, by name, numbers whose
    names depend on kernels, options or plugins: alignments, eigenvalues, other strengths of a transform, single layers.
    `warnings` lists numerical problems in sentences.
    """

    __pydantic_config__ = _PYDANTIC
    kernel: str = column(
        "name of the kernel, such as ntk (NTK at epoch 0, after kernel later) or conjugate (CK)", "run"
    )
    svm_backend: str = column("solver of the SVM", "run")
    svm_intercept: bool = column("whether the SVM has an intercept", "svm", unit="0 or 1")
    svm_test_error: float = column(
        "test error of the hard-margin SVM on the kernel; of several classes by the largest one-vs-rest value",
        "error",
        unit=SHARE,
        label="SVM test error",
        headline=True,
        definition="the share of test images that the hard-margin SVM on the kernel misclassifies",
    )
    svm_train_error: float = column("training error of the SVM", "svm", unit=SHARE)
    margin: float | None = column(
        "margin of the SVM on the normalised embedding; the smallest over classes",
        "svm",
        label="SVM margin",
        definition="the distance of the nearest training image from the boundary, in the normalised embedding",
    )
    gap: float | None = column(
        "relative duality gap of the SVM, certified outside the solver; the largest over classes", "svm", log=True
    )
    n_support: Int64 = column("support vectors; of several classes those of any class", "svm", unit="images")
    separable: bool | None = column(
        "whether the training data are separable; of several classes each from the rest", "svm", unit="0 or 1"
    )
    converged: bool = column("whether the gap is within svm.tol; of several classes that of each", "svm", unit="0 or 1")
    svm_path: str = column("how the SVM was solved", "note")
    embedding_norm: float = column("what the embedding is divided by: 1e-4 + its mean norm on the training set", "svm")
    shift_invariance: float | None = measured(
        "invariance under a shift",
        "invariance",
        unit=COSINE,
        label="shift invariance",
        headline=True,
        definition="the mean cosine between the embeddings of an image and of the image shifted by few pixels",
    )
    rotation_invariance: float | None = measured(
        "invariance under a rotation",
        "invariance",
        unit=COSINE,
        label="rotation invariance",
        headline=True,
        definition="the mean cosine between the embeddings of an image and of the image rotated by a small angle",
    )
    zoom_invariance: float | None = measured(
        "invariance under a zoom",
        "invariance",
        unit=COSINE,
        label="zoom invariance",
        headline=True,
        definition="the mean cosine between the embeddings of an image and of its centre, cropped and resized",
    )
    swap_invariance: float | None = measured(
        "invariance under a swap of two quadrants; lower is more global",
        "invariance",
        unit=COSINE,
        label="swap invariance (lower = more global)",
        headline=True,
        definition="the mean cosine between the embeddings of an image and of the image with its upper-left "
        "and lower-right quadrants exchanged",
    )
    effective_rank: float | None = measured(
        "effective rank: trace / largest eigenvalue",
        "spectrum",
        label="effective rank",
        headline=True,
        definition="the trace of the kernel matrix divided by its largest eigenvalue",
    )
    resources: Resources = required()
    kernel_error: float | None = column(
        "largest rounding error in products of sampled entries, relative to the largest entry; blind to ReLU switches",
        "svm",
        default=None,
    )
    approximation_error: float | None = column(
        "root mean square error of an entry of an estimated kernel (sketch), relative to the embeddings' lengths",
        "svm",
        default=None,
    )
    target_alignment: float | None = measured(
        "alignment with the labels",
        "alignment",
        label="alignment with the labels",
        definition="the cosine between the kernel matrix and that of the labels, yy' for y = 1 and -1",
    )
    target_cka: float | None = measured(
        "CKA with the labels",
        "alignment",
        label="CKA with the labels",
        definition="the same cosine after both matrices are centred",
    )
    distance_to_initial: float | None = measured(
        "distance to the same kernel at epoch 0: 1 - alignment",
        "distance",
        label="distance to initialisation",
        definition="1 minus the cosine between the kernel matrix and that of the same kernel at epoch 0",
    )
    kernel_velocity: float | None = measured(
        "distance to the previous snapshot, per epoch",
        "distance",
        unit="1 / epoch",
        label="velocity (distance per epoch)",
        definition="1 minus the cosine between the kernel matrix and that of the snapshot before, per epoch "
        "between them",
    )
    ridge_test_error: float | None = measured(
        "test error of kernel ridge regression on the sample",
        "error",
        unit=SHARE,
        label="kernel ridge test error",
        definition="the share of test images that kernel ridge regression, trained on a sample, misclassifies",
    )
    ridge_loo_error: float | None = measured(
        "leave-one-out error of kernel ridge regression on the sample",
        "error",
        unit=SHARE,
        label="kernel ridge leave-one-out error",
        definition="the share of the sample that kernel ridge regression misclassifies where it is "
        "trained without that image",
    )
    ridge: float | None = measured(
        "ridge of least leave-one-out error, relative to the largest diagonal entry", "error"
    )
    decay_exponent: float | None = measured(
        "decay exponent of the eigenvalues",
        "spectrum",
        label="decay exponent",
        definition="a, where the eigenvalue of rank r falls as r to the power of -a",
    )
    kernel_output: str = column(
        "outputs that the kernel is of, for several classes: trace, sum or a number; empty for two classes, and for "
        "kernels that do not depend on it",
        "run",
        default="",
    )
    kernel_dtype: str = column(
        "precision of the kernel's products, as kernel.dtype: float32, float64, tf32, tf32x3 or bf16; empty in older "
        "records, whose configuration has it",
        "run",
        default="",
    )
    svm_test_wrong: str = column(
        "which test images the SVM answers wrongly, in the order of the test set: base64 of one bit per image; empty "
        "in older records",
        "note",
        default="",
    )
    warnings: tuple[str, ...] = column("what is numerically doubtful", "note", default=())
    measures: dict[str, float | None] = column(
        "numbers that depend on options, by name, as JSON: the rows below", "note", default=dict
    )


# The columns that measures fill; their other numbers go to `measures`.
MEASURED = frozenset(field.name for field in dataclasses.fields(KernelRecord) if field.metadata.get("measured"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One snapshot of one run, evaluated. Step 0 is the initialisation, so its NTK is the NTK, later ones AKs.

    Only a configured run has a `width`, a `learning_rate` and an `epoch` for certain: a training recorded by
    `afterkernel.Recorder` has those that it was given, and its `config` holds what its id is a hash of.
    `wall_s_train` is the time in seconds spent training up to the snapshot. `config` is the resolved
    configuration as plain data, and `config_sha256` the hash of the part of it that decides numbers; `commit` is the
    package's (None outside a checkout), `device` is in words; `provenance` names versions, hashes of data and
    weights, and the command. Names of hosts and users are not recorded.
    """

    __pydantic_config__ = _PYDANTIC
    run_id: str = column("id of the run: what decides its numbers, hashed", "run")
    evaluation_id: str = column("id of the evaluation: options of kernel, SVM and measures, hashed", "run")
    sweep: str = column("name of the sweep", "run")
    dataset: str = column("data set", "run")
    minus: str = column("class of label 0; empty for several classes", "run")
    plus: str = column("class of label 1; empty for several classes", "run")
    n_train: Int64 = column("training images", "run", unit="images")
    n_test: Int64 = column("test images", "run", unit="images")
    arch: str = column("architecture; of a training recorded by Recorder the name that it was given", "run")
    width: Int64 | None = column("width of the network", "run", label="width", default=None)
    parameters: Int64 = column("trainable parameters", "run", label="parameters")
    learning_rate: float | None = column("learning rate, at the first step", "run", default=None)
    seed: Int64 = column("seed of initialisation, order of images, augmentation and label noise", "run")
    epoch: float | None = column(
        "epochs of training up to the snapshot; 0 is the initialisation",
        "run",
        unit="epochs",
        label="last epoch",
        default=None,
    )
    step: Int64 = column("steps of the optimiser up to the snapshot", "network", unit="steps", label="steps")
    final: bool = column("whether the snapshot ends the run", "run")
    train_loss: float = column(
        "cross-entropy on the training set", "network", unit="nats", label="training loss", log=True
    )
    net_train_error: float = column(
        "training error of the network itself", "network", unit=SHARE, label="training error"
    )
    net_test_error: float = column("test error of the network itself", "network", unit=SHARE, label="test error")
    wall_s_train: float = column("time of training up to the snapshot", "cost", unit=SECONDS)
    config_sha256: str = column("SHA-256 of the options that decide numbers; run_id ends in its first digits", "run")
    commit: str | None = column("commit of afterkernel", "run")
    device: str = column("what computed it", "run")
    kernels: tuple[KernelRecord, ...] = required()
    config: dict[str, Any] = required()
    provenance: dict[str, Any] = required()
    classes: tuple[str, ...] = column(
        "several classes, in the order of their labels 0, 1, ...; empty for the two classes minus and plus",
        "run",
        default=(),
    )
    net_test_wrong: str = column(
        "which test images the network itself answers wrongly, as svm_test_wrong", "note", default=""
    )
    training_end: str = column(
        "how training ended, at the last snapshot: epochs, steps, loss_target or diverged; else empty",
        "run",
        default="",
    )
    schema_version: Int64 = column("version of the record", "run", default=SCHEMA_VERSION)


def is_configured(record: Record) -> bool:
    """Whether a configuration made the record; else it is of a training loop of the user's, which Recorder recorded."""
    return RECORDED not in record.config
