"""The estimator interface of scikit-learn for classifiers on precomputed kernels, without importing scikit-learn."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.svm.checks import check_test_kernel
from afterkernel.types import Float, Int, Tensor

ROWS_AT_ONCE = 512

Estimator = TypeVar("Estimator", bound="KernelClassifier")


class KernelClassifier:
    """A classifier of scikit-learn's kind whose X is a kernel: K (n, n) in `fit`, K_test (m, n) afterwards.

    `clone`, `cross_val_score`, `GridSearchCV` and pipelines accept it, and split rows and columns of K together. A
    subclass checks the arguments of its constructor, stores them, and defines `fit` and `decision_function`.
    """

    _several_classes = False
    _fitted_attribute = "dual_coef_"

    def decision_function(self, K_test: Tensor | np.ndarray) -> Float[Tensor, "m ..."]:
        """Real values for K_test (m, n)."""
        raise TypeError(f"{type(self).__name__} does not define decision_function")

    def predict(self, K_test: Tensor | np.ndarray) -> Int[Tensor, " m"]:
        """Classes in {0, 1} for K_test (m, n)."""
        return (self.decision_function(K_test) > 0).to(torch.int64)

    def score(self, K_test: Tensor | np.ndarray, y: Tensor | np.ndarray) -> float:
        """The fraction of the m test samples whose class `predict` gets right; y is (m,)."""
        predicted, labels = self.predict(K_test).cpu(), torch.as_tensor(y).cpu()
        if labels.shape != predicted.shape:
            raise UserError(
                f"y has shape {tuple(labels.shape)}: K_test has {len(predicted)} rows, so y must have as many."
            )
        return float((predicted == labels).double().mean())

    @property
    def classes_(self) -> np.ndarray:
        """The classes, known after `fit`."""
        if not hasattr(self, self._fitted_attribute):
            raise AttributeError(f"{type(self).__name__} is not fitted: classes_ exists after fit(K, y)")
        return np.arange(len(getattr(self, self._fitted_attribute)) if self._several_classes else 2)

    def _check_fitted(self) -> None:
        if not hasattr(self, self._fitted_attribute):
            raise UserError(f"{type(self).__name__} is not fitted: call fit(K, y) first.")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {
            name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"
        }

    def set_params(self: Estimator, **params: Any) -> Estimator:
        """Change arguments of the constructor, which checks them; UserError for one that it does not have."""
        accepted = inspect.signature(type(self)).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
            for name in params:
                if name not in self.get_params():
                    known = ", ".join(self.get_params())
                    raise UserError(f"{name} is not a parameter of {type(self).__name__}: choose from {known}.")
        type(self).__init__(self, **{**self.get_params(), **params})
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_tags__(self) -> Any:
        # only scikit-learn calls this, so it is installed
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=self._several_classes),
            input_tags=InputTags(pairwise=True),
        )


class KernelExpansion(KernelClassifier):
    """A binary classifier f(x) = sum_i dual_coef_i K(x, x_i) + intercept."""

    dual_coef_: Float[Tensor, " n"]
    intercept_: float = 0.0

    def _expansion(self) -> tuple[Float[Tensor, "k ..."], Int[Tensor, " k"] | None]:
        """The coefficients (k,), or parts (k, p) whose sums they are, and the k samples (None: all)."""
        return self.dual_coef_, None

    def decision_function(self, K_test: Tensor | np.ndarray) -> Float[Tensor, " m"]:
        """f, float64, for K_test (m, n) between test and training samples; above 0 is class 1."""
        self._check_fitted()
        K_test = check_test_kernel(K_test, len(self.dual_coef_))
        coef, samples = self._expansion()
        coef, samples = coef.to(K_test.device), None if samples is None else samples.to(K_test.device)
        chunks = []
        for rows in torch.split(K_test, ROWS_AT_ONCE):
            chosen = rows if samples is None else rows.index_select(1, samples)
            chunks.append(chosen.to(torch.float64) @ coef)
        values = torch.cat(chunks)
        values = (values if values.ndim == 1 else values.sum(1)) + self.intercept_
        if not bool(torch.isfinite(values).all()):
            raise UserError("K_test holds NaN or infinity: every entry must be finite.")
        return values


def check_positive(name: str, values: Iterable[float]) -> list[float]:
    """The numbers of the argument `name` as floats, or UserError if they are none, not finite or not above 0."""
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        raise UserError(f"{name}={values!r} is not a list of numbers: it must hold numbers greater than 0.") from None
    if not found:
        raise UserError(f"{name} is empty: it must hold at least one number greater than 0.")
    for value in found:
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} holds {value:g}: every one must be a finite number greater than 0.")
    return found
