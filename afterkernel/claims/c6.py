"""C6: at equal training loss, a larger learning rate gives an after kernel that is more global and more invariant.

Paired as in C5: runs that differ only in the learning rate, at the same training loss. Table and figure: claim_c6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.c3 import SMALL_TRANSFORMS
from afterkernel.claims.c5 import MISSING
from afterkernel.claims.claim import TENDS, Claim, Part
from afterkernel.claims.equal_loss import rate_slopes
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import without_augmentation
from afterkernel.claims.panel import AT_LOSS_TARGET, COSINE, WITHOUT_AUGMENTATION, against_rate

if TYPE_CHECKING:
    import pandas as pd


class LargerRateMoreInvariant(Claim):
    """Slopes of the after kernel's invariances over the logarithm of the learning rate, at equal training loss."""

    name = "c6"
    headline = "at equal loss, a larger learning rate tends to give a more global and more invariant after kernel"
    statement = (
        "At equal training loss, a larger learning rate tends to give an after kernel that is more global (lower swap "
        "invariance), and more invariant to shifts, rotations and zooms."
    )
    comparison = (
        "Invariances of the after kernels of runs that differ only in the learning rate, at the same training loss: "
        "seed by seed, the slope over the learning rate's logarithm; without augmentation."
    )
    rule = TENDS.format(
        shown="swap invariance is shown to fall, and each of the others to grow, with the learning rate"
    )
    panels = (
        *(
            panel
            for one in ("swap", *SMALL_TRANSFORMS)
            for panel in against_rate(f"{one.capitalize()} invariance", COSINE, f"ntk/{one}_invariance")
        ),
    )
    conditions = (WITHOUT_AUGMENTATION, AT_LOSS_TARGET)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """One part per transform: the slope of a mean cosine per tenfold learning rate."""
        regions = {"swap": Region(high=0.0), **dict.fromkeys(SMALL_TRANSFORMS, Region(low=0.0))}
        ntk = without_augmentation(rows)
        return [
            Part(
                title=f"{transform} invariance",
                quantifier="most",
                region=region,
                unit="cosine per tenfold learning rate",
                decimals=3,
                sides=("smallest learning rate", "largest learning rate"),
                samples=rate_slopes(ntk, f"{transform}_invariance"),
                missing=MISSING,
                statement="S11" if transform == "swap" else "S12",
            )
            for transform, region in regions.items()
        ]
