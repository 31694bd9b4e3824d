"""What a scientific claim declares: its texts, its dashboard panels, and the samples that test it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from afterkernel.claims.inference import Region
from afterkernel.claims.panel import Condition, Panel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# For how many pairs of data and network a part of a claim must hold; "most" is the paper's "tends to".
Quantifier = Literal["all", "most", "some", "some but not all"]
# The rule of parts with the quantifier "most".
TENDS = (
    "Each pair of data and network holds if {shown} at one of its learning rates or losses, and the opposite at none; "
    "it fails the other way round, and depends on the rate or loss if both are shown. Confirmed where more than half "
    "of the pairs hold and none fails; refuted where more than half fail."
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One comparison: one value per seed, for one pair of data and network, in the unit of its part.

    `rate` is the learning rate, None for a comparison over rates; `loss` is the training loss at which it is made, None
    for the end of training. Where the values are differences, `before` and `after` are the means of the two sides.
    `runs` holds for each of the `seeds` the ids of the runs whose numbers make its value.
    `images` (seeds, test images) holds the same value image by image, so that the mean of a row is that seed's value;
    None where the value is no mean over images. Samples with the same `test_set` are about the same images. `left_out`
    says which seeds or learning rates are excluded, and why; `obstacle` why nothing can be compared, and `remark` what
    can be said instead.
    """

    data: str
    network: str
    values: tuple[float, ...]
    before: float | None = None
    after: float | None = None
    left_out: str = ""
    seeds: tuple[int, ...] = ()
    runs: tuple[tuple[str, ...], ...] = ()
    rate: float | None = None
    loss: float | None = None
    images: NDArray[np.float32] | None = None
    test_set: str = ""
    obstacle: str = ""
    remark: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """The pair of data and network, over which a part's quantifier runs."""
        return self.data, self.network

    @property
    def place(self) -> str:
        """Where in its pair the comparison is made: its learning rate and its training loss, in words."""
        words = {"learning rate": self.rate, "loss": self.loss}
        return ", ".join(f"{name} {value:g}" for name, value in words.items() if value is not None)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a claim: a region for the mean effect, and for how many samples the effect must lie there.

    `sides` names the two sides of a difference. `missing` says what the sweep needs where there is no sample.
    `statement` is the key in `STATEMENTS` of the statement of the paper's abstract on which the part bears, if any.
    """

    title: str
    quantifier: Quantifier
    region: Region
    unit: str
    decimals: int
    sides: tuple[str, str]
    samples: list[Sample]
    missing: str
    statement: str = ""


class Claim:
    """A scientific claim; one subclass per file of this package, found by its `name`.

    `statement` is what is claimed and `headline` the same in half a line, `comparison` what is paired with what,
    `rule` what confirms or refutes it. `panels` show it on a dashboard; the W&B report shows them for the runs that
    meet all `conditions`.
    """

    name: ClassVar[str] = ""
    headline: ClassVar[str] = ""
    statement: ClassVar[str] = ""
    comparison: ClassVar[str] = ""
    rule: ClassVar[str] = ""
    panels: ClassVar[tuple[Panel, ...]] = ()
    conditions: ClassVar[tuple[Condition, ...]] = ()

    def parts(self, rows: pd.DataFrame) -> list[Part]:
        """The parts of the claim, with the samples that these rows give. A pure function.

        `rows` has one row per snapshot and kernel, of one evaluation group, with the columns of the results and
        `setting` (the architecture and the other options that vary, except those of augmentation and of where training
        stops and is looked at), `augment`, `losses` (of `snapshot.losses`), `loss_target` and
        `training_failure` (why a run has no trained network; else empty).
        """
        raise TypeError(f"{type(self).__name__} does not define its parts")
