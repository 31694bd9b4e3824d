"""Options of the measures."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.options import option


@dataclass
class Measure:
    """How many images the invariances are averaged over, and how strong the transforms are; a structured config."""

    num_images: int = option(
        1000, "images that the invariances are averaged over, or all if there are fewer", at_least=1
    )
    seed: int = option(0, "seed that chooses those images", at_least=0)
    shift_px: int = option(1, "shift to the right and down, in pixels", at_least=1)
    angle_rad: float = option(0.25, "rotation to either side, in radians", above=0)
    crop_fraction: float = option(13 / 14, "part of each side that zoom keeps", above=0, at_most=1)
