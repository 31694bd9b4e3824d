"""C3: the after kernel tends to be more invariant to small shifts, rotations, zooms; augmentation does not add to that.

Paired: the after kernel with the NTK of the same run; and the after kernel of a run with augmentation with that of the
run without (same seed, data, learning rate), at equal training loss. "Does not add" is shown by a bound, not by a
difference that was not found: the gain must be shown to be below a margin stated here. Table and figure: claim_c3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import TENDS, Claim, Part
from afterkernel.claims.equal_loss import augmentation_differences
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import (
    NO_AUGMENTATION,
    at_end,
    at_initialisation,
    paired_differences,
    without_augmentation,
)
from afterkernel.claims.panel import COSINE, Panel

if TYPE_CHECKING:
    import pandas as pd

SMALL_TRANSFORMS = ("shift", "rotation", "zoom")
# A gain of a mean cosine that is too small to matter.
MARGIN = 0.02
# Their words in titles: rotation alone is what the author's program did, whose shift was always 0.
AUGMENTATIONS = {
    "rotation": "rotation alone, as in the author's program",
    "rotation_shift": "rotation and shift",
}


class MoreInvariant(Claim):
    """Invariances of the after kernel minus those of the NTK, and what augmentation adds."""

    name = "c3"
    headline = "training tends to make the kernel more invariant, and augmentation does not add to that"
    statement = (
        "The after kernel tends to be more invariant to small shifts, rotations and zooms than the NTK; augmentation "
        "does not add to that."
    )
    comparison = (
        "Invariance of the after kernel at the end of training, minus that of the NTK of the same run, at each "
        "learning rate; and that of the after kernel with augmentation minus without (same seed, data, network and "
        "learning rate), at equal training loss."
    )
    rule = (
        f"{TENDS.format(shown='each invariance is shown to grow')} And what augmentation adds is shown to be below "
        f"{MARGIN:g} for every pair, learning rate and loss; that is refuted where it is shown to add more for one "
        "pair at some rate and loss, and less at none."
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
        """Per transform one part on the change by training, and one on that by each augmentation."""
        present = [name for name in AUGMENTATIONS if bool((rows["augment"] == name).any())] or [""]
        return [
            *(self._training(rows, *one) for one in zip(SMALL_TRANSFORMS, ("S4", "S5", "S6"), strict=True)),
            *(self._augment(rows, one, name) for name in present for one in SMALL_TRANSFORMS),
        ]

    def _training(self, rows: pd.DataFrame, transform: str, statement: str) -> Part:
        ntk = without_augmentation(rows)
        return Part(
            title=f"{transform} invariance",
            quantifier="most",
            region=Region(low=0.0),
            unit="cosine",
            decimals=3,
            sides=("NTK", "after kernel"),
            samples=paired_differences(at_initialisation(ntk), at_end(ntk), f"{transform}_invariance"),
            missing=f"no finished run has the {transform} invariance of its NTK and its after kernel",
            statement=statement,
        )

    def _augment(self, rows: pd.DataFrame, transform: str, augmentation: str) -> Part:
        words = f" ({AUGMENTATIONS[augmentation]})" if augmentation else ""
        return Part(
            title=f"{transform} invariance, what augmentation adds{words}",
            quantifier="all",
            region=Region(high=MARGIN),
            unit="cosine",
            decimals=3,
            sides=("without augmentation", "with augmentation"),
            samples=augmentation_differences(rows[rows["kernel"] == "ntk"], augmentation, f"{transform}_invariance"),
            missing=f"no pair of runs differs only in training.augment ({NO_AUGMENTATION}, and another)",
            statement="S7",
        )
