"""Hard-margin SVMs for several classes that share one kernel matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.svm.backend import Backend
from afterkernel.svm.checks import check_kernel
from afterkernel.svm.estimator import HardMarginSVM
from afterkernel.svm.kernel_classifier import KernelClassifier
from afterkernel.types import Float, Int, Tensor


class OneVsRestSVM(KernelClassifier):
    """One `HardMarginSVM` per class, of that class against all others, on one kernel matrix.

    `backend` and its `options` are HardMarginSVM's. The class of a sample is that of the largest w_c.phi(x) + b_c
    (R. Rifkin and A. Klautau, "In defense of one-vs-all classification", JMLR 5, 2004). After `fit`:

    - `machines_`: the c machines, each with its margin, gap and certificate
    - `support_`: the samples that support any of them; `converged_`: whether all have
    - `train_error_`: the fraction of the training samples misclassified
    """

    _several_classes = True
    _fitted_attribute = "machines_"

    machines_: list[HardMarginSVM]
    support_: Int[Tensor, " k"]
    converged_: bool
    train_error_: float

    def __init__(self, backend: str | Backend = "exact", **options: Any) -> None:
        self._machine = HardMarginSVM(backend, **options)

    def fit(self, K: Tensor | np.ndarray, y: Tensor | np.ndarray) -> OneVsRestSVM:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) in {0, ..., c - 1}.

        Raises UserError for a K that is not a kernel matrix, and for labels that are not those of at least two classes.
        """
        K = check_kernel(K)
        labels = check_classes(y, K)
        self.machines_ = []
        K_fit, projection = self._machine.checked(K)
        supported = torch.zeros(len(K), dtype=torch.bool, device=K.device)
        for label in range(int(labels.max()) + 1):
            # no warm start: from the support vectors of the previous machines it took 1.5 times as long (10 classes)
            machine = HardMarginSVM(**self.get_params())
            machine.fit_checked(K_fit, projection, 2.0 * (labels == label).to(torch.float64) - 1)
            supported[machine.support_] = True
            self.machines_.append(machine)
        self.support_ = supported.nonzero().squeeze(1)
        self.converged_ = all(machine.converged_ for machine in self.machines_)
        self.train_error_ = float((self.predict(K) != labels).double().mean())
        return self

    def decision_function(self, K_test: Tensor | np.ndarray) -> Float[Tensor, "m c"]:
        """w_c.phi(x) + b_c, float64, for K_test (m, n) between test and training samples."""
        self._check_fitted()
        return torch.stack([machine.decision_function(K_test) for machine in self.machines_], 1)

    def predict(self, K_test: Tensor | np.ndarray) -> Int[Tensor, " m"]:
        """Classes in {0, ..., c - 1} for K_test (m, n)."""
        return self.decision_function(K_test).argmax(1)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, as far as they were given."""
        return self._machine.get_params(deep)


def check_classes(y: Tensor | np.ndarray, K: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """Labels {0, ..., c - 1}, each of which occurs, c > 1, as int64 on K's device, or UserError."""
    labels = torch.as_tensor(y)
    if labels.shape != K.shape[:1]:
        raise UserError(f"y has shape {tuple(labels.shape)}: K has {len(K)} samples, so y must have shape ({len(K)},).")
    found = torch.unique(labels).tolist()
    if len(found) < 2 or found != list(range(len(found))):
        raise UserError(
            f"y holds the labels {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}: "
            "labels must be 0, 1, ..., c - 1, each of at least one sample, c at least 2."
        )
    return labels.to(device=K.device, dtype=torch.int64)
