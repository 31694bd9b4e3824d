"""The certificate of an SVM: bounds on the margin from any dual vector, however it was found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from afterkernel.svm.signed_gram import SignedGram, balance, exceeds_rounding
from afterkernel.types import Float, Int, Tensor

SUPPORT_FLOOR = 1e-9  # an entry of the dual below this part of the largest is not counted as a support vector
CANCELLING = 2e-5  # the mean of f over the norm of a (K of unit diagonal) below which rounding may show in f


@dataclass(frozen=True)
class Certificate:
    """What a dual vector a >= 0 proves about the hard-margin SVM of K; f_i = y_i w.phi_i, w = sum_i a_i y_i phi_i.

    By weak duality the largest margin lies between `margin` and `upper`:

    - without intercept, margin = min f / |w|, since w / |w| achieves it, and upper = |w| / 1'a, since the margin is the
      distance from 0 to the convex hull of the y_i phi_i;
    - with intercept, a first scaled so that both classes have the same sum: margin = (min_+ f + min_- f) / (2 |w|),
      which w achieves with `intercept` midway, and upper = |w| / 1'a, half the distance of the classes' convex hulls
      (K. P. Bennett and E. J. Bredensteiner, "Duality and geometry in SVM classifiers", ICML 2000).

    `margin` is 0 where min f is not above 0: a then proves no margin. `gap` = 1 - margin / upper.
    With K_ij known to within eps |phi_i| |phi_j| (`PRECISION`: 1e-15 for float64, 5e-7 for
    float32), `separable` is True if f_i > eps |phi_i| sum_j a_j |phi_j| at all i (then no error of that size can undo
    it), False if |w|^2 <= 10 eps (sum_j a_j |phi_j|)^2 (a convex combination of the y_i phi_i / |phi_i| vanishes at the
    precision of K), else None: undetermined; with a ridge always None.
    `uncertainty` bounds what eps does to the margin, as |g^2(K + E) - g^2(K)| <= max |E_ij|. `kkt_violation` is
    max_i |min(a_i, f_i - 1)| at unit largest diagonal, a scaled so that a'f = 1'a. `train_error` is a fraction.
    """

    margin: float
    upper: float
    gap: float
    separable: bool | None
    train_error: float
    n_support: int
    kkt_violation: float
    min_f: float
    intercept: float
    uncertainty: float


def certify(
    K: Float[Tensor, "n n"],
    y: Float[Tensor, " n"],
    dual: Float[Tensor, " n"],
    has_intercept: bool = False,
    ridge: float = 0.0,
    intercept: float | None = None,
    rest: Float[Tensor, " n"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
) -> Certificate:
    """Certificate of `dual` (non-negative, float64) for the kernel K + ridge I and labels y in {-1, +1}.

    With `weights` w > 0 for K + ridge diag(w)^-1.

    Computed in float64 from only the rows of K of the support, a few at a time; with products of twice that precision
    where the terms of f cancel to less than 1e-5 of their size. `rest` is a part of the dual too small for float64 to
    hold in one number: where the margin is tiny, dual + rest is certified. The training error is that of the class
    w.phi + b > 0 for K without the ridge, b being `intercept` where given, else the certificate's own.
    """
    if has_intercept:
        balanced = balance(dual, y)
        rest = rest if torch.equal(balanced, dual) else None
        dual = balanced
    gram = SignedGram(K, y)
    support = dual.nonzero().squeeze(1)
    a = dual * gram.scale
    plain = _products(gram, support, dual[support], None if rest is None else rest[support], careful=not ridge)
    f = plain + ridge * (dual if weights is None else dual / weights)
    signs = gram.y
    norm, total = math.sqrt(max(float(a @ f), 0.0)), float(a.sum())

    if has_intercept:
        lowest = {sign: float(f[signs == sign].min()) for sign in (1.0, -1.0)}
        offset, least = (lowest[-1.0] - lowest[1.0]) / 2, (lowest[1.0] + lowest[-1.0]) / 2
    else:
        offset, least = 0.0, float(f.min())
    margin = max(least, 0.0) / norm if norm else 0.0
    upper = norm / total if total else math.inf
    separable, size = None, float(gram.norms @ a)
    if not ridge and exceeds_rounding(gram, f, size, has_intercept):
        separable = True
    elif not ridge and total and norm**2 <= 10 * gram.precision * size**2:
        separable = False

    used = offset if intercept is None else intercept
    unit = total / norm**2 if norm else 1.0
    residual = torch.minimum(a * unit, (f + signs * offset) * unit - 1)
    root = math.sqrt(gram.scale)
    return Certificate(
        margin=margin * root,
        upper=upper * root,
        gap=max(1 - margin / upper, 0.0) if upper else math.inf,  # below 0 by rounding alone
        separable=separable,
        train_error=float(((signs * plain + used > 0) != (signs > 0)).double().mean()),
        n_support=int((a > SUPPORT_FLOOR * a.max()).sum()),
        kkt_violation=float(residual.abs().max()),
        min_f=least,
        intercept=offset,
        uncertainty=gram.precision * root / (2 * margin) if margin > 0 else math.inf,
    )


def _products(
    gram: SignedGram,
    support: Int[Tensor, " k"],
    a: Float[Tensor, " k"],
    rest: Float[Tensor, " k"] | None,
    careful: bool,
) -> Float[Tensor, " n"]:
    """y_i w.phi_i at all samples, with care where rounding may show in the bounds."""
    if rest is None:
        f = gram.response(support, a)
        if not careful or float(a @ f[support]) >= CANCELLING * float(a.sum() * a.norm()):
            return f * gram.scale
        rest = torch.zeros_like(a)
    return gram.response(support, a, low=rest) * gram.scale
