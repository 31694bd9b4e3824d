"""C1: after a few epochs the after kernel's SVM is more accurate than the NTK's, for some pairs of data and network.

Paired: the SVM on the after kernel with the SVM on the NTK of the same run (same seed, same data, same initialisation).
Table and figure: claim_c1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_initialisation, last_within, paired_differences, without_augmentation
from afterkernel.claims.panel import SHARE, WITHOUT_AUGMENTATION, Panel

if TYPE_CHECKING:
    import pandas as pd

FEW_EPOCHS = 10


class MoreAccurate(Claim):
    """SVM test error of the after kernel minus that of the NTK."""

    name = "c1"
    headline = "the after kernel's SVM is more accurate than the NTK's, for some networks"
    statement = (
        "After a few epochs the after kernel's SVM is more accurate than the NTK's, for some pairs of data and network."
    )
    comparison = (
        f"SVM test error of the after kernel at the last snapshot of at most {FEW_EPOCHS} epochs, minus that of the "
        "NTK of the same run, at each learning rate; without augmentation."
    )
    rule = (
        "Confirmed where it is shown to be lower for at least one pair of data and network at some learning rate, and "
        "shown to be higher at no rate of that pair; refuted where it is shown to be higher for every pair at every "
        "rate."
    )
    panels = (
        Panel("SVM test error on the NTK (epoch 0) and on the after kernel", SHARE, ("ntk/svm_test_error",)),
        Panel("Test error of the network itself", SHARE, ("network/net_test_error",)),
    )
    conditions = (WITHOUT_AUGMENTATION,)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """One part: the change in percentage points."""
        ntk = without_augmentation(rows)
        before, after = at_initialisation(ntk), last_within(ntk, FEW_EPOCHS)
        return [
            Part(
                title="SVM test error",
                quantifier="some",
                region=Region(high=0.0),
                unit="percentage points",
                decimals=2,
                sides=("NTK", "after kernel"),
                samples=paired_differences(before, after, "svm_test_error", 100),
                missing=f"no run without augmentation has an NTK and an after kernel of up to {FEW_EPOCHS} epochs",
                statement="S1",
            )
        ]
