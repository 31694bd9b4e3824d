"""The `exact` backend: margins to rounding, without intercept, and a proof where the data are not separable."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.options import option
from afterkernel.svm.active_set import SLACK, SparseDual, allowance, descend, primal_dual
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import certify
from afterkernel.svm.interior_point import interior_point
from afterkernel.svm.signed_gram import SignedGram, bracket
from afterkernel.types import Float, Int, Tensor

FIRST_POOL = 250
MAX_ROUNDS = 200
INTERIOR_GAPS = (1e-7, 1e-13)  # the second where polishing from the first does not end


@dataclass
class Exact(Backend):
    """Active sets over nested subsets of the samples; where they cycle, an interior point on a working set.

    No intercept. Ends with the optimum to rounding, or with a convex combination of the y_i phi_i that vanishes at the
    precision of K. In that case the data are not separable, and the answer is the soft-margin SVM with squared slacks,
    which is the hard margin of K + max_i K_ii / soft_C I.
    """

    name: str = option("exact", "which backend (set by svm=NAME)")
    soft_C: float = option(  # noqa: N815
        1e3, "where not separable: weight of the squared slacks, K scaled to unit largest diagonal", above=0
    )
    max_steps: int = option(30, "active-set steps on one subset before it counts as cycling", at_least=1)

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """Hard margin of K for labels y in {-1, +1}; or the soft margin, with a witness, where there is none."""
        gram = SignedGram(K, y)
        hard = _Search(gram, self.max_steps)
        dual = hard.run()
        if certify(K, y, dual).separable is not False:
            return Solution(dual, 0.0, hard.path)
        soft = _Search(SignedGram(K, y, ridge=1 / self.soft_C), self.max_steps)
        return Solution(
            soft.run(),
            0.0,
            f"not separable ({hard.path}); soft margin ({soft.path})",
            ridge=gram.scale / self.soft_C,
            witness=dual,
        )


class _Search:
    """One problem's way through the methods, and the count of the steps it took."""

    def __init__(self, gram: SignedGram, max_steps: int) -> None:
        self.gram, self.max_steps = gram, max_steps
        self.order = stratified_order(gram.y)
        self.pools = self.active_steps = self.rounds = self.interior_steps = self.polish_steps = 0

    @property
    def path(self) -> str:
        """The methods taken and their steps, in words."""
        words = f"active set: {self.active_steps} steps in {self.pools} nested subsets"
        if self.rounds:
            words += f"; working set: {self.rounds} rounds"
        if self.interior_steps:
            words += f", {self.interior_steps} interior-point and {self.polish_steps} polishing steps"
        return words

    def run(self) -> Float[Tensor, " n"]:
        """The dual vector for K, zeros included."""
        found = self._nested()
        dual = torch.zeros(self.gram.n, dtype=torch.float64, device=self.gram.K.device)
        dual[found.support] = found.a / self.gram.scale
        return dual

    def _nested(self) -> SparseDual:
        size, active = FIRST_POOL, self.order[:FIRST_POOL].sort().values
        while True:
            whole = size >= self.gram.n
            pool = None if whole else self.order[:size].sort().values
            found, steps = primal_dual(self.gram, pool, active, self.max_steps)
            self.pools += 1
            self.active_steps += steps
            if found is None:
                return self._working_set(active)
            if whole or self._vanishes(found):
                return found
            active, size = found.support, 2 * size

    def _working_set(self, active: Int[Tensor, " k"]) -> SparseDual:
        """Solve on a working set, exchange its idle samples for the most violated outside, until there are none.

        The margin of the working set falls with each exchange, so that none comes twice.
        """
        work = torch.unique(torch.cat([active, self.order[:FIRST_POOL]]))
        found = self._solve_on(work, work)
        for self.rounds in range(1, MAX_ROUNDS + 1):
            f = self.gram.response(found.support, found.a)
            slack = max(allowance(found.a), 2 * (1 - float(f[work].min())))
            f[work] = torch.inf
            lowest = f.topk(min(max(FIRST_POOL, 2 * len(found.support)), self.gram.n), largest=False)
            entering = lowest.indices[lowest.values < 1 - slack]
            if len(entering) == 0 or self._vanishes(found):
                break
            work = torch.unique(torch.cat([found.support, entering]))
            found = self._solve_on(work, found.support)
        return found

    def _solve_on(self, work: Int[Tensor, " m"], start: Int[Tensor, " k"]) -> SparseDual:
        quick, steps = primal_dual(self.gram, work, start, self.max_steps)
        self.active_steps += steps
        if quick is not None:
            return quick
        Q = self.gram.block(work)
        for target in INTERIOR_GAPS:
            a, s, steps = interior_point(Q, self.gram.precision, target)
            self.interior_steps += steps
            if self._vanishes(SparseDual(work, a)):
                break
            polished, steps = descend(Q, torch.where(a > s, a, 0.0))
            self.polish_steps += steps
            if _gap(Q, polished) <= max(_gap(Q, a), SLACK):
                a = polished
            if _gap(Q, a) <= 2 * allowance(a):
                break
        positive = a > 0
        return SparseDual(work[positive], a[positive])

    def _vanishes(self, found: SparseDual) -> bool:
        inside = self.gram.response(found.support, found.a, found.support)
        return bracket(inside, found.a)[1] ** 2 <= self.gram.precision


def _gap(Q: Float[Tensor, "m m"], a: Float[Tensor, " m"]) -> float:
    lower, upper = bracket(Q @ a, a)
    return 1 - lower / upper if 0 < upper < float("inf") else float("inf")


def stratified_order(y: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """A fixed shuffle of the samples in which every leading part holds both classes in their proportion."""
    generator = torch.Generator().manual_seed(0)
    position = torch.empty(len(y), dtype=torch.float64)
    for sign in (-1.0, 1.0):
        members = (y == sign).nonzero().squeeze(1).cpu()
        shuffled = members[torch.randperm(len(members), generator=generator)]
        position[shuffled] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / max(len(members), 1)
    return position.argsort(stable=True).to(y.device)
