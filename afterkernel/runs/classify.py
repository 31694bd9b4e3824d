"""The columns of a record that hard-margin SVMs on a kernel give: one for two classes, one-vs-rest for several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from afterkernel.data import Problem
from afterkernel.records.answers import pack
from afterkernel.runs import numeric_warnings
from afterkernel.runs.warm_start import WarmStarts
from afterkernel.svm import Backend, HardMarginSVM
from afterkernel.svm.class_machines import fit_class_machines
from afterkernel.types import Bool, Float, Tensor


@dataclass(frozen=True)
class Classification:
    """The SVMs of one kernel: `numbers` are columns of its record, `warnings` what is doubtful about them."""

    numbers: dict[str, Any]
    warnings: list[str]


def classify(
    name: str,
    K: Float[Tensor, "n n"],
    K_test: Float[Tensor, "m n"],
    problem: Problem,
    backend: Backend,
    warm_starts: WarmStarts,
) -> Classification:
    """Classify by the kernel `name`, starting from its entries of `warm_starts`, which are updated."""
    if not (K.diagonal() > 0).any():
        return _of_zero_kernel(problem)
    if problem.classes:
        return _of_classes(name, K, K_test, problem, backend, warm_starts)
    svm = HardMarginSVM(backend).fit(K, problem.y_train, start=warm_starts.get(name))
    _remember(warm_starts, name, svm)
    numbers = {
        **_test_answers(svm.predict(K_test) != problem.y_test),
        "svm_train_error": svm.train_error_,
        "margin": _or_none(svm.margin_),
        "gap": _or_none(svm.gap_),
        "n_support": svm.n_support_,
        "separable": svm.outcome_.separable,
        "converged": svm.outcome_.converged,
        "svm_path": svm.path_,
    }
    warnings = numeric_warnings.of_svm(svm, backend.tol)
    if not svm.outcome_.separable:
        warnings += numeric_warnings.of_copies(K, problem.y_train)
    return Classification(numbers, warnings)


def _of_zero_kernel(problem: Problem) -> Classification:
    """Of zero embeddings the only w is 0, so that every image is classified as class 0, as where f(x) = 0."""
    numbers: dict[str, Any] = dict.fromkeys(("margin", "gap"))
    numbers |= {"n_support": 0, "separable": False, "converged": False}
    numbers |= {"svm_path": "none: the kernel is zero everywhere"}
    numbers |= {**_test_answers(problem.y_test != 0), "svm_train_error": (problem.y_train != 0).double().mean().item()}
    warning = "the kernel is zero everywhere: the network is dead, so there is nothing to classify"
    return Classification(numbers, [warning])


def _of_classes(
    name: str,
    K: Float[Tensor, "n n"],
    K_test: Float[Tensor, "m n"],
    problem: Problem,
    backend: Backend,
    warm_starts: WarmStarts,
) -> Classification:
    keys = [f"{name}/{label}" for label in range(problem.n_classes)]
    starts = {label: warm_starts[key] for label, key in enumerate(keys) if key in warm_starts}
    found = fit_class_machines(backend, K, problem.y_train, problem.n_classes, starts)
    by_warning: dict[str, list[str]] = {}
    for key, class_name, machine in zip(keys, problem.classes, found.machines, strict=True):
        _remember(warm_starts, key, machine)
        for warning in numeric_warnings.of_svm(machine, backend.tol):
            by_warning.setdefault(warning, []).append(class_name)
    numbers = {
        **_test_answers(found.predict(K_test) != problem.y_test),
        "svm_train_error": (found.predict(K) != problem.y_train).double().mean().item(),
        "margin": found.margin,
        "gap": found.gap,
        "n_support": len(found.support),
        "separable": found.separable,
        "converged": found.converged,
        "svm_path": found.path,
    }
    warnings = [f"{', '.join(names)} against the rest: {warning}" for warning, names in by_warning.items()]
    if not found.separable:
        warnings += numeric_warnings.of_copies(K, problem.y_train)
    return Classification(numbers, warnings)


def _test_answers(wrong: Bool[Tensor, " m"]) -> dict[str, Any]:
    return {"svm_test_error": wrong.double().mean().item(), "svm_test_wrong": pack(wrong)}


def _remember(warm_starts: WarmStarts, key: str, svm: HardMarginSVM) -> None:
    if svm.soft_certificate_ is None:  # a soft margin's support, most of the samples, would be a slow start
        warm_starts[key] = svm.support_


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
