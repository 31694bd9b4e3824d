"""The `exact` backend: margins to rounding, and a proof where the data are not separable."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import certify
from afterkernel.svm.search import Search
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Float, Int, Tensor


@dataclass
class Exact(Backend):
    """Active sets over nested subsets of the samples; where they cycle, an interior point on a working set.

    Ends with the optimum to rounding, or with a convex combination of the y_i phi_i that vanishes at the precision of K
    (with an intercept: one in which both classes have the same weight). In that case the data are not separable, and
    the answer is the soft-margin SVM with squared slacks, which is the hard margin of K + max_i K_ii / soft_C I.
    """

    name: str = option("exact", "which backend (set by svm=NAME)")
    soft_C: float = option(  # noqa: N815
        1e3,
        "where not separable: weight of the squared slacks, K scaled to unit largest diagonal",
        at_least=1e-12,
        at_most=1e16,
    )
    max_steps: int = option(30, "active-set steps on one subset before it counts as cycling", at_least=1)
    intercept: bool = option(False, "fit an intercept")

    @property
    def has_intercept(self) -> bool:
        """Whether the solution has an intercept: as the option says."""
        return self.intercept

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """Hard margin of K for labels y in {-1, +1}; or the soft margin, with a witness, where there is none."""
        return self._search(K, y, None)

    def solve_from(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"]) -> Solution:
        """As `solve`: the start, such as the support of a similar K, saves time and decides nothing else."""
        return self._search(K, y, start)

    def _search(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None) -> Solution:
        gram = SignedGram(K, y, intercept=self.intercept)
        hard = Search(gram, self.max_steps)
        found = hard.run(start)
        dual, rest = hard.scattered(found)
        vanishing = hard.bounds(found)[1] ** 2 <= 20 * gram.precision  # twice what the certificate calls vanishing
        if not (vanishing and certify(K, y, dual, self.intercept, rest=rest).separable is False):
            return Solution(dual, found.b, hard.path, rest=rest)
        soft = Search(SignedGram(K, y, ridge=1 / self.soft_C, intercept=self.intercept), self.max_steps)
        answer = soft.run(found.support if start is None else start)
        return Solution(
            soft.scattered(answer)[0],
            answer.b,
            f"not separable ({hard.path}); soft margin ({soft.path})",
            ridge=gram.scale / self.soft_C,
            witness=dual,
        )
