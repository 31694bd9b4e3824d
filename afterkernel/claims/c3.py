"""C3: the after kernel is more invariant to small shifts, rotations, zooms; augmentation does not add to that.

Paired: the after kernel with the NTK of the same run; and the after kernel of a run with augmentation with that of the
run without (same seed, data, learning rate). "Does not add" is shown by a bound, not by a difference that was not
found: the gain must be shown to be below a margin stated here. Table and figure: claim_c3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_end, at_initialisation, paired_differences, without_augmentation
from afterkernel.claims.panel import COSINE, Panel

if TYPE_CHECKING:
    import pandas as pd

SMALL_TRANSFORMS = ("shift", "rotation", "zoom")
# A gain of a mean cosine that is too small to matter.
MARGIN = 0.02


class MoreInvariant(Claim):
    """Invariances of the after kernel minus those of the NTK, and what augmentation adds."""

    name = "c3"
    statement = (
        "The after kernel is more invariant to small shifts, rotations and zooms than the NTK; augmentation does not "
        "add to that."
    )
    comparison = (
        "Invariance of the after kernel at the end of training, minus that of the NTK of the same run; and that of the "
        "after kernel with augmentation minus without (same seed, data, network, learning rate); learning rates "
        "averaged seed by seed."
    )
    rule = (
        "Confirmed where every invariance is shown to grow for every pair of data and network, and what augmentation "
        f"adds is shown to be below {MARGIN:g}; refuted where one is shown to fall, or augmentation to add "
        "more than that."
    )
    panels = (
        *(Panel(f"{one.capitalize()} invariance", COSINE, (f"ntk/{one}_invariance",)) for one in SMALL_TRANSFORMS),
        Panel(
            "Invariances at the end, with augmentation against without",
            COSINE,
            tuple(f"ntk/{one}_invariance" for one in SMALL_TRANSFORMS),
            kind="bars",
            by="training.augment",
        ),
    )

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """Two parts per transform: the change by training, and by augmentation."""
        return [
            *(self._training(rows, one) for one in SMALL_TRANSFORMS),
            *(self._augment(rows, one) for one in SMALL_TRANSFORMS),
        ]

    def _training(self, rows: pd.DataFrame, transform: str) -> Part:
        ntk = without_augmentation(rows)
        return Part(
            title=f"{transform} invariance",
            quantifier="all",
            region=Region(low=0.0),
            unit="cosine",
            decimals=3,
            sides=("NTK", "after kernel"),
            samples=paired_differences(at_initialisation(ntk), at_end(ntk), f"{transform}_invariance"),
            missing=f"no finished run has the {transform} invariance of its NTK and its after kernel",
        )

    def _augment(self, rows: pd.DataFrame, transform: str) -> Part:
        ended = at_end(rows[rows["kernel"] == "ntk"])
        without, augmented = ended[~ended["augment"]], ended[ended["augment"]]
        return Part(
            title=f"{transform} invariance, what augmentation adds",
            quantifier="all",
            region=Region(high=MARGIN),
            unit="cosine",
            decimals=3,
            sides=("without augmentation", "with augmentation"),
            samples=paired_differences(without, augmented, f"{transform}_invariance"),
            missing="no pair of finished runs differs only in training.augment",
        )
