"""The scientific claims that a sweep can confirm or refute, one file each: statement, comparison, test, verdict rule.

Every subclass of Claim that a module of this package defines is one of them. They are pure functions of the rows of
the results.
"""

from __future__ import annotations

from afterkernel.claims.claim import Claim
from afterkernel.claims.verdict import Comparison, ComparisonOutcome, Finding, PartFinding, judge
from afterkernel.plugins import Registry

CLAIMS: Registry[Claim] = Registry(
    __name__, Claim, make=lambda kind: kind(), overrides=("parts",), fields_are_options=False
)

__all__ = ["CLAIMS", "Claim", "Comparison", "ComparisonOutcome", "Finding", "PartFinding", "judge"]
