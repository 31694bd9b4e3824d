"""The estimator interface of scikit-learn for classifiers on precomputed kernels.

Tensors need no scikit-learn; every other input goes through its validation, which is imported on first use.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from afterkernel.errors import UserError
from afterkernel.svm.checks import check_kernel
from afterkernel.svm.inputs import check_classes, kernel_of, labels_of, like, not_fitted, weights_of
from afterkernel.types import Float, Int, Tensor

ROWS_AT_ONCE = 512

Estimator = TypeVar("Estimator", bound="KernelClassifier")


@dataclass(frozen=True)
class TrainingData:
    """A checked kernel matrix, the index of each sample's class, and the weights of the samples, if any."""

    K: Float[Tensor, "n n"]
    codes: Int[Tensor, " n"]
    weights: Float[Tensor, " n"] | None

    @property
    def signs(self) -> Float[Tensor, " n"]:
        """-1 for the first class, +1 for the second."""
        return self.codes.to(torch.float64) * 2 - 1


class KernelClassifier:
    """A classifier of scikit-learn's kind whose X is a kernel: K (n, n) in `fit`, K_test (m, n) afterwards.

    `clone`, `cross_val_score`, `GridSearchCV` and pipelines accept it, and split rows and columns of K together. Labels
    are any classes: numbers, strings or objects; after `fit` `classes_` holds them, sorted, as an array. Results of a
    tensor are tensors on its device, those of anything else are arrays; so are the fitted attributes, by the K of
    `fit`. Names of classes that are not numbers are always an array.

    A subclass stores the arguments of its constructor unchanged, checks them in `fit`, which starts with
    `_training_data` and ends with `_fitted`, and defines `_decisions`.
    """

    _several_classes = False
    _no_weights = ""  # why `fit` takes no sample_weight

    classes_: np.ndarray
    n_features_in_: int

    @overload
    def decision_function(self, K_test: Tensor) -> Tensor: ...
    @overload
    def decision_function(self, K_test: ArrayLike) -> np.ndarray: ...
    def decision_function(self, K_test: Any) -> Any:
        """Float64 values for K_test (m, n) between test and training samples, above 0 for the second of two classes.

        Shape (m,) for two classes, (m, c) for more.
        """
        return like(self._decisions(self._test_kernel(K_test)), K_test)

    @overload
    def predict(self, K_test: Tensor) -> Tensor: ...
    @overload
    def predict(self, K_test: ArrayLike) -> np.ndarray: ...
    def predict(self, K_test: Any) -> Any:
        """The classes (m,) for K_test (m, n), as `fit` was given them."""
        values = self._decisions(self._test_kernel(K_test))
        codes = (values > 0).to(torch.int64) if values.ndim == 1 else values.argmax(1)
        if isinstance(K_test, Tensor) and self.classes_.dtype.kind in "biuf":
            return torch.from_numpy(self.classes_).to(codes.device)[codes]
        return self.classes_[codes.cpu().numpy()]

    def score(self, K_test: Tensor | ArrayLike, y: Tensor | ArrayLike, sample_weight: Any = None) -> float:
        """The fraction of the m test samples, weighted if asked for, whose class `predict` gets right; y is (m,)."""
        predicted, labels = (_array(value) for value in (self.predict(K_test), y))
        if labels.shape != predicted.shape:
            raise UserError(f"y has shape {labels.shape}: K_test has {len(predicted)} rows, so y must have as many.")
        weights = None if sample_weight is None else weights_of(sample_weight, len(labels)).numpy()
        return float(np.average(predicted == labels, weights=weights))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {
            name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"
        }

    def set_params(self: Estimator, **params: Any) -> Estimator:
        """Change arguments of the constructor, which `fit` checks; UserError for one that it does not have."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise UserError(f"{name} is not a parameter of {type(self).__name__}: choose from {', '.join(known)}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _decisions(self, K_test: Float[Tensor, "m n"]) -> Float[Tensor, "m ..."]:
        """`decision_function` of a checked kernel."""
        raise TypeError(f"{type(self).__name__} does not define _decisions")

    def _training_data(self, K: Any, y: Any, sample_weight: Any = None) -> TrainingData:
        """The arguments of `fit`, checked; sets `classes_` and `n_features_in_`."""
        classes, codes = labels_of(self, y)
        check_classes(self, classes, self._several_classes)
        weights = None if sample_weight is None else weights_of(sample_weight, len(codes))
        if weights is not None:
            left = np.unique(codes[weights > 0].numpy())
            check_classes(self, classes[left], self._several_classes, " among the samples of weight above 0")
        matrix = check_kernel(kernel_of(self, K, "K", reset=True))
        if codes.shape != matrix.shape[:1]:
            n = len(matrix)
            raise UserError(f"y has shape {tuple(codes.shape)}: K has {n} samples, so y must have shape ({n},).")
        self.classes_ = classes
        return TrainingData(matrix, codes.to(matrix.device), None if weights is None else weights.to(matrix.device))

    def _fitted(self: Estimator, K: Any) -> Estimator:
        """The estimator, its fitted attributes as arrays where K was not a tensor."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and not name.startswith("_"):
                setattr(self, name, like(value, K))
        return self

    def _test_kernel(self, K_test: Any) -> Float[Tensor, "m n"]:
        if not hasattr(self, "classes_"):
            raise not_fitted(self)
        return kernel_of(self, K_test, "K_test", reset=False)

    def _refuse(self, fit_params: dict[str, Any]) -> None:
        """UserError for arguments of `fit` that it does not have."""
        if fit_params.pop("sample_weight", None) is not None:
            raise UserError(f"{type(self).__name__} takes no sample_weight: {self._no_weights}.")
        for name in fit_params:
            raise UserError(f"{name} is not an argument of {type(self).__name__}.fit.")

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
        return torch.as_tensor(self.dual_coef_), None

    def _decisions(self, K_test: Float[Tensor, "m n"]) -> Float[Tensor, " m"]:
        values = products(K_test, *self._expansion())
        values = (values if values.ndim == 1 else values.sum(1)) + self.intercept_
        if not bool(torch.isfinite(values).all()):
            raise UserError("K_test holds NaN or infinity: every entry must be finite.")
        return values


def products(
    K: Float[Tensor, "m n"], coef: Float[Tensor, "k ..."], samples: Int[Tensor, " k"] | None = None
) -> Float[Tensor, "m ..."]:
    """K at the columns `samples` (all where None) times `coef`, in float64, a few rows at a time."""
    coef, samples = coef.to(K.device), None if samples is None else samples.to(K.device)
    chunks = []
    for rows in torch.split(K, ROWS_AT_ONCE):
        chosen = rows if samples is None else rows.index_select(1, samples)
        chunks.append(chosen.to(torch.float64) @ coef)
    return torch.cat(chunks)


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


def check_number(name: str, value: Any, what: str, *, least: float, below: float = math.inf) -> None:
    """Raise UserError unless the argument `name` is a number of at least `least` and below `below`: `what` says so."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not least <= value < below:
        raise UserError(f"{name}={value!r} is not allowed: it must be {what}.")


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
