"""C6: at equal training loss, a larger learning rate gives an after kernel that is more global and more invariant.

Paired as in C5: runs that differ only in the learning rate and stopped at the same training-loss target. Table and
figure: claim_c6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.c3 import SMALL_TRANSFORMS
from afterkernel.claims.c5 import MISSING
from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_loss_target, learning_rate_slopes, losses_at_stop, without_augmentation
from afterkernel.claims.panel import AT_LOSS_TARGET, COSINE, WITHOUT_AUGMENTATION, against_rate

if TYPE_CHECKING:
    import pandas as pd


class LargerRateMoreInvariant(Claim):
    """Slopes of the after kernel's invariances over the logarithm of the learning rate, at equal training loss."""

    name = "c6"
    statement = (
        "At equal training loss, a larger learning rate gives an after kernel that is more global (lower swap "
        "invariance), and more invariant to shifts, rotations and zooms."
    )
    comparison = (
        "Invariances of the after kernels of runs that stopped at the same training-loss target and differ only in "
        "the learning rate: seed by seed, the slope over the learning rate's logarithm; without augmentation."
    )
    rule = (
        "Confirmed where, for every pair of data and network, swap invariance is shown to fall and the others to grow "
        "with the learning rate; refuted where the opposite is shown for one of them."
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
        ended = at_loss_target(without_augmentation(rows))
        regions = {"swap": Region(high=0.0), **dict.fromkeys(SMALL_TRANSFORMS, Region(low=0.0))}
        return [
            Part(
                title=f"{transform} invariance",
                quantifier="all",
                region=region,
                unit="cosine per tenfold learning rate",
                decimals=3,
                sides=("smallest learning rate", "largest learning rate"),
                samples=learning_rate_slopes(ended, f"{transform}_invariance"),
                missing=MISSING,
            )
            for transform, region in regions.items()
        ]

    def remark(self, rows: pd.DataFrame) -> str:
        """How equal the training losses are."""
        return losses_at_stop(rows)
