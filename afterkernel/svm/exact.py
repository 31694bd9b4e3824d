"""The `exact` backend: margins to rounding, and a proof where the data are not separable."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import certify
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.search import Search
from afterkernel.svm.separability import Separability, decide_separability
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Float, Int, Tensor


@dataclass
class Exact(Backend):
    """Active sets over nested subsets of the samples; where they cycle, an interior point on a working set.

    Where the active sets find no optimum it is first decided whether the data are separable (`decide_separability`).
    Where they are not, or K leaves it open, the answer is the soft-margin SVM with squared slacks, which is the hard
    margin of K + max_i K_ii / soft_C I.
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
        factor = PivotedFactor(gram)
        hard = Search(gram, self.max_steps, factor)
        found = hard.active_sets(start)
        if found is not None:
            dual, rest = hard.scattered(found)
            return Solution(dual, found.b, hard.path, rest=rest)
        known = decide_separability(K, y, self.intercept, factor, hard.nearest)
        likely = start
        if known is None or known.separable is not False:
            found = hard.working_sets(known is not None and known.separable is True)
            likely = found.support
            dual, rest = hard.scattered(found)
            proof = certify(K, y, dual, self.intercept, rest=rest)
            proved = proof.separable or (known is not None and known.separable is True and proof.gap <= self.tol)
            if proved and proof.margin > 0:
                return Solution(dual, found.b, hard.path, rest=rest, separability=known)
            if known is None:
                witness = dual if proof.separable is False else None
                known = Separability(proof.separable, "its rank is too large for coordinates", witness)
        return self._soft(K, y, likely, known, hard.path, factor)

    def _soft(
        self,
        K: Float[Tensor, "n n"],
        y: Float[Tensor, " n"],
        start: Int[Tensor, " k"] | None,
        known: Separability,
        path: str,
        factor: PivotedFactor,
    ) -> Solution:
        """The answer where there is no hard margin, or none that K is precise enough for."""
        gram = SignedGram(K, y, ridge=1 / self.soft_C, intercept=self.intercept)
        soft = Search(gram, self.max_steps, factor)
        answer = soft.run(start)
        what = {False: "not separable", True: "separable by less than rounding", None: "undetermined"}[known.separable]
        return Solution(
            soft.scattered(answer)[0],
            answer.b,
            f"{what} ({path}; {known.words}); soft margin ({soft.path})",
            ridge=gram.scale / self.soft_C,
            separability=known,
        )
