"""The `exact` backend: margins to rounding, and a proof where the data are not separable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import certify
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.outcome import Outcome
from afterkernel.svm.search import Search
from afterkernel.svm.separability import Separability, decide_separability
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Float, Int, Tensor


@dataclass
class Exact(Backend):
    """Active sets over nested subsets of the samples; where they cycle, an interior point on a working set.

    Where the active sets find no optimum, `decide_separability` decides whether the data are separable. Where they are
    not, or it is undetermined, the answer is the soft-margin SVM with squared slacks, which is the hard
    margin of K + max_i K_ii / soft_C I.
    """

    what: ClassVar[str] = "margins to rounding, and a proof where the data are not separable"
    name: str = option("exact", "which backend (set by svm=NAME)")
    soft_C: float = option(  # noqa: N815
        1e3,
        "if not separable: weight of the squared slacks, with K scaled to a largest diagonal entry of 1",
        at_least=1e-12,
        at_most=1e16,
    )
    max_steps: int = option(30, "active-set steps on one subset before it counts as cycling", at_least=1)
    intercept: bool = option(False, "fit an intercept")

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """Hard margin of K for labels y in {-1, +1}; or the soft margin, with a witness, where there is none.

        `start`, such as the support of a similar K, only saves time.
        """
        gram = SignedGram(K, y, intercept=self.intercept)
        factor = PivotedFactor(gram)
        hard = Search(gram, self.max_steps, factor)
        found = hard.active_sets(start)
        if found is not None:
            dual, rest = hard.scattered(found)
            return Solution(dual, found.b, hard.path, rest=rest)
        known = decide_separability(K, y, self.intercept, factor, hard.nearest)
        if known is None or known.separable is not False:
            certain = known is not None and known.separable is True
            found = hard.working_sets(certain)
            start = found.support
            dual, rest = hard.scattered(found)
            proof = certify(K, y, dual, self.intercept, rest=rest)
            if proof.margin > 0 and (proof.separable or (certain and proof.gap <= self.tol)):
                return Solution(dual, found.b, hard.path, rest=rest, separability=known)
            if known is None:
                witness = dual if proof.separable is False else None
                known = Separability(proof.separable, "its rank is too large for coordinates", witness)

        soft_gram = SignedGram(K, y, ridge=1 / self.soft_C, intercept=self.intercept)
        soft = Search(soft_gram, self.max_steps, factor)
        answer = soft.run(start)
        label = Outcome.of(known.separable, converged=True, soft=True).label
        return Solution(
            soft.scattered(answer)[0],
            answer.b,
            f"{label} ({hard.path}; {known.words}); soft margin ({soft.path})",
            ridge=soft_gram.scale / self.soft_C,
            separability=known,
        )
