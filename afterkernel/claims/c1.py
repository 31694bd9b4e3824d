"""C1: after a few epochs the after kernel's SVM is more accurate than the NTK's, for some pairs of data and net.

Paired: the SVM on the after kernel with the SVM on the NTK of the same run (same seed, same data, same initialisation).
Table and figure: claim_c1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from afterkernel.claims.hypothesis import Hypothesis, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import differences, plain, start, up_to, values
from afterkernel.claims.panel import PLAIN, SHARE, Condition, Panel

if TYPE_CHECKING:
    import pandas as pd

FEW_EPOCHS = 10


@dataclass(frozen=True)
class MoreAccurate(Hypothesis):
    """SVM test error of the after kernel minus that of the NTK."""

    name: str = "c1"
    statement: str = (
        "After a few epochs the after kernel's SVM is more accurate than the NTK's, for some pairs of data and net."
    )
    comparison: str = (
        f"SVM test error of the after kernel at the last snapshot of at most {FEW_EPOCHS} epochs, minus that of the "
        "NTK of the same run; without augmentation; learning rates averaged seed by seed."
    )
    rule: str = (
        "Confirmed where it is shown to be lower for at least one pair of data and net; refuted where it is shown to "
        "be higher for every one."
    )
    panels: tuple[Panel, ...] = (
        Panel("SVM test error on the NTK (epoch 0) and on the after kernel", SHARE, ("ntk/svm_test_error",)),
        Panel("Test error of the network itself", SHARE, ("network/net_test_error",)),
    )
    conditions: tuple[Condition, ...] = (PLAIN,)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """One part: the change in percentage points."""
        ntk = plain(rows)
        before, after = (values(part, "svm_test_error") for part in (start(ntk), up_to(ntk, FEW_EPOCHS)))
        return [
            Part(
                title="SVM test error",
                quantifier="some",
                region=Region(high=0.0),
                unit="percentage points",
                decimals=2,
                sides=("NTK", "after kernel"),
                samples=differences(before, after, 100),
                missing=f"no run without augmentation has an NTK and an after kernel of 1 to {FEW_EPOCHS} epochs",
            )
        ]
