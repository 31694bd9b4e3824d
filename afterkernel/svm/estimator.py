"""The hard-margin SVM: checks its input, runs a backend, and certifies the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

from afterkernel.errors import UserError
from afterkernel.options import check_bounds
from afterkernel.progress.work import Stage
from afterkernel.svm.backend import Backend, Solution, check_solution
from afterkernel.svm.certificate import Certificate, certify
from afterkernel.svm.checks import check_start
from afterkernel.svm.definite import Projection, definite
from afterkernel.svm.kernel_classifier import KernelClassifier, KernelExpansion
from afterkernel.svm.outcome import Outcome
from afterkernel.svm.separability import decide_separability, separates
from afterkernel.svm.signed_gram import SignedGram, balance
from afterkernel.svm.threads import one_thread
from afterkernel.text import did_you_mean
from afterkernel.types import Float, Int, Tensor

Machine = TypeVar("Machine", bound="WithBackend")


class WithBackend(KernelClassifier):
    """A classifier with a backend, given by its name or an instance, and options for it, all of which `fit` checks."""

    _no_weights = "a hard margin holds for every sample alike; SoftMarginPath and KernelRidge take weights"

    backend_: Backend

    def __init__(self, backend: str | Backend = "exact", **options: Any) -> None:
        self.backend = backend
        self._options = options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, as far as they were given; `set_params` takes every option."""
        return {"backend": self.backend, **self._options}

    def set_params(self: Machine, **params: Any) -> Machine:
        """Change the backend or its options, which `fit` checks; UserError for what is an option of no backend."""
        from afterkernel.svm import BACKENDS  # the package's __init__ imports this module

        known = {field.name for kind in BACKENDS.values() for field in dataclasses.fields(kind)} - {"name"}
        for name in params:
            if name not in known and name not in self.get_params():
                raise UserError(f"{name} is not an option of any backend: choose from {', '.join(sorted(known))}.")
        self.backend = params.pop("backend", self.backend)
        self._options = {**self._options, **params}
        return self


class HardMarginSVM(WithBackend, KernelExpansion):
    """A hard-margin SVM on a precomputed kernel: minimise |w|^2 subject to y_i w.phi(x_i) >= 1, y_i in {-1, +1}.

    `backend` names the solver (`afterkernel.svm.BACKENDS`) or is an instance of one; `options` are its fields. Of the
    two classes y_i is +1 for the second of `classes_`. After `fit`, whose numbers all come from a certificate computed
    only from K and the dual:

    - `backend_`: the solver with its options
    - `outcome_`: how it ended (`Outcome`), with a `message`; `separable_` and `converged_` follow from it
    - `separable_`: True, False, or None: undetermined at the precision of K (`afterkernel.svm.separability`); where it
      is not True the answer of `exact` is a soft-margin SVM, that of another backend its own
    - `converged_`: gap at most the backend's `tol`; of the soft-margin problem where the answer is one
    - `margin_`: min_i y_i (w.phi_i + b) / |w|, in the units of sqrt(K); nan unless it is certified to be above 0
    - `gap_`: relative duality gap of the margin, 1 where the answer has none; nan where there is no hard margin
    - `dual_coef_` (n,): y_i a_i, float64; where the margin is so tiny that its rounding would show, what it lacks is
      kept and used separately; `intercept_`; `support_`: indices; `n_support_`; `train_error_`: a fraction
    - `projected_eigenvalue_`: the smallest eigenvalue of a K that `project=True` had projected; None where it was not
    - `path_`: the methods used and their steps; `certificate_`, and `soft_certificate_` where the answer is soft
    """

    outcome_: Outcome
    margin_: float
    gap_: float
    support_: Int[Tensor, " k"]
    n_support_: int
    train_error_: float
    path_: str
    certificate_: Certificate
    soft_certificate_: Certificate | None
    projected_eigenvalue_: float | None
    _parts: Float[Tensor, "n parts"]
    _samples: Int[Tensor, " s"]

    @property
    def separable_(self) -> bool | None:
        """Whether the training data are separable; None where that is undetermined."""
        return self.outcome_.separable

    @property
    def converged_(self) -> bool:
        """Whether the gap of the answer is at most `tol`."""
        return self.outcome_.converged

    @one_thread()
    def fit(
        self,
        K: Tensor | ArrayLike,
        y: Tensor | ArrayLike,
        start: Tensor | ArrayLike | Sequence[int] | None = None,
        **fit_params: Any,
    ) -> HardMarginSVM:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) of two classes.

        K may be a memory map, and read-only. `start`: indices of samples likely to be the support, such as `support_`
        of a similar kernel on the same samples. Backends that can start from there save time; the answer is the same.
        Raises UserError for options that the backend does not have; for a K that is not a kernel matrix (one with an
        eigenvalue below what rounding explains, unless `project` is set: then K is replaced by the nearest positive
        semi-definite matrix); for labels that are not those of two classes; for a start that does not name samples; and
        for a `sample_weight`.
        """
        self._refuse(fit_params)
        self.backend_ = make_backend(self.backend, **self._options)
        data = self._training_data(K, y)
        begin = None if start is None else check_start(start, data.K)
        return self.fit_checked(*checked(data.K, self.backend_), data.signs, begin)._fitted(K)

    def fit_checked(
        self,
        K: Float[Tensor, "n n"],
        projection: Projection | None,
        signs: Float[Tensor, " n"],
        start: Int[Tensor, " k"] | None = None,
    ) -> HardMarginSVM:
        """`fit` for `backend_`, a K from `checked`, and labels in {-1, +1}; fitted attributes are tensors."""
        has_intercept = self.backend_.has_intercept
        with Stage(f"SVM {self.backend_.name}"):
            solution = self.backend_.solve(K, signs, start)
        check_solution(self.backend_, solution, len(K))
        dual, rest = solution.dual.to(K.device), solution.rest
        if has_intercept:
            balanced = balance(dual, signs)
            rest, dual = rest if torch.equal(balanced, dual) else None, balanced

        hard = self._disproved(K, signs, solution)
        if hard is None:
            hard = certify(K, signs, dual, has_intercept, rest=rest)
            if not hard.separable:
                hard = self._settled(K, signs, hard, solution)
        # where a margin exists the plane is midway between the classes; the solver's own intercept has rounding errors
        exists = hard.separable is True and hard.margin > 0 and not solution.soft
        self.intercept_ = hard.intercept if exists and has_intercept else solution.intercept
        judged = hard
        if solution.soft or hard.separable is False or self.intercept_ != hard.intercept:
            judged = certify(K, signs, dual, has_intercept, solution.ridge, self.intercept_, rest)
        converged = judged.gap <= self.backend_.tol and (exists or solution.soft)
        self.outcome_ = Outcome.of(hard.separable, converged, solution.soft)
        self.certificate_ = hard
        self.soft_certificate_ = judged if solution.soft else None
        self.margin_ = hard.margin if exists else math.nan
        self.gap_ = math.nan if solution.soft or hard.separable is False else hard.gap
        self.dual_coef_ = dual * signs
        self._parts = self.dual_coef_[:, None] if rest is None else torch.stack([dual, rest], 1) * signs[:, None]
        self.support_ = dual.nonzero().squeeze(1)
        self._samples = self.support_
        self.n_support_, self.train_error_, self.path_ = judged.n_support, judged.train_error, solution.path
        self.projected_eigenvalue_ = None
        if projection is not None:
            self.projected_eigenvalue_ = projection.eigenvalue
            # f = P K P a = K P a, for the rows of K itself
            self._parts = (projection.projector @ self._parts.sum(1))[:, None]
            self._samples = torch.arange(len(K), device=K.device)
            self.path_ += f"; K projected, its smallest eigenvalue {projection.eigenvalue:.3g}"
        return self

    def _disproved(self, K: Float[Tensor, "n n"], signs: Float[Tensor, " n"], solution: Solution) -> Certificate | None:
        """The certificate of the backend's witness that the data are not separable, if it has one that holds."""
        claim = solution.separability
        if claim is None or claim.separable is not False or claim.witness is None:
            return None
        found = certify(K, signs, claim.witness.to(K.device), self.backend_.has_intercept)
        return found if found.separable is False else None

    def _settled(
        self, K: Float[Tensor, "n n"], signs: Float[Tensor, " n"], found: Certificate, solution: Solution
    ) -> Certificate:
        """The certificate of a dual that proves no margin, after deciding whether there is one."""
        intercept, known = self.backend_.has_intercept, solution.separability
        if known is not None and known.separable:
            holds = known.witness is not None and separates(SignedGram(K, signs), known.witness, intercept)
            known = known if holds else None
        if known is None or known.separable is False:
            known = decide_separability(K, signs, intercept)
        if known is None:
            return found
        if known.witness is not None and not known.separable:
            found = certify(K, signs, known.witness.to(K.device), intercept)
        return dataclasses.replace(found, separable=known.separable)

    def _expansion(self) -> tuple[Float[Tensor, "k ..."], Int[Tensor, " k"]]:
        return self._parts[self._samples], self._samples


def checked(K: Float[Tensor, "n n"], backend: Backend) -> tuple[Float[Tensor, "n n"], Projection | None]:
    """K as `fit_checked` takes it, projected where the backend says so, or UserError for one that is indefinite."""
    with Stage("eigenvalues"):
        return definite(K, backend.project, ", or set the option project to use the nearest such matrix")


def fit_signs(
    backend: Backend,
    K: Float[Tensor, "n n"],
    projection: Projection | None,
    signs: Float[Tensor, " n"],
    start: Int[Tensor, " k"] | None = None,
) -> HardMarginSVM:
    """A machine with a backend whose options are set, fitted to what `fit_checked` takes; its classes are bools."""
    machine = HardMarginSVM(backend)
    machine.backend_, machine.n_features_in_, machine.classes_ = backend, len(K), np.array([False, True])
    return machine.fit_checked(K, projection, signs, start)


def weakest(machines: Sequence[HardMarginSVM]) -> tuple[float, float]:
    """The smallest margin and the largest gap of several machines; nan where one of them has none."""
    margins, gaps = [each.margin_ for each in machines], [each.gap_ for each in machines]
    return (
        min(margins) if all(map(math.isfinite, margins)) else math.nan,
        max(gaps) if all(map(math.isfinite, gaps)) else math.nan,
    )


def make_backend(backend: str | Backend, **options: Any) -> Backend:
    """The backend of that name, or a copy of that instance, with `options` set and checked."""
    from afterkernel.svm import BACKENDS  # the package's __init__ imports this module

    if isinstance(backend, str):
        if backend not in BACKENDS:
            names = ", ".join(sorted(BACKENDS))
            raise UserError(f"backend={backend} is not known{did_you_mean(backend, BACKENDS)}: choose one of {names}.")
        backend = BACKENDS[backend]()
    if not isinstance(backend, Backend):
        raise UserError(f"backend={backend!r} is not known: choose one of {', '.join(sorted(BACKENDS))}.")
    known = [field.name for field in dataclasses.fields(backend) if field.name != "name"]
    for key, value in options.items():
        if key not in known:
            raise UserError(f"{key} is not an option of the {backend.name} backend: choose from {', '.join(known)}.")
        wanted = type(getattr(type(backend)(), key))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UserError(f"{key}={value!r} has the wrong type: it must be of type {wanted.__name__}.")
    made = dataclasses.replace(backend, **options)
    check_bounds(made)
    return made
