"""Hard-margin SVMs for several classes that share one kernel matrix."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike

from afterkernel.svm.estimator import HardMarginSVM, WithBackend, checked, fit_signs, make_backend, weakest
from afterkernel.types import Float, Int, Tensor


class OneVsRestSVM(WithBackend):
    """One `HardMarginSVM` per class, of that class against all others, on one kernel matrix.

    `backend` and its `options` are HardMarginSVM's. The class of a sample is that of the largest w_c.phi(x) + b_c
    (R. Rifkin and A. Klautau, "In defense of one-vs-all classification", JMLR 5, 2004). After `fit`:

    - `margin_`: the smallest margin of a class; nan where a class has none
    - `gap_`: the largest relative duality gap of a class; nan where a class has no hard margin
    - `machines_`: the fitted `HardMarginSVM` of each class against the rest, in the order of `classes_`, each with its
      own `margin_`, `gap_` and certificate; for two classes the second's alone
    - `support_`: the samples that support any of them; `converged_`: whether all have
    - `train_error_`: the fraction of the training samples misclassified
    """

    _several_classes = True

    machines_: list[HardMarginSVM]
    margin_: float
    gap_: float
    support_: Int[Tensor, " k"]
    converged_: bool
    train_error_: float

    def fit(self, K: Tensor | ArrayLike, y: Tensor | ArrayLike, **fit_params: Any) -> OneVsRestSVM:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) of at least two classes.

        Raises UserError for options that the backend does not have, for a K that is not a kernel matrix, for labels of
        a single class, and for a `sample_weight`.
        """
        self._refuse(fit_params)
        self.backend_ = make_backend(self.backend, **self._options)
        data = self._training_data(K, y)
        matrix, codes = data.K, data.codes
        K_fit, projection = checked(matrix, self.backend_)
        self.machines_ = []
        supported = torch.zeros(len(matrix), dtype=torch.bool, device=matrix.device)
        for label in range(1 if len(self.classes_) == 2 else 0, len(self.classes_)):
            # no warm start: from the support vectors of the previous machines it took 1.5 times as long (10 classes)
            machine = fit_signs(self.backend_, K_fit, projection, 2.0 * (codes == label).to(torch.float64) - 1)
            supported[machine.support_] = True
            self.machines_.append(machine._fitted(K))
        self.support_ = supported.nonzero().squeeze(1)
        self.margin_, self.gap_ = weakest(self.machines_)
        self.converged_ = all(machine.converged_ for machine in self.machines_)
        f = self._decisions(matrix)
        found = (f > 0).to(torch.int64) if f.ndim == 1 else f.argmax(1)
        self.train_error_ = float((found != codes).double().mean())
        return self._fitted(K)

    def _decisions(self, K_test: Float[Tensor, "m n"]) -> Float[Tensor, "m ..."]:
        values = [machine._decisions(K_test) for machine in self.machines_]
        return values[0] if len(values) == 1 else torch.stack(values, 1)
