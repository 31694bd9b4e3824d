"""Kernel ridge regression on labels, with exact leave-one-out errors for a whole grid of ridges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from afterkernel.errors import UserError
from afterkernel.svm.definite import as_formed
from afterkernel.svm.eigen import eigendecomposition
from afterkernel.svm.kernel_classifier import ROWS_AT_ONCE, KernelExpansion, check_positive
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Tensor

RIDGES = tuple(10.0**power for power in range(-9, 3))
# Of the decision function where the labels are -1 and 1: much less than what separates the classes.
LARGEST_ERROR = 0.1


class KernelRidge(KernelExpansion):
    """Kernel ridge regression on y in {-1, +1}, no intercept: f = K a with (K + ridge max_i K_ii I) a = y.

    `ridges` are relative to the largest diagonal entry of K. One eigendecomposition serves all of them. With
    G = (K + ridge max_i K_ii I)^-1 and a = G y, the residual at i of the fit without sample i, at the same ridge, is
    y_i - f_-i(x_i) = a_i / G_ii. That is (y_i - f_i) / (1 - H_ii), H = K G, but no quotient of zeros at tiny ridges
    (G. Wahba, "Spline models for observational data", 1990, section 4.2). A `sample_weight` c in `fit` weights the
    squares, sum_i c_i (y_i - f_i)^2: the same for S K S and S y, S = diag(c)^1/2, with a = S G S y. After `fit`:

    - `loo_error_` (r,): fraction misclassified when left out; `loo_mse_` (r,): mean squared residual when left out
    - `train_error_` (r,): fraction misclassified in training; all three are means weighted by `sample_weight`
    - `ridge_`: the one of least leave-one-out error, of those the one of least mean squared residual; among those
      that are large enough for the precision of K (`rounding_errors`)
    - `dual_coef_` (n,): a at `ridge_`, float64

    Cost: the eigendecomposition, about 9 n^3 operations, and 6 n^2 r. Memory in addition to K, float64: the
    eigenvectors and twice their size while they are computed, and n r numbers (and K in float64, if it is not, or if
    there are weights). On K's device.
    """

    loo_error_: Float[Tensor, " r"]
    loo_mse_: Float[Tensor, " r"]
    train_error_: Float[Tensor, " r"]
    ridge_: float

    def __init__(self, ridges: Sequence[float] | np.ndarray = RIDGES) -> None:
        self.ridges = ridges

    def fit(self, K: Tensor | ArrayLike, y: Tensor | ArrayLike, sample_weight: Any = None) -> KernelRidge:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) of two classes.

        `sample_weight` (n,): weights of the squares, at least 0. Raises UserError for a K that is not a kernel matrix,
        for labels that are not those of two classes, for what are no weights, and where every ridge is too small for
        the precision of K.
        """
        ridges = torch.tensor(check_positive("ridges", self.ridges), dtype=torch.float64)
        data = self._training_data(K, y, sample_weight)
        matrix, signs = data.K, data.signs
        weights = torch.ones_like(signs) if data.weights is None else data.weights
        roots = weights.sqrt()[:, None]
        values, vectors = eigendecomposition(matrix, data.weights)
        ridges = ridges.to(matrix.device)
        inverse = 1 / (values[:, None] + ridges * matrix.diagonal().max())
        scaled = vectors @ ((vectors.T @ (roots * signs[:, None])) * inverse)
        # the diagonal of G, a few rows at a time, so that no further n x n exists
        diagonal = torch.cat([rows.square() @ inverse for rows in torch.split(vectors, ROWS_AT_ONCE)])
        # samples of weight 0 do not count in the means
        counted = roots.clamp_min(torch.finfo(torch.float64).tiny)
        residual = torch.where(roots > 0, scaled / diagonal / counted, 0.0)
        fitted = signs[:, None] - torch.where(roots > 0, ridges * matrix.diagonal().max() * scaled / counted, 0.0)
        dual = roots * scaled
        self.loo_mse_ = _mean(residual.square(), weights)
        self.loo_error_ = _error(signs[:, None] - residual, signs, weights)
        self.train_error_ = _error(fitted, signs, weights)
        rounding = rounding_errors(matrix, dual)
        if float(rounding.min()) > LARGEST_ERROR:
            raise _refusal(float(ridges[rounding.argmin()]), float(rounding.min()))
        error = torch.where(rounding <= LARGEST_ERROR, self.loo_error_, torch.inf)
        least = (error == error.min()).nonzero().squeeze(1)
        chosen = int(least[self.loo_mse_[least].argmin()])
        self.ridge_ = float(ridges[chosen])
        self.dual_coef_ = dual[:, chosen].clone()
        return self._fitted(K)


def rounding_errors(K: Float[Tensor, "n n"], dual: Float[Tensor, "n r"]) -> Float[Tensor, " r"]:
    """How far the precision of K leaves f open, for the solutions a in the columns of `dual`.

    Independent errors of eps |phi_i| |phi_j| in the entries of K and K_test move f by about
    eps |phi| (sum_j a_j^2 |phi_j|^2)^1/2, with eps from `afterkernel.svm.signed_gram.PRECISION`. Residuals on K
    itself do not show it.
    """
    lengths = K.diagonal().to(torch.float64).sqrt()
    sizes: Tensor = (lengths[:, None] * dual).norm(dim=0)
    return PRECISION[as_formed(K).dtype] * lengths.max() * sizes


def _refusal(ridge: float, error: float) -> UserError:
    return UserError(
        f"ridges holds {ridge:g}, at which the precision of K leaves the decision function open by about {error:.1e}, "
        f"where {LARGEST_ERROR:g} is allowed: add a larger ridge, or compute K in float64."
    )


def _mean(values: Float[Tensor, "n r"], weights: Float[Tensor, " n"]) -> Float[Tensor, " r"]:
    return (values * weights[:, None]).sum(0) / weights.sum()


def _error(f: Float[Tensor, "n r"], signs: Float[Tensor, " n"], weights: Float[Tensor, " n"]) -> Float[Tensor, " r"]:
    return _mean(((f > 0) != (signs > 0)[:, None]).double(), weights)
