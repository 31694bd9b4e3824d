"""What a scientific claim is made of: words for people, and the samples that test it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from afterkernel.claims.inference import Region
from afterkernel.claims.panel import Condition, Panel

if TYPE_CHECKING:
    import pandas as pd

# For how many pairs of data and net a part of a claim is to hold.
Quantifier = Literal["all", "some", "some but not all"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One comparison: one value per seed, for one pair of data and net, in the unit of its part.

    `before` and `after` are the means of what is compared, where the values are differences. `left_out` says which
    seeds or learning rates do not count, and why.
    """

    data: str
    network: str
    values: tuple[float, ...]
    before: float | None = None
    after: float | None = None
    left_out: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a claim: a region for the mean effect, and for how many of the samples it is to lie there.

    `sides` names what `before` and `after` of the samples are. `missing` says what a sweep needs that has no sample.
    """

    title: str
    quantifier: Quantifier
    region: Region
    unit: str
    decimals: int
    sides: tuple[str, str]
    samples: list[Sample]
    missing: str


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim, in words that the report shows: a subclass per file, found by its `name`.

    `statement` is the hypothesis, `comparison` what is paired with what, `rule` what confirms or refutes it. `panels`
    show it on a dashboard; a report there shows them of the runs that meet all `conditions`.
    """

    name: str = ""
    statement: str = ""
    comparison: str = ""
    rule: str = ""
    panels: tuple[Panel, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """The parts of the claim, with the samples that these rows give. A pure function.

        `rows` has one row per snapshot and kernel of one way of evaluation, with the columns of the results and
        `setting` (the net and what varies apart from augmentation), `augment` and `loss_target`.
        """
        raise TypeError(f"{type(self).__name__} does not say what its parts are")

    def remark(self, rows: pd.DataFrame) -> str:
        """A remark on these rows that belongs with the verdict; empty where there is none."""
        return ""
