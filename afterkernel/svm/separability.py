"""Whether the samples of a kernel matrix are separable at all, decided in whitened coordinates and checked on K."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from afterkernel.progress.work import report
from afterkernel.svm.boundary import is_inside, nearest_point, sharp_coordinates, vanishes_exactly
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.signed_gram import SignedGram, balance, exceeds_rounding
from afterkernel.types import Bool, Float, Tensor

LARGEST = 1.2e9  # n rank^2 beyond which it is not decided: some 5 s on one core
COARSER = 1.0, 1e3, 1e6  # tolerances of the factor, in units of K's precision, until one of them decides
WITNESS = 2  # how far a witness in the finest coordinates may be from 0, in units of K's precision
OPEN = 10  # and where it explains why nothing was decided
FAINT = 0.1  # blur of a column that may be rounding alone
SWEEPS = 3
NOTHING = 1e-12  # the norm of a convex combination of unit vectors at which it is rounding alone
CUTOFFS = 1e-13, 1e-9, 1e-6, 1e-3  # of singular values, relative to the largest, where a witness is improved
PROGRAM_PRECISION = 1e-8  # precision of K from which a linear program may settle what least squares leave open,
PROGRAM_UP_TO = 500  # up to so many samples: 3 s on one core at 400
NEGLIGIBLE = 1e-9, 1e-13, 1e-6  # entries of a witness below this part of the largest count as 0


@dataclass(frozen=True)
class Separability:
    """Whether some w (and b) has y_i (w.phi_i + b) > 0 for all i: proved, disproved, or None where K leaves it open.

    Let k_ij = K_ij / (d_i d_j), d_i = sqrt(K_ii), be known to within eps (`PRECISION`). True: coefficients v of either
    sign were found with y_i sum_j k_ij v_j > eps sum_j |v_j| at all i (with an intercept, up to a common b), which no
    error of that size undoes. False: a convex combination a was found with |sum_j y_j k_ij a_j| <= 2 eps at all i
    (both classes having the same weight, with an intercept): the sum of the a_j y_j phi_j / d_j vanishes as far as any
    sample can see, and 0 is inside the hull, so that small errors keep it there (`afterkernel.svm.boundary`), or the
    sum is exactly 0 on the stored entries. Features whose share of K is about its rounding, such as columns 1e-8 times
    the size of others, are not seen. `witness` is that a or v as a dual vector for K, y_j v_j / d_j. `words` say how it
    was decided.
    """

    separable: bool | None
    words: str
    witness: Float[Tensor, " n"] | None = None


def decide_separability(
    K: Float[Tensor, "n n"],
    y: Float[Tensor, " n"],
    intercept: bool = False,
    factor: PivotedFactor | None = None,
    guess: Float[Tensor, " n"] | None = None,
) -> Separability | None:
    """Decide it for labels y in {-1, +1}, however different the scales of features and of samples are.

    G G' = k comes from a Cholesky factorisation with complete pivoting, `factor` where K has one already. The rows of G
    are separable if and only if the rows u_i of an orthonormal basis of its column space are, of any length. For these,
    non-negative least squares for sum a_i y_i u_i = 0, sum a_i = 1 (C. L. Lawson and R. J. Hanson, "Solving
    Least Squares Problems", 1974, ch. 23) gives such an a, or by its residual a separating direction; either is then
    checked on K itself. `guess`: a dual vector that may be such an a, tried first. Some n rank^2 operations; None where
    these would take more than some seconds. Memory: seven times n x rank, which is at most sqrt(1.2e9 n) numbers.
    """
    gram = SignedGram(K, y)
    if not intercept and float(gram.norms.min()) == 0:
        zero = (gram.norms == 0).to(torch.float64)
        return Separability(False, "an embedding is zero", zero / zero.sum())
    factor = PivotedFactor(gram) if factor is None else factor
    words, open_witness, fine = "", None, None
    for coarser in COARSER:
        tolerance = coarser * gram.precision
        rank = factor.rank(tolerance, largest_rank(gram.n))
        if rank is None:
            return None
        words = f"separability in {rank} dimensions"
        points = _Points(gram, factor.columns(rank), factor.lengths, intercept, tolerance)
        fine = points if fine is None else fine
        if guess is not None:
            for witness in points.witnesses(guess.cpu() * points.lengths / points.scale):
                if _vanishes(gram, witness, 1):
                    return _disproved(gram, fine, factor, words, witness)
            guess = None
        points.whiten()
        x, w = points.nearest()
        direction = None if w is None else points.dual(w, factor.pivots[:rank])
        if direction is not None and separates(gram, direction, intercept):
            return Separability(True, words, direction)
        for witness in points.witnesses(x):
            if _vanishes(gram, witness, WITNESS if coarser == 1 and w is None else 1):
                return _disproved(gram, fine, factor, words, witness)
            if open_witness is None and _vanishes(gram, witness, OPEN):
                open_witness = witness
    # the program's own tolerance is far below the precision of a float32 K, far above that of a float64 K
    if gram.precision > PROGRAM_PRECISION and gram.n <= PROGRAM_UP_TO:
        direction = _program(gram, factor.lengths, intercept)
        if direction is not None and separates(gram, direction, intercept):
            return Separability(True, f"{words} and a linear program", direction)
    return Separability(None, f"{words}: undetermined at the precision of K", open_witness)


def _disproved(
    gram: SignedGram, fine: _Points, factor: PivotedFactor, words: str, witness: Float[Tensor, " n"]
) -> Separability:
    """False; but None where errors of K's precision may move the hull off 0, unless the witness vanishes exactly."""
    if len(fine.Z) == 0:
        fine.whiten(1)
    weights = witness.cpu() * fine.lengths / fine.scale
    blur, small = factor.blur(fine.rank, gram.precision), gram.n <= PROGRAM_UP_TO
    if (blur <= FAINT or not small) and is_inside(fine.Z, weights, blur):
        return Separability(False, words, witness)
    if vanishes_exactly(gram, witness, fine.intercept):
        return Separability(False, f"{words}, exactly", witness)
    if small:
        G, blur = sharp_coordinates(gram, factor)
        sharp = _Points(gram, G, factor.lengths, fine.intercept, gram.precision)
        sharp.whiten()
        x, w = sharp.nearest()
        if w is None and is_inside(sharp.Z, x, blur):
            return Separability(False, words, witness)
    return Separability(None, f"{words}: undetermined at the precision of K, on the boundary", witness)


def largest_rank(n: int) -> int:
    """The rank up to which coordinates are worth their time."""
    return min(n, int((LARGEST / n) ** 0.5))


class _Points:
    """The samples in coordinates: vectors Z_i = y_i scale_i W_i R^-1, W_i = [G_i, 1 / d_i]; on the CPU.

    The last column, for the intercept, is left out where constants lie in the span of G. `whiten` makes the Z_i unit
    vectors in an orthonormal basis; before, the W_i are scaled to length 1.
    """

    def __init__(
        self,
        gram: SignedGram,
        G: Float[Tensor, "n r"],
        lengths: Float[Tensor, " n"],
        intercept: bool,
        tolerance: float,
    ) -> None:
        self.signs, self.lengths, self.intercept = gram.y.cpu(), lengths, intercept
        self.W = torch.cat([G, _inverse(self.lengths)], 1) if intercept and not self._spanned(G, tolerance) else G
        self.scale = 1 / self.W.norm(dim=1)
        self.rank = G.shape[1]
        self.Z = torch.empty(0, self.W.shape[1], dtype=torch.float64)  # until `whiten`

    def whiten(self, sweeps: int = SWEEPS) -> None:
        """Choose scales and basis."""
        # lengths matter only to least squares: make all equal
        for _ in range(sweeps):
            U, self.R = torch.linalg.qr(self.scale[:, None] * self.W)
            sizes = U.norm(dim=1)
            self.scale = self.scale / sizes
        self.Z = (self.signs / sizes)[:, None] * U

    def _spanned(self, G: Float[Tensor, "n r"], tolerance: float) -> bool:
        if G.shape[1] == len(G):
            return True
        both = torch.linalg.qr(torch.cat([G, _inverse(self.lengths)], 1), mode="r").R[:, -1]
        return float(both[-1]) ** 2 <= tolerance * float(both @ both)

    def nearest(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " r"] | None]:
        """The convex combination of the Z_i nearest to 0, up to scale; and its sum if that separates, Z w > 0."""
        x = nearest_point(self.Z)
        if x is None:
            return torch.zeros(len(self.Z), dtype=torch.float64), None
        w = x @ self.Z
        return x, w if float((self.Z @ w).min()) > 0 and float(w.norm()) > NOTHING * float(x.sum()) else None

    def dual(self, w: Float[Tensor, " r"], pivots: list[int]) -> Float[Tensor, " n"]:
        """The direction `w` as a combination of the samples `pivots`: a dual vector of either sign."""
        rank = len(pivots)
        along = torch.linalg.solve_triangular(self.R, w[:, None], upper=True)[:rank]
        v = torch.linalg.solve_triangular(self.W[pivots, :rank].T, along, upper=True).squeeze(1)
        dual = torch.zeros_like(self.scale)
        dual[pivots] = self.signs[pivots] * v / self.lengths[pivots]
        return dual

    def witnesses(self, x: Float[Tensor, " n"]) -> Iterator[Float[Tensor, " n"]]:
        """`x` as a dual vector; then improved until the sum of x_i Z_i vanishes to rounding, in some ways."""
        yield self._witness(x > NEGLIGIBLE[0] * x.max(), x)
        for negligible, cutoff in product(NEGLIGIBLE, CUTOFFS):
            support = x > negligible * x.max()
            # in the scales of W, where rounding is small; larger cutoffs leave out what copies of a sample differ in
            terms = ((self.signs * self.scale)[:, None] * self.W)[support].T
            part = x[support]
            for _ in range(2):
                change = torch.linalg.lstsq(
                    terms * part, -(terms @ part)[:, None], rcond=cutoff, driver="gelsd"
                ).solution
                part = part * (1 + change.squeeze(1)).clamp_min(0)
            whole = torch.zeros_like(x)
            whole[support] = part
            yield self._witness(support, whole)

    def _witness(self, support: Bool[Tensor, " n"], x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        dual = torch.where(support, x * self.scale / self.lengths, 0.0)
        return balance(dual, self.signs) if self.intercept else dual


def _inverse(lengths: Float[Tensor, " n"]) -> Float[Tensor, "n 1"]:
    return lengths.max() / lengths[:, None]


def separates(gram: SignedGram, dual: Float[Tensor, " n"], intercept: bool) -> bool:
    """Whether `dual`, of either sign, separates on K itself despite errors of its precision."""
    if not bool(torch.isfinite(dual).all()):
        return False
    a = dual.to(gram.K.device)
    at = a.nonzero().squeeze(1)
    f = gram.response(at, a[at], low=torch.zeros_like(a[at]))
    return exceeds_rounding(gram, f, float(gram.norms @ a.abs()), intercept)


def _program(gram: SignedGram, lengths: Float[Tensor, " n"], intercept: bool) -> Float[Tensor, " n"] | None:
    """The v with the largest min_i y_i sum_j k_ij v_j, sum_j |v_j| = 1, as a dual vector; None where that fails.

    It is the dual solution of min max_i |sum_j y_j k_ij a_j| over the convex combinations a, by linear programming.
    """
    from scipy.optimize import linprog

    report("linear program")
    n, d, y = gram.n, lengths.numpy(), gram.y.cpu().numpy()
    M = gram.K.cpu().double().numpy() / gram.scale * (y / d) / d[:, None]
    sums = np.vstack([np.append(np.ones(n), 0), np.append(y / d, 0)])[: 1 + intercept]
    bound = np.full((n, 1), -gram.precision)  # t in units of the precision
    found = linprog(
        np.append(np.zeros(n), 1),
        A_ub=np.vstack([np.hstack([M, bound]), np.hstack([-M, bound])]),
        b_ub=np.zeros(2 * n),
        A_eq=sums,
        b_eq=np.eye(1 + intercept)[0],
        method="highs-ipm",
    )
    if found.status != 0:
        return None
    prices = found.ineqlin.marginals
    return torch.from_numpy(y * (prices[n:] - prices[:n]) / d)


def _vanishes(gram: SignedGram, dual: Float[Tensor, " n"], times: float) -> bool:
    """Whether the combination of the y_i phi_i is orthogonal to every sample, to within `times` the precision of K."""
    a = dual.to(gram.K.device)
    support = a.nonzero().squeeze(1)
    if len(support) == 0:
        return False
    f = gram.response(support, a[support], low=torch.zeros_like(a[support]))
    return bool((f.abs() <= times * gram.precision * float(gram.norms @ a) * gram.norms).all())
