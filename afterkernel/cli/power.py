"""power DIR: which effects a sweep can show, and how many seeds an effect needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from afterkernel.claims import CLAIMS
from afterkernel.cli import A_FILE, RESULTS, CommandParser, folder_argument
from afterkernel.errors import UserError
from afterkernel.report.power import HEADINGS, findings, powers
from afterkernel.text import print_table

GROUP = RESULTS


def main(argv: Sequence[str]) -> int:
    """`power DIR [--effect X] [--claims c1,c5]`: print the power of each comparison of a pilot sweep."""
    parser = CommandParser(
        "power",
        "Print which effects a sweep can show, and how many seeds an effect needs.",
        "power runs/demo --claims c5 --effect 1.0",
    )
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help=f"a run, a sweep, the folder of all sweeps, or {A_FILE}"
    )
    parser.add_argument(
        "--effect",
        metavar="X",
        help="the effect to show, as a distance from the claim's bound, in the unit of the part; by default the "
        "observed one",
    )
    parser.add_argument("--claims", metavar="A,B", help="claims, such as c1,c5; by default those that the sweep names")
    options = parser.parse_args(argv)
    claims = [] if options.claims is None else _claims(options.claims)
    effect = None if options.effect is None else _effect(options.effect)
    found = findings(options.directory, claims)
    rows = [one.cells() for one in powers(found, effect)]
    if rows:
        print_table([*HEADINGS, "seeds needed" if effect is None else f"seeds for {effect:g}"], rows)
        print(
            "SD, effect, distance and detectable are in the unit of the row. Effect: the mean, with the sign of the "
            "report; distance: how\nfar it is from the claim's bound. Detectable: the distance that these seeds show "
            "in 80 % of sweeps, after the correction\nfor all comparisons of the claim. Seeds needed: for 80 %, with "
            "comparisons taken as independent. A dash: unknown, or\nmore than 1,000 seeds, as where the images "
            "are too few."
        )
    for finding in found:
        for part in finding.parts:
            if not part.comparisons:
                print(f"{finding.claim.name}, {part.part.title}: not measured: {part.reason}")
    if not found:
        print("No run is about a pair of classes.")
    return 0


def _claims(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in CLAIMS:
            raise UserError(f"--claims={text}: {name or 'nothing'} is not a claim: choose of {', '.join(CLAIMS)}.")
    return names


def _effect(text: str) -> float:
    try:
        effect = float(text)
    except ValueError:
        effect = math.nan
    if not 0 < effect < math.inf:
        raise UserError(f"--effect={text} is not valid: give a number above 0, in the unit of the claim's part.")
    return effect
