"""The order in which the `exact` backend tries its methods.

    run            soft margins of low rank: semismooth Newton on a factor of K (`low_rank`); else
    active_sets    from a given start, or on nested subsets of the samples; for a singular K by least squares in
                   coordinates (`boundary.nearest_point`); None where they cycle or the margin vanishes
    working_sets   exchanges samples between a working set and the rest; each working set is solved by active sets, or
                   where these cycle by an interior point and then `polish`

A `SparseDual` is a dual for Q, whose largest diagonal entry is 1; `scattered` turns it into one for K.
"""

from __future__ import annotations

import torch

from afterkernel.progress.work import report
from afterkernel.svm.active_set import EPS, LARGEST_GROWTH, SLACK, SparseDual, achieved, allowance, primal_dual
from afterkernel.svm.boundary import nearest_point
from afterkernel.svm.compensated import remainder
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.interior_point import interior_point
from afterkernel.svm.low_rank import SMALLEST, low_rank_factor, newton
from afterkernel.svm.polish import polish
from afterkernel.svm.separability import NEGLIGIBLE, NOTHING, largest_rank
from afterkernel.svm.signed_gram import SignedGram, margin_bounds
from afterkernel.types import Float, Int, Tensor

FIRST_POOL = 250
MAX_ROUNDS = 200
INTERIOR_GAPS = (1e-7, 1e-13)  # the second where polishing from the first does not end
POLISH_STEPS = 400
SINGULAR = 10  # a pivot below so many roundings counts as 0
BORDER = 1e3  # weight of the equation y'a = 0 in least squares, K having unit largest diagonal


class Search:
    """The search for the dual of one problem, counting the steps of each method for `path`."""

    def __init__(self, gram: SignedGram, max_steps: int, factor: PivotedFactor | None = None) -> None:
        self.gram, self.max_steps, self.factor = gram, max_steps, factor
        self.order = stratified_order(gram.y)
        self.started = False
        self.rank = self.dimensions = self.newton_steps = 0
        self.certain = False  # whether the samples are known to be separable
        self.nearest: Float[Tensor, " n"] | None = None  # the hull's point nearest to 0 in coordinates, up to scale
        self.reached = self.order[: min(FIRST_POOL, gram.n)].sort().values
        self.pools = self.active_steps = self.rounds = self.interior_steps = self.polish_steps = 0

    @property
    def path(self) -> str:
        """The methods used and their steps, in words."""
        if self.rank:
            return f"{self.newton_steps} Newton steps at rank {self.rank}"
        origins = ["from the given start"] * self.started
        origins += [f"from least squares in {self.dimensions} dimensions"] * (self.nearest is not None)
        origins += [f"in {self.pools} nested subsets"] * (self.pools > 0)
        words = f"active set: {self.active_steps} steps {' and '.join(origins)}"
        if self.rounds:
            words += f"; working set: {self.rounds} rounds"
        if self.interior_steps:
            words += f", {self.interior_steps} interior-point and {self.polish_steps} polishing steps"
        return words

    def run(self, start: Int[Tensor, " k"] | None = None) -> SparseDual:
        """The dual for Q: of a soft margin at low rank by the factor, else from `start` or the nested subsets."""
        found = self._low_rank()
        if found is None:
            found = self.active_sets(start)
        return self.working_sets(self.gram.ridge > 0) if found is None else found

    def active_sets(self, start: Int[Tensor, " k"] | None = None) -> SparseDual | None:
        """The dual by only active sets; None where they cycle, or where its margin vanishes at the precision of K."""
        if start is not None and self._is_useful_start(start):
            self.started = True
            report("active set from the given start")
            found = self._from_start(start)
            if found is not None:
                return None if self._has_tiny_margin(found) else found
        return self._in_coordinates() if self._is_singular() else self._from_nested_subsets()

    def _is_singular(self) -> bool:
        """Whether the kernel of the first samples is of low rank: active sets would cycle."""
        first = self.reached
        part = self.gram.block(first)
        part.diagonal().add_(len(first) * max(self.gram.precision, EPS))
        factor, info = torch.linalg.cholesky_ex(part)
        left = factor.diagonal().square() / part.diagonal()
        return int(info) != 0 or int((left < SINGULAR * len(first) * max(self.gram.precision, EPS)).sum()) > 0

    def _in_coordinates(self) -> SparseDual | None:
        """The dual by least squares in coordinates of low rank, its active set checked on K; None where that fails."""
        gram = self.gram
        factor = self.factor = PivotedFactor(gram) if self.factor is None else self.factor
        rank = factor.rank(max(gram.precision, EPS), min(largest_rank(gram.n), gram.n // 2))
        if rank is None:
            return self._from_nested_subsets()
        rows = factor.columns(rank).mul_((gram.y * gram.norms).cpu()[:, None])
        if gram.intercept:
            rows = torch.cat([rows, BORDER * gram.y.cpu()[:, None]], 1)
        self.nearest, self.dimensions = nearest_point(rows), rank
        if self.nearest is None:
            return self._from_nested_subsets()
        x = self.nearest
        if float((x @ rows).norm()) <= NOTHING * float(x.sum()):
            return None
        active = (x > NEGLIGIBLE[0] * x.max()).nonzero().squeeze(1).to(gram.K.device)
        found, steps = primal_dual(gram, None, active, self.max_steps)
        self.active_steps += steps
        # where rounding may show in the gap, working sets get closer
        return None if found is None or self._has_tiny_margin(found) or allowance(found) > SLACK else found

    def _low_rank(self) -> SparseDual | None:
        """The dual of a soft margin by a low-rank factor of K; None where K has none, or is too small to gain by it."""
        if not self.gram.ridge or self.gram.weights is not None:
            return None
        large = self.gram.n >= SMALLEST
        factor = low_rank_factor(self.gram, self.factor) if large or self.factor is not None else None
        if factor is None or factor.shape[1] == 0:
            return None
        report(f"Newton steps at rank {factor.shape[1]}")
        found, self.newton_steps = newton(self.gram, factor)
        self.rank = factor.shape[1] if found is not None else 0
        return found

    def scattered(self, found: SparseDual) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]:
        """The dual vector for K, zeros included, and what rounding leaves out of it."""
        dual = torch.zeros(self.gram.n, dtype=torch.float64, device=self.gram.K.device)
        exact = found.a / self.gram.scale
        dual[found.support] = exact
        if found.low is None:
            return dual, None
        rest = torch.zeros_like(dual)
        # a + low = scale * (exact + rest): the remainder of the division, to second order
        rest[found.support] = (remainder(found.a, exact, self.gram.scale) + found.low) / self.gram.scale
        return dual, rest

    def bounds(self, found: SparseDual) -> tuple[float, float]:
        """Lower and upper bound on the margin on only the support of `found`, K scaled to unit largest diagonal."""
        f = self.gram.response(found.support, found.a, found.support, found.low)
        return margin_bounds(f, found.a)

    def _is_useful_start(self, start: Int[Tensor, " k"]) -> bool:
        """Whether starting from these samples is likely to save time."""
        # nearly all samples would cost more than they save, unless nearly all are support vectors
        most = self.gram.n if self.gram.ridge else max(FIRST_POOL, 3 * self.gram.n // 4)
        # equations with an intercept need both classes
        both = not self.gram.intercept or len(torch.unique(self.gram.y[start])) == 2
        return 0 < len(start) <= most and both

    def _from_start(self, start: Int[Tensor, " k"]) -> SparseDual | None:
        found, steps = primal_dual(self.gram, start, start, self.max_steps)
        self.active_steps += steps
        if found is None or self._has_tiny_margin(found):
            return found
        found, steps = primal_dual(self.gram, None, found, self.max_steps)
        self.active_steps += steps
        return found

    def _from_nested_subsets(self) -> SparseDual | None:
        size = min(FIRST_POOL, self.gram.n)
        start: Int[Tensor, " k"] | SparseDual = self.order[:size].sort().values
        while True:
            whole = size >= self.gram.n
            pool = None if whole else self.order[:size].sort().values
            report(f"active set on {min(size, self.gram.n)} of {self.gram.n} samples")
            found, steps = primal_dual(self.gram, pool, start, self.max_steps)
            self.pools += 1
            self.active_steps += steps
            if found is None or self._has_tiny_margin(found):
                # the subset before had a margin
                self.reached = start.support if isinstance(start, SparseDual) else start
                return None
            if whole:
                return found
            start, size = found, 2 * size

    def working_sets(self, certain: bool) -> SparseDual:
        """Solve on a working set, exchange its inactive samples for the most violated outside, until there are none.

        The margin of the working set falls with each exchange, so no working set repeats. `certain`: the samples are
        known to be separable, so that it does not end when the margin vanishes at the precision of K.
        """
        self.certain, active = certain, self.reached
        work = torch.unique(torch.cat([active, self.order[:FIRST_POOL]]))
        found = self._solve_working_set(work, work)
        for self.rounds in range(1, MAX_ROUNDS + 1):
            f = achieved(self.gram, found)
            slack = max(allowance(found), 2 * (1 - float(f[work].min())))
            f[work] = torch.inf
            most = max(LARGEST_GROWTH[0], LARGEST_GROWTH[1] * len(found.support))
            lowest = f.topk(min(most, self.gram.n), largest=False)
            entering = lowest.indices[lowest.values < 1 - slack]
            if len(entering) == 0 or self._vanishes(found):
                break
            work = torch.unique(torch.cat([found.support, entering]))
            found = self._solve_working_set(work, found.support)
        return found

    def _solve_working_set(self, work: Int[Tensor, " m"], start: Int[Tensor, " k"]) -> SparseDual:
        """The dual on the samples `work`: by active sets, or if they cycle by an interior point and polishing."""
        report(f"working set of {len(work)} samples")
        quick, steps = primal_dual(self.gram, work, start, self.max_steps)
        self.active_steps += steps
        if quick is not None:
            return quick
        Q = self.gram.block(work)
        signs = self.gram.y[work] if self.gram.intercept else None
        best, least = None, float("inf")
        for target in INTERIOR_GAPS:
            report(f"interior point on {len(work)} samples")
            a, s, steps = interior_point(Q, 0.0 if self.certain else self.gram.precision, target, signs=signs)
            self.interior_steps += steps
            rough = SparseDual(work, a)
            if self._vanishes(rough):
                return rough
            likely = work[a > s]
            report(f"active set on {len(work)} samples")
            found, steps = primal_dual(self.gram, work, likely, self.max_steps)
            self.active_steps += steps
            if found is not None:
                return found
            report(f"polishing on {len(work)} samples")
            found, steps = polish(self.gram, work, Q, torch.where(a > s, a, 0.0), POLISH_STEPS)
            self.polish_steps += steps
            for candidate in (rough, found):
                gap = self._gap(candidate, work)
                if gap < least or best is None:
                    best, least = candidate, gap
            if best is not None and least <= 2 * allowance(best):
                break
        assert best is not None
        return best

    def _gap(self, found: SparseDual, work: Int[Tensor, " m"]) -> float:
        f = self.gram.response(found.support, found.a, work, found.low)
        full = torch.zeros(self.gram.n, dtype=torch.float64, device=f.device)
        full[found.support] = found.a
        lower, upper = margin_bounds(f, full[work], self.gram.y[work] if self.gram.intercept else None)
        return 1 - lower / upper if 0 < upper < float("inf") else float("inf")

    def _has_tiny_margin(self, found: SparseDual) -> bool:
        # the equations solved, a'Qa = 1'a
        return float(found.a.sum()) * self.gram.precision >= 1

    def _vanishes(self, found: SparseDual) -> bool:
        return not self.certain and self.bounds(found)[1] ** 2 <= self.gram.precision


def stratified_order(y: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """A fixed shuffle of the samples in which every leading part holds both classes, in about their proportion."""
    generator = torch.Generator().manual_seed(0)
    position = torch.empty(len(y), dtype=torch.float64)
    for sign in (-1.0, 1.0):
        members = (y == sign).nonzero().squeeze(1).cpu()
        shuffled = members[torch.randperm(len(members), generator=generator)]
        position[shuffled] = torch.arange(len(members), dtype=torch.float64) / max(len(members), 1)
    return position.argsort(stable=True).to(y.device)
