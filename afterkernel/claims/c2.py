"""C2: the after kernel of VGG nets is more global than their NTK (lower swap invariance); of MLPs, less global.

Paired: the after kernel at the end of training with the NTK of the same run. Table and figure: claim_c2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.claims.claim import Claim, Part
from afterkernel.claims.inference import Region
from afterkernel.claims.pairing import at_end, at_initialisation, paired_differences, without_augmentation
from afterkernel.claims.panel import COSINE, WITHOUT_AUGMENTATION, Panel

if TYPE_CHECKING:
    import pandas as pd


class MoreGlobal(Claim):
    """Swap invariance of the after kernel minus that of the NTK, by architecture."""

    name = "c2"
    headline = "training makes the kernel of VGG nets more global, and that of MLPs less"
    statement = (
        "The after kernel of VGG nets is more global than their NTK (its swap invariance is lower); that of MLPs is "
        "less global."
    )
    comparison = (
        "Swap invariance of the after kernel at the end of training, minus that of the NTK of the same run, at each "
        "learning rate; without augmentation."
    )
    rule = (
        "Confirmed where it is shown to be lower for every VGG net and higher for every MLP, on every pair of classes "
        "at every learning rate; refuted where the opposite is shown for one of them at some rate, and the claim at "
        "none of its rates."
    )
    panels = (
        Panel("Swap invariance of the NTK (epoch 0) and the after kernel", COSINE, ("ntk/swap_invariance",)),
        Panel("Swap invariance at the end", COSINE, ("ntk/swap_invariance",), kind="bars", by="arch.name"),
    )
    conditions = (WITHOUT_AUGMENTATION,)

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """One part per architecture: the change of a mean cosine."""
        return [
            self._part(rows, "vgg", "VGG nets", Region(high=0.0), "S2"),
            self._part(rows, "mlp", "MLPs", Region(low=0.0), "S3"),
        ]

    def _part(self, rows: pd.DataFrame, arch: str, networks: str, region: Region, statement: str) -> Part:
        ntk = without_augmentation(rows)
        ntk = ntk[ntk["arch"] == arch]
        return Part(
            title=f"swap invariance, {networks}",
            quantifier="all",
            region=region,
            unit="cosine",
            decimals=3,
            sides=("NTK", "after kernel"),
            samples=paired_differences(at_initialisation(ntk), at_end(ntk), "swap_invariance"),
            missing=f"no finished run of arch={arch} has the swap invariance of its NTK and its after kernel",
            statement=statement,
        )
