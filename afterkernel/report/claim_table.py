"""The comparisons of a claim as tables: one row per comparison, its values per seed, and the files of both."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding
from afterkernel.claims.claim import Part
from afterkernel.report.explanations import direction, p_text, place_of
from afterkernel.report.run_table import anchor_of
from afterkernel.report.table_format import Cell, Table, TableRow, tags

if TYPE_CHECKING:
    import pandas as pd

_FURTHER = ("unit", "seeds and images 95 %", "from", "to", "claimed", "detectable", "left out")

_TESTS = ("p of the claimed effect", "p of the opposite")

NOTE = (
    "Effects are means over seeds ± standard error, with Student's 95 % interval, over seeds, for these images; that "
    "over seeds and images takes both as drawn. Each p-value names the effect for which it tests: the claimed one, and "
    "its opposite; below 0.05 that is shown. It is joint, corrected over all comparisons of the claim; below it the "
    "p-values of this comparison alone, without the correction, and of Student's t. Detectable is the effect that so "
    "many seeds with this spread would show in 80 % of sweeps; none: too few seeds to show any that often."
)


@dataclasses.dataclass(frozen=True)
class SeedValue:
    """The value of one seed as text, and the runs that it is made of: for each a text and its place on the page."""

    seed: int
    text: str
    runs: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class SeedRow:
    """The values per seed of one comparison; `anchor` is its id on the page."""

    anchor: str
    name: str
    values: list[SeedValue]

    @property
    def by_seed(self) -> dict[int, SeedValue]:
        """The values by seed."""
        return {one.seed: one for one in self.values}


def comparison_frame(finding: Finding) -> pd.DataFrame:
    """The paired comparisons of a claim, unrounded, in the units that `unit` names."""
    import pandas as pd

    found = [
        {
            **_keys(finding, part, one),
            "statement": part.statement,
            "n_seeds": one.test.n,
            "before": one.sample.before,
            "after": one.sample.after,
            "effect": one.test.mean,
            "standard_deviation": one.test.sd,
            "standard_error": one.test.error,
            "student95_low": one.test.low,
            "student95_high": one.test.high,
            "seeds_and_images95_low": one.test.images_low,
            "seeds_and_images95_high": one.test.images_high,
            "claimed": str(part.region),
            "p_holds": one.test.p_holds,
            "p_holds_joint": one.test.p_holds_joint,
            "p_holds_student": one.test.p_holds_t,
            "p_does_not": one.test.p_fails,
            "p_does_not_joint": one.test.p_fails_joint,
            "p_does_not_student": one.test.p_fails_t,
            "detectable": one.test.detectable,
            "finding": one.outcome.value,
            "reason": one.reason,
            "left_out": one.sample.left_out,
            "remark": one.sample.remark,
        }
        for part, one in finding.comparisons
    ]
    return pd.DataFrame(found)


def seed_frame(finding: Finding) -> pd.DataFrame:
    """The values of a claim's comparisons, one row per comparison and seed, with the ids of the runs they are from."""
    import pandas as pd

    found = [
        {**_keys(finding, part, one), "seed": seed, "value": value, "runs": " ".join(runs)}
        for part, one in finding.comparisons
        for seed, value, runs in _per_seed(one)
    ]
    return pd.DataFrame(found, columns=[*_KEYS, "seed", "value", "runs"])


_KEYS = ("claim", "part", "unit", "data", "network", "learning_rate", "loss")


def _keys(finding: Finding, part: Part, one: Comparison) -> dict[str, object]:
    sample = one.sample
    values = (finding.claim.name, part.title, part.unit, sample.data, sample.network, sample.rate, sample.loss)
    return dict(zip(_KEYS, values, strict=True))


def _per_seed(one: Comparison) -> list[tuple[int, float, tuple[str, ...]]]:
    runs = one.sample.runs or ((),) * len(one.sample.values)
    return list(zip(one.sample.seeds, one.sample.values, runs, strict=True))


def seed_rows(finding: Finding) -> list[SeedRow]:
    """The values per seed of all comparisons that have any, each linked to its runs."""
    found = []
    for place, (part, one) in enumerate(finding.comparisons):
        values = [
            SeedValue(
                seed,
                fmt.number(value, part.decimals, sign=differs(part)),
                [
                    ("run" if len(runs) == 1 else f"run {index}", anchor_of(run))
                    for index, run in enumerate(runs, start=1)
                    if run
                ],
            )
            for seed, value, runs in _per_seed(one)
        ]
        if values:
            name = place_of(one) if len(finding.parts) == 1 else f"{part.title}: {place_of(one)}"
            found.append(SeedRow(_anchor(finding, place), name, values))
    return found


def comparison_table(finding: Finding) -> Table:
    """The comparisons as shown: grouped by part on the page, with every column in files."""
    rows = []
    for place, (part, one) in enumerate(finding.comparisons):
        rows.append(
            TableRow(
                _cells(part, one),
                alert=one.outcome is ComparisonOutcome.FAILS,
                name=place_of(one),
                group=f"{part.title[0].upper()}{part.title[1:]} ({part.unit}; {direction(part)})",
                anchor=f"comparison-{finding.claim.name}-{place}",
                tags=tags(one.sample.data, one.sample.network, fmt.general(one.sample.rate)),
                links={"seeds": f"#{_anchor(finding, place)}"} if one.sample.values else {},
            )
        )
    return Table(
        title=f"Claim {finding.claim.name.upper()}: paired comparisons",
        note=f"{finding.claim.comparison} {NOTE}",
        headings=[
            *("part", "data", "network", "learning rate", "loss"),
            *("finding", "effect", *_TESTS, "seeds"),
            *_FURTHER,
        ],
        rows=rows,
        n_keys=5,
        long=len(rows) > 12,
        further=frozenset(_FURTHER),
        further_lines=frozenset(_TESTS),
    )


def _anchor(finding: Finding, place: int) -> str:
    return f"seeds-{finding.claim.name}-{place}"


def _cells(part: Part, one: Comparison) -> list[Cell]:
    d = part.decimals
    sides = [
        (fmt.fixed(value, d), side) if value is not None else (fmt.MISSING, "")
        for value, side in zip((one.sample.before, one.sample.after), part.sides, strict=True)
    ]
    effect = fmt.number(one.test.mean, d, sign=differs(part))
    test = one.test
    student = "" if fmt.is_missing(test.low) else interval(test.low, test.high, d)
    return [
        *((part.title, ""), (one.sample.data, ""), (one.sample.network, "")),
        *((fmt.general(one.sample.rate), ""), (fmt.general(one.sample.loss), "")),
        (one.outcome.value, one.reason),
        (fmt.spread(effect, fmt.fixed(test.error, d)), student),
        _p_values(part.region.effect, test.p_holds_joint, test.p_holds, test.p_holds_t),
        _p_values(part.region.opposite, test.p_fails_joint, test.p_fails, test.p_fails_t),
        (str(test.n), ""),
        (part.unit, ""),
        (interval(test.images_low, test.images_high, d), ""),
        *sides,
        (str(part.region), ""),
        (_size(test.detectable), ""),
        (one.sample.left_out or fmt.MISSING, one.sample.remark),
    ]


def _p_values(effect: str, joint: float | None, own: float | None, student: float | None) -> Cell:
    """The effect for which is tested with the joint p-value, and below it the p-values of the comparison alone."""
    if joint is None:
        return fmt.MISSING, ""
    return f"{effect}: {p_text(joint)}", f"alone {p_text(own)}, Student {p_text(student)}"


def _size(detectable: float | None) -> str:
    return "none" if detectable == math.inf else fmt.significant(detectable, 2)


def differs(part: Part) -> bool:
    """Whether the effect is a difference, which has a sign, and not a level."""
    return any(part.sides)


def interval(low: float | None, high: float | None, decimals: int) -> str:
    """An interval as text."""
    if fmt.is_missing(low) or fmt.is_missing(high):
        return fmt.MISSING
    return f"[{fmt.number(low, decimals)}, {fmt.number(high, decimals)}]"
