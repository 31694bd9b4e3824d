"""The hard-margin SVMs of several classes, each against the rest, on one kernel matrix: what a run records of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from afterkernel.svm.backend import Backend
from afterkernel.svm.checks import check_kernel, check_start
from afterkernel.svm.estimator import HardMarginSVM, checked, fit_signs, weakest
from afterkernel.svm.threads import one_thread
from afterkernel.types import Float, Int, Tensor


@dataclass(frozen=True)
class ClassMachines:
    """One fitted `HardMarginSVM` for each class against the rest, in the order of the labels 0, ..., c - 1.

    The class of a sample is that of the largest decision value, of equal ones the first. The numbers of all together:
    `margin` is the smallest and `gap` the largest over classes, None where a class has none; `support` holds the
    samples that support any class; `separable` is True where every class is, False where one is not, else None;
    `converged` whether all have; `path` how each was solved.
    """

    machines: Sequence[HardMarginSVM]

    def predict(self, K_test: Float[Tensor, "m n"]) -> Int[Tensor, " m"]:
        """Labels for a kernel between test and training samples."""
        return torch.stack([machine.decision_function(K_test) for machine in self.machines], 1).argmax(1)

    @property
    def margin(self) -> float | None:
        """The smallest margin."""
        found = weakest(self.machines)[0]
        return found if math.isfinite(found) else None

    @property
    def gap(self) -> float | None:
        """The largest relative duality gap."""
        found = weakest(self.machines)[1]
        return found if math.isfinite(found) else None

    @property
    def support(self) -> Int[Tensor, " k"]:
        """The union of the supports, ascending."""
        found: Tensor = torch.unique(torch.cat([machine.support_ for machine in self.machines]))
        return found

    @property
    def separable(self) -> bool | None:
        """Whether each class is separable from the rest."""
        found = [machine.separable_ for machine in self.machines]
        return False if False in found else None if None in found else True

    @property
    def converged(self) -> bool:
        """Whether each machine has converged."""
        return all(machine.converged_ for machine in self.machines)

    @property
    def path(self) -> str:
        """How each class was solved; the same method is named once."""
        by_path: dict[str, list[str]] = {}
        for label, machine in enumerate(self.machines):
            by_path.setdefault(machine.path_, []).append(str(label))
        return "; ".join(f"{','.join(labels)} against the rest: {path}" for path, labels in by_path.items())


@one_thread()
def fit_class_machines(
    backend: Backend,
    K: Float[Tensor, "n n"],
    labels: Int[Tensor, " n"],
    n_classes: int,
    starts: Mapping[int, Int[Tensor, " _"]] | None = None,
) -> ClassMachines:
    """Fit one SVM for each of the labels 0, ..., n_classes - 1, each of which must occur; K is checked once.

    `starts` are samples likely to be the support, by label. Raises UserError for a K that is not a kernel matrix.
    """
    K = check_kernel(K)
    K_fit, projection = checked(K, backend)
    machines = []
    for label in range(n_classes):
        start = (starts or {}).get(label)
        signs = 2 * (labels == label).to(torch.float64) - 1
        machines.append(fit_signs(backend, K_fit, projection, signs, None if start is None else check_start(start, K)))
    return ClassMachines(machines)
