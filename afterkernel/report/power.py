"""The power of a sweep: the effect that each comparison could have shown, and the seeds that an effect needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, Finding
from afterkernel.claims.claim import Part
from afterkernel.records.store import read_distinct_runs
from afterkernel.report.judging import judge_claims
from afterkernel.report.sections import all_rows, make_sections

if TYPE_CHECKING:
    from afterkernel.claims.two_way import TwoWay

HEADINGS = ["claim", "part", "data", "network", "at", "unit", "seeds", "SD", "effect", "distance", "detectable"]


@dataclasses.dataclass(frozen=True)
class Power:
    """The power of one comparison.

    `effect` is the distance of the observed mean from the claim's bound, in the part's unit. `needed` is the number
    of seeds that show the wanted one in 80 % of sweeps: None if no number of seeds does, or nothing is known about
    their spread.
    """

    claim: str
    part: Part
    comparison: Comparison
    effect: float | None
    needed: int | None

    def cells(self) -> list[str]:
        """Its row of a table: HEADINGS, then the seeds needed."""
        sample, test = self.comparison.sample, self.comparison.test
        decimals = self.part.decimals + 1
        numbers = [fmt.fixed(test.sd, decimals), fmt.number(test.mean, decimals, sign=any(self.part.sides))]
        numbers += [fmt.fixed(one, decimals) for one in (self.effect, test.detectable)]
        needed = fmt.MISSING if self.needed is None else str(self.needed)
        where = [self.claim, self.part.title, sample.data, sample.network, sample.place, self.part.unit]
        return [*where, str(test.n), *numbers, needed]


def findings(directory: Path | str, claims: Sequence[str] = ()) -> list[Finding]:
    """The verdicts on the records below a directory, on these claims or those that its sweeps name."""
    records = list(chain.from_iterable(run.records for run in read_distinct_runs(directory)))
    return judge_claims(records, all_rows(make_sections(records)), claims)


def powers(found: Iterable[Finding], effect: float | None = None) -> Iterator[Power]:
    """The power of every comparison, for an effect beyond the bound: by default the observed one."""
    for finding in found:
        for part, one in finding.comparisons:
            yield power_of(finding, part, one, effect)


def power_of(
    finding: Finding, part: Part, one: Comparison, effect: float | None = None, *, joint: bool = True
) -> Power:
    """The power of one comparison of a claim: of its joint test, or with `joint` false of its own."""
    from afterkernel.claims.power import seeds_needed
    from afterkernel.claims.two_way import two_way

    mean, sd = one.test.mean, one.test.sd
    distance = None if mean is None else min(abs(mean - bound) for bound, _ in part.region.bounds)
    wanted, needed = distance if effect is None else effect, None
    if sd is not None and wanted is not None:
        table: TwoWay | None = None if one.sample.images is None else two_way(one.sample.images)
        needed = seeds_needed(wanted, sd, len(finding.comparisons) if joint else 1, table)
    return Power(finding.claim.name, part, one, distance, needed)
