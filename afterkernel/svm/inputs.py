"""What the estimators accept: tensors by our own checks, everything else by scikit-learn's validation."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.svm.checks import as_floating, as_tensor
from afterkernel.text import a_kind
from afterkernel.types import Float, Int, Tensor

NAMED = 5  # classes that a message lists


class WrongTypeError(UserError, TypeError):
    """An argument of a type that holds no numbers, with one sentence that explains it."""


def labels_of(estimator: Any, y: Any) -> tuple[np.ndarray, Int[Tensor, " n"]]:
    """The classes in y, sorted, and the index (n,) of each sample's class, on the CPU; or UserError.

    A column (n, 1) that is not a tensor is taken as (n,), with scikit-learn's warning.
    """
    if isinstance(y, Tensor):
        labels = as_tensor(y, "y")
        if labels.is_complex():
            raise UserError("y is complex: labels must be classes.")
        if labels.ndim != 1:
            raise UserError(f"y has shape {tuple(labels.shape)}: it must hold one label per sample, (n,).")
        found, codes = torch.unique(labels.detach().cpu(), return_inverse=True)
        if found.is_floating_point() and not bool((found == found.round()).all()):
            raise UserError(f"y holds the labels {_listed(found.tolist())}: a continuous target has no classes.")
        return found.numpy(), codes
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import validate_data

    with _user_errors():
        labels = validate_data(estimator, y=y)
        try:
            check_classification_targets(labels)
            classes, codes = np.unique(labels, return_inverse=True)
        except TypeError:
            raise UserError("y holds labels of several types, which have no order: give labels of one type.") from None
    return classes, torch.from_numpy(codes.astype(np.int64))


def check_classes(estimator: Any, classes: np.ndarray, several: bool, note: str = "") -> None:
    """UserError unless these are two classes, or with `several` at least two; `note` says of which samples."""
    if len(classes) < 2:
        held = f"only one class, {_listed(classes.tolist())}" if len(classes) else "no class"
        raise UserError(f"y holds {held}{note}: a classifier needs at least two.")
    if len(classes) > 2 and not several:
        raise UserError(
            f"Only binary classification is supported: {type(estimator).__name__} needs two classes, and y holds "
            f"{len(classes)} ({_listed(classes.tolist())}); OneVsRestSVM fits several."
        )


def weights_of(sample_weight: Any, n: int) -> Float[Tensor, " n"]:
    """Weights of n samples, float64 on the CPU; UserError where one is negative or not finite, or all are 0."""
    if not isinstance(sample_weight, Tensor):
        from sklearn.utils.validation import check_array

        with _user_errors():
            sample_weight = torch.from_numpy(
                check_array(sample_weight, dtype=np.float64, ensure_2d=False, allow_nd=True, copy=True)
            )
    weights = as_tensor(sample_weight, "sample_weight").detach().to("cpu", torch.float64)
    if weights.shape != (n,):
        raise UserError(f"sample_weight has shape {tuple(weights.shape)}: y has {n} samples, so it must be ({n},).")
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise UserError("sample_weight holds a number that is negative or not finite: each must be at least 0.")
    if not bool((weights > 0).any()):
        raise UserError("sample_weight is zero everywhere: at least one weight must be above 0.")
    return weights


def kernel_of(estimator: Any, K: Any, name: str, *, reset: bool) -> Tensor:
    """K as a tensor of float32 or float64, not copied where it is one or an array of these; or UserError.

    `reset`: K is a training kernel, whose number of columns and their names are stored in the estimator; else they must
    be those of the training kernel.
    """
    matrix = as_floating(K if isinstance(K, Tensor) else _array_of(estimator, K, name, reset), name)
    if reset:
        estimator.n_features_in_ = matrix.shape[-1] if matrix.ndim else 0
    n = estimator.n_features_in_
    if not reset and (matrix.ndim != 2 or matrix.shape[1] != n):
        columns = matrix.shape[-1] if matrix.ndim else 0
        raise UserError(
            f"{name} has shape {tuple(matrix.shape)}: it must be (m, {n}), test by training samples (X has {columns} "
            f"features, but {type(estimator).__name__} is expecting {n} features as input)."
        )
    return matrix


def like(result: Tensor, given: Any) -> Any:
    """The result as a tensor where `given` is one, else as an array."""
    return result if isinstance(given, Tensor) else result.numpy()


def not_fitted(estimator: Any) -> UserError:
    """The error of an estimator that is used before `fit`, which scikit-learn's NotFittedError catches too."""
    return _not_fitted_error()(f"{type(estimator).__name__} is not fitted: call fit(K, y) first.")


def _array_of(estimator: Any, K: Any, name: str, reset: bool) -> np.ndarray:
    if K is None or isinstance(K, str):
        raise UserError(f"{name} is {a_kind(K)} that holds no numbers: give a tensor or an array.")
    if isinstance(K, np.ma.MaskedArray):
        as_tensor(K, name)
    if getattr(K, "dtype", None) in (np.float16, np.longdouble):  # the precision of the entries matters
        raise UserError(f"{name} has dtype {K.dtype}: it must be float32 or float64.")
    from sklearn.utils.validation import check_array, validate_data

    with _user_errors():
        array: np.ndarray = check_array(
            K,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 0,
            estimator=estimator,
            input_name=name,
        )
        with np.errstate(all="ignore"):
            if not np.isfinite(array.sum(dtype=np.float64)):
                raise UserError(f"{name} holds NaN or infinity: every entry must be finite.")
        if hasattr(K, "columns") or hasattr(estimator, "feature_names_in_"):
            names = K if hasattr(K, "columns") and (reset or K.shape[1] == estimator.n_features_in_) else array
            if reset or names.shape[1] == estimator.n_features_in_:
                validate_data(estimator, names, reset=reset, skip_check_array=True)
    return array


@functools.cache
def _not_fitted_error() -> type[UserError]:
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return UserError
    return type("NotFittedError", (UserError, NotFittedError), {})


@contextmanager
def _user_errors() -> Iterator[None]:
    """Errors of scikit-learn as UserErrors, without the printed arrays in them."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        text = " ".join(line for line in lines if line and not line.startswith(("[", "array=")))
        raise (WrongTypeError if isinstance(error, TypeError) else UserError)(text) from error


def _listed(values: list[Any]) -> str:
    return ", ".join(map(str, values[:NAMED])) + (", ..." if len(values) > NAMED else "")
