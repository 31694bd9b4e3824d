"""C4: the conjugate kernel approximates NTK and after kernel well sometimes, not always (alignment, SVM error).

Paired: the conjugate kernel with the NTK, and with the after kernel, of the same snapshot. What is "well" is stated
here, before any number is seen. Table and figure: claim_c4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_end, at_initialisation, paired_differences, seed_values, without_augmentation
from afterkernel.claims.panel import SHARE, WITHOUT_AUGMENTATION, Panel

if TYPE_CHECKING:
    import pandas as pd

WELL_ALIGNED = 0.9
WELL_POINTS = 1.0
_ALIGNMENT = "alignment_with_conjugate"
_KERNELS = {False: "NTK", True: "after kernel"}
_STATEMENTS = {False: "S8", True: "S9"}
_ALIGNMENTS = {"on training images": _ALIGNMENT, "on test images": f"test_{_ALIGNMENT}"}


class SometimesClose(Claim):
    """Alignment of the conjugate kernel with the NTK or after kernel, and the difference of their SVM test errors."""

    name = "c4"
    headline = "the conjugate kernel approximates the NTK and the after kernel sometimes, not always"
    statement = (
        "The conjugate kernel approximates the NTK and the after kernel well sometimes, not always: in alignment and "
        "in SVM test error."
    )
    comparison = (
        "Alignment of the conjugate kernel with the NTK (at initialisation) and the after kernel (at the end of "
        "training, at each learning rate) of the same snapshot, and the difference of their SVM test errors; without "
        "augmentation."
    )
    rule = (
        f"Well: an alignment above {WELL_ALIGNED:g}, SVM test errors within {WELL_POINTS:g} percentage point of each "
        "other. Confirmed where, by each measure and for both kernels, that is shown for one pair of data and network "
        "and its opposite for another, each without its contrary at another learning rate of the pair; refuted where, "
        "of several pairs, it is shown for all at every rate, or its opposite for all."
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
        """Alignments on each measured set of images, and differences of test errors, for NTK and after kernel."""
        found = []
        for images, column in _ALIGNMENTS.items():
            if images == "on training images" or (column in rows.columns and bool(rows[column].notna().any())):
                found += [self._aligned(rows, images, column, trained=trained) for trained in (False, True)]
        return [*found, *(self._errors(rows, trained=trained) for trained in (False, True))]

    def _aligned(self, rows: pd.DataFrame, images: str, column: str, *, trained: bool) -> Part:
        ntk = _stage(without_augmentation(rows, "ntk"), trained)
        return Part(
            title=f"alignment with the {_KERNELS[trained]} {images}",
            quantifier="some but not all",
            region=Region(low=WELL_ALIGNED),
            unit="alignment",
            decimals=3,
            sides=("", ""),
            samples=seed_values(ntk, column, by_rate=trained),
            missing="no snapshot has the alignment of its kernels: add alignment to measure.names",
            statement=_STATEMENTS[trained],
        )

    def _errors(self, rows: pd.DataFrame, *, trained: bool) -> Part:
        ntk, conjugate = (_stage(without_augmentation(rows, name), trained) for name in ("ntk", "conjugate"))
        return Part(
            title=f"SVM test error against the {_KERNELS[trained]}",
            quantifier="some but not all",
            region=Region(-WELL_POINTS, WELL_POINTS),
            unit="percentage points",
            decimals=2,
            sides=(_KERNELS[trained], "conjugate kernel"),
            samples=paired_differences(ntk, conjugate, "svm_test_error", 100, by_rate=trained),
            missing="no snapshot has both kernels: set kernel.names=[ntk,conjugate]",
            statement=_STATEMENTS[trained],
        )


def _stage(rows: pd.DataFrame, trained: bool) -> pd.DataFrame:
    return at_end(rows) if trained else at_initialisation(rows)
