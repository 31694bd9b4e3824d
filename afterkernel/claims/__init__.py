"""The scientific claims that a sweep can confirm or refute, one file each: hypothesis, comparison, test, verdict rule.

Every subclass of Hypothesis that a module of this package defines is one of them. They are pure functions of the rows
of the results.
"""

from __future__ import annotations

from afterkernel.claims.hypothesis import Hypothesis
from afterkernel.claims.verdict import Comparison, Finding, PartFinding, judge
from afterkernel.plugins import Registry

HYPOTHESES: Registry[Hypothesis] = Registry(__name__, Hypothesis, make=lambda kind: kind(), fields_are_options=False)

__all__ = ["HYPOTHESES", "Comparison", "Finding", "Hypothesis", "PartFinding", "judge"]
