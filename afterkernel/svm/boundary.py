"""Whether a proof that samples are not separable survives errors in their kernel, and whether it is exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from afterkernel.progress.work import report
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Bool, Float, Int, Tensor

NEGLIGIBLE = 1e-9  # a weight below this part of the largest, or a singular value, is rounding
SAFETY, LARGEST_BLUR = 10.0, 0.3
COARSE = 1e4  # columns of a pivoted factor are clear as long as it leaves out so many times the precision of k
CLEAR = 1.5  # an eigenvalue so many times what rounding amounts to is a feature
EXACT_UP_TO = 16  # samples of a witness that is checked in fractions
ROWS_AGREE = 4  # two samples count as copies if K distinguishes them by less than so many times its precision


def nearest_point(Z: Float[Tensor, "n r"]) -> Float[Tensor, " n"] | None:
    """x >= 0 for which sum x_i Z_i, over sum x_i, is the point of the convex hull nearest to 0; None where it fails.

    min |Z'x|^2 + (1 - sum x)^2 by non-negative least squares: Lawson and Hanson's least distance programming.
    """
    from scipy.optimize import nnls

    n, r = Z.shape
    report(f"least squares in {r} dimensions")
    try:
        return torch.from_numpy(nnls(np.vstack([Z.T.numpy(), np.ones(n)]), np.eye(r + 1)[-1])[0])
    except RuntimeError:  # it did not converge
        return None


def is_inside(Z: Float[Tensor, "n r"], x: Float[Tensor, " n"], blur: float) -> bool:
    """Whether 0 = sum x_i Z_i, x >= 0, lies inside the hull of the unit vectors Z_i, which span all dimensions.

    Inside, it stays there despite errors of `blur` in the Z_i. On the boundary some w has Z_i w >= 0 at all i, and
    errors however small may raise those that are 0. Such a w is orthogonal to every sample with a positive weight. The
    span of these is projected out, and least squares decides whether the other samples are separable in the remaining
    dimensions. If they are not, the samples that it weights are added to the span.
    """
    blur = min(max(SAFETY * blur, NEGLIGIBLE), LARGEST_BLUR)
    if float((x @ Z).norm()) > min(blur, LARGEST_BLUR / 3) * float(x.sum()):
        return False
    inside: Bool[Tensor, " n"] = x > blur * x.max()
    if int(inside.sum()) >= Z.shape[1] and float(torch.linalg.svdvals(Z[inside])[-1]) > blur:
        return True
    while True:
        _, sizes, basis = torch.linalg.svd(Z[inside], full_matrices=True)
        rank = int((sizes > blur).sum())
        if rank == Z.shape[1]:
            return True
        rest = Z @ basis[rank:].T
        outside = (~inside & (rest.norm(dim=1) > blur)).nonzero().squeeze(1)
        if len(outside) == 0:
            return False
        part = torch.nn.functional.normalize(rest[outside])
        found = nearest_point(part)
        if found is None or float((part @ (found @ part)).min()) > NEGLIGIBLE * float(found.sum()):
            return False
        inside[outside[found > blur * found.max()]] = True


def sharp_coordinates(gram: SignedGram, factor: PivotedFactor) -> tuple[Float[Tensor, "n r"], float]:
    """G whose columns span those of k without its rounding, and how far rounding may shift the faintest, by its size.

    Columns of the factor where they are clear; then eigenvectors of k orthogonal to them, whose lowest eigenvalue,
    below 0, shows what rounding amounts to. A pivoted factor may take that for features.
    """
    clear = factor.rank(COARSE * gram.precision, gram.n) or 0
    G, d = factor.columns(clear), factor.lengths
    k = gram.K.cpu().double() / (gram.scale * torch.outer(d, d))
    span = torch.linalg.qr(G)[0]
    k = k - span @ (span.T @ k)
    k = k - (k @ span) @ span.T
    values, vectors = torch.linalg.eigh((k + k.T) / 2)
    rounding = max(-float(values[0]), gram.precision / 2)
    kept = values > CLEAR * rounding
    blur = rounding / float(values[kept][0]) if bool(kept.any()) else factor.blur(clear, gram.precision)
    return torch.cat([G, vectors[:, kept] * values[kept].sqrt()], 1), blur


def vanishes_exactly(gram: SignedGram, witness: Float[Tensor, " n"], intercept: bool) -> bool:
    """Whether the samples of the witness hold two copies of opposite labels, or a combination of norm exactly 0."""
    support = (witness > NEGLIGIBLE * witness.max()).nonzero().squeeze(1).to(gram.K.device)
    if _has_copies(gram, support):
        return True
    return len(support) <= EXACT_UP_TO and _null_vector(gram, support, intercept)


def _has_copies(gram: SignedGram, support: Int[Tensor, " k"]) -> bool:
    """Whether two samples with opposite labels have the same length and the same row of K, to its precision."""
    d, allowed = gram.norms[support], ROWS_AGREE * gram.precision
    lengths = torch.where(d > 0, d, 1.0)
    k = gram.rectangle(support, support) / torch.outer(lengths, lengths)
    close = (k <= allowed - 1) & ((lengths[:, None] / lengths - 1).abs() <= allowed)
    for i, j in close.triu(1).nonzero().tolist():
        rows = gram.K[support[[i, j]]].double() / (gram.scale * lengths[i])
        if bool(((rows[0] - rows[1]).abs() <= allowed * gram.norms).all()):
            return True
    return False


def _null_vector(gram: SignedGram, support: Int[Tensor, " k"], intercept: bool) -> bool:
    """Whether Q a = 0 (and y'a = 0) for some a > 0 on the support, in fractions on the stored entries of K."""
    signs = [int(s) for s in gram.y[support].tolist()]
    rows = [
        [Fraction(value) * s for value, s in zip(row, signs, strict=True)]
        for row in gram.K[support][:, support].double().tolist()
    ]
    rows += [[Fraction(s) for s in signs]] * intercept
    k, pivots = len(signs), list[int]()
    for column in range(k):
        at = next((i for i in range(len(pivots), len(rows)) if rows[i][column]), None)
        if at is None:
            continue
        top = len(pivots)
        rows[top], rows[at] = rows[at], rows[top]
        rows[top] = [value / rows[top][column] for value in rows[top]]
        for i, row in enumerate(rows):
            if i != top and row[column]:
                rows[i] = [value - row[column] * other for value, other in zip(row, rows[top], strict=True)]
        pivots.append(column)
    free = [column for column in range(k) if column not in pivots]
    # the samples of a witness are few enough for one combination alone to vanish
    return len(free) == 1 and all(rows[i][free[0]] < 0 for i in range(len(pivots)))
