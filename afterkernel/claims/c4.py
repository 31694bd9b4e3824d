"""C4: the conjugate kernel approximates NTK and after kernel well sometimes, not always (alignment, SVM error).

Paired: the conjugate kernel with the NTK, and with the after kernel, of the same snapshot. What is "well" is stated
here, before any number is seen. Table and figure: claim_c4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part, Sample
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_end, at_initialisation, paired_differences, seed_values, without_augmentation
from afterkernel.claims.panel import SHARE, WITHOUT_AUGMENTATION, Panel

if TYPE_CHECKING:
    import pandas as pd

WELL_ALIGNED = 0.9
WELL_POINTS = 1.0
_ALIGNMENT = "alignment_with_conjugate"


class SometimesClose(Claim):
    """Alignment of the conjugate kernel with the NTK or after kernel, and the difference of their SVM test errors."""

    name = "c4"
    statement = (
        "The conjugate kernel approximates the NTK and the after kernel well sometimes, not always: in alignment and "
        "in SVM test error."
    )
    comparison = (
        "Alignment of the conjugate kernel with the NTK (at initialisation) and the after kernel (at the end of "
        "training) of the same snapshot, and the difference of their SVM test errors; without augmentation; learning "
        "rates averaged seed by seed."
    )
    rule = (
        f"Well: an alignment above {WELL_ALIGNED:g}, SVM test errors within {WELL_POINTS:g} percentage point of each "
        "other. Confirmed where, by each measure, that is shown for one pair of data and network and its opposite for "
        "another; refuted where by one measure it is shown for all, or its opposite for all."
    )
    panels = (
        Panel("Alignment of the conjugate kernel with NTK and after kernel", "", (f"ntk/{_ALIGNMENT}",)),
        Panel("SVM test error on both kernels", SHARE, ("ntk/svm_test_error", "conjugate/svm_test_error")),
        Panel(
            "SVM test error at the end: conjugate kernel against after kernel",
            SHARE,
            ("conjugate/svm_test_error",),
            kind="scatter",
            against="ntk/svm_test_error",
        ),
    )
    conditions = (WITHOUT_AUGMENTATION,)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """Two parts: alignments, and differences of test errors in percentage points."""
        stages = {"at initialisation": at_initialisation, "at the end": at_end}
        aligned: list[Sample] = []
        errors: list[Sample] = []
        for stage, pick in stages.items():
            ntk, conjugate = pick(without_augmentation(rows, "ntk")), pick(without_augmentation(rows, "conjugate"))
            aligned += _at(stage, seed_values(ntk, _ALIGNMENT))
            errors += _at(stage, paired_differences(ntk, conjugate, "svm_test_error", 100))
        return [
            Part(
                title="alignment with the conjugate kernel",
                quantifier="some but not all",
                region=Region(low=WELL_ALIGNED),
                unit="alignment",
                decimals=3,
                sides=("", ""),
                samples=aligned,
                missing="no snapshot has the alignment of its kernels: add alignment to measure.names",
            ),
            Part(
                title="SVM test error",
                quantifier="some but not all",
                region=Region(-WELL_POINTS, WELL_POINTS),
                unit="percentage points",
                decimals=2,
                sides=("NTK or after kernel", "conjugate kernel"),
                samples=errors,
                missing="no snapshot has both kernels: set kernel.names=[ntk,conjugate]",
            ),
        ]


def _at(stage: str, samples: list[Sample]) -> list[Sample]:
    return [replace(one, network=f"{one.network}, {stage}") for one in samples]
