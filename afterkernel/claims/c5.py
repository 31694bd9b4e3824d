"""C5: at equal training loss, a larger learning rate gives a better after kernel (SVM test error).

Paired: the after kernels of runs that differ only in the learning rate (same seed, same data), at the same training
loss. Table and figure: claim_c5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.equal_loss import rate_slopes
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import without_augmentation
from afterkernel.claims.panel import AT_LOSS_TARGET, SHARE, WITHOUT_AUGMENTATION, Panel, against_rate

if TYPE_CHECKING:
    import pandas as pd

MISSING = (
    "no pair of data and network has two learning rates with losses to compare them at (snapshot.losses or "
    "training.loss_target), without augmentation"
)


class LargerRateMoreAccurate(Claim):
    """Slope of the after kernel's SVM test error over the logarithm of the learning rate, at equal training loss."""

    name = "c5"
    headline = "at equal loss, a larger learning rate gives a more accurate after kernel"
    statement = "At equal training loss, a larger learning rate gives a better after kernel: a lower SVM test error."
    comparison = (
        "SVM test error of the after kernels of runs that differ only in the learning rate, at the same training loss: "
        "seed by seed, the slope over the learning rate's logarithm; without augmentation."
    )
    rule = (
        "Confirmed where the error is shown to fall with the learning rate for every pair of data and network, at "
        "every loss at which its runs can be compared; refuted where it is shown to grow for one pair at some loss, "
        "and to fall at none."
    )
    panels = (
        *against_rate("SVM test error of the after kernel", SHARE, "ntk/svm_test_error"),
        Panel("Training loss, down to the one at which runs stop", "nats", ("network/train_loss",), log_y=True),
    )
    conditions = (WITHOUT_AUGMENTATION, AT_LOSS_TARGET)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """One part: the slope in percentage points per tenfold learning rate."""
        return [
            Part(
                title="SVM test error",
                quantifier="all",
                region=Region(high=0.0),
                unit="percentage points per tenfold learning rate",
                decimals=2,
                sides=("smallest learning rate", "largest learning rate"),
                samples=rate_slopes(without_augmentation(rows), "svm_test_error", 100),
                missing=MISSING,
                statement="S10",
            )
        ]
