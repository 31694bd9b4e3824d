"""The minimum-norm interpolator of the labels."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import ArrayLike

from afterkernel.svm.definite import as_formed
from afterkernel.svm.eigen import eigendecomposition
from afterkernel.svm.kernel_classifier import KernelExpansion, check_number
from afterkernel.types import Tensor


class MinimumNormInterpolator(KernelExpansion):
    """The w of least norm with w.phi(x_i) = y_i, y in {-1, +1}: f = K a with a = K^+ y, K^+ the pseudo-inverse.

    It is the limit of kernel ridge regression at ridge 0, and of gradient descent on the squared loss from w = 0.
    Eigenvalues at most `cutoff` times the largest count as 0; None for n times the machine epsilon, as in
    numpy.linalg.matrix_rank, of float32 also where K holds float32 numbers as float64. Where K is singular and y not
    in its range there is no interpolator: then f is the least squares fit within that range, and `interpolates_` is
    False. After `fit`:

    - `rank_`: the number of eigenvalues used; `residual_`: max_i |f_i - y_i|, computed from K and a
    - `interpolates_`: whether `residual_` is at most `tol`; `norm_`: |w|; `train_error_`: a fraction
    - `dual_coef_` (n,): a, float64

    Cost: one eigendecomposition, about 9 n^3 operations. Memory in addition to K, float64: the eigenvectors, and
    twice their size while they are computed (and K in float64, if it is not). On K's device.
    """

    _no_weights = "an interpolator fits every label exactly, whatever the weights"

    rank_: int
    residual_: float
    interpolates_: bool
    norm_: float
    train_error_: float

    def __init__(self, cutoff: float | None = None, tol: float = 1e-6) -> None:
        self.cutoff, self.tol = cutoff, tol

    def fit(self, K: Tensor | ArrayLike, y: Tensor | ArrayLike, **fit_params: Any) -> MinimumNormInterpolator:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) of two classes.

        Raises UserError for a K that is not a kernel matrix, for labels that are not those of two classes, and for a
        `sample_weight`.
        """
        self._refuse(fit_params)
        if self.cutoff is not None:
            check_number("cutoff", self.cutoff, "at least 0 and below 1, or None", least=0, below=1)
        check_number("tol", self.tol, "a finite number greater than 0", least=math.ulp(0))
        data = self._training_data(K, y)
        matrix, signs = data.K, data.signs
        values, vectors = eigendecomposition(matrix)
        cutoff = len(matrix) * torch.finfo(as_formed(matrix).dtype).eps if self.cutoff is None else self.cutoff
        kept = values > cutoff * values[-1]
        inverse = torch.where(kept, 1 / values.clamp_min(float(values[-1]) * cutoff), 0.0)
        self.dual_coef_ = vectors @ (inverse * (vectors.T @ signs))
        self.rank_ = int(kept.sum())
        f = self._decisions(matrix)
        self.residual_ = float((f - signs).abs().max())
        self.interpolates_ = self.residual_ <= self.tol
        self.norm_ = math.sqrt(max(float(self.dual_coef_ @ f), 0.0))
        self.train_error_ = float(((f > 0) != (signs > 0)).double().mean())
        return self._fitted(K)
