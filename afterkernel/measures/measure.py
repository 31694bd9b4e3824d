"""The base class of measures: from options to named numbers of one kernel of one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from afterkernel.kernels.embedding import BlockSource
from afterkernel.records.glossary import Term, declare
from afterkernel.types import Float, Int, Tensor

# Numbers by name; None where a number does not exist, as the distance to an initialisation that was not saved.
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class SampleGram:
    """The Gram matrix of the sampled training images, of a whole kernel or of one of its layers, phi divided by Z.

    matrix (n, n) and labels (n,) in {0, ..., n_classes - 1}; test (m, n) of the sampled test images with them, and
    test_labels (m,).
    `initial` is the same matrix at epoch 0, `previous` at the snapshot before and `epochs_since` how long ago that was;
    `others` holds other kernels' matrices by name. `test_matrix` (k, k) is the Gram matrix of sampled test images, and
    `test_others` those of the snapshot's other kernels, of whole kernels where a measure needs them. What is missing is
    None. `noise` is the error of an
    entry, by rounding or of an estimated kernel, relative to the largest. `layer` is empty for the whole kernel.
    """

    matrix: Float[Tensor, "n n"]
    labels: Int[Tensor, " n"]
    test: Float[Tensor, "m n"]
    test_labels: Int[Tensor, " m"]
    noise: float
    n_classes: int = 2
    layer: str = ""
    initial: Float[Tensor, "n n"] | None = None
    previous: Float[Tensor, "n n"] | None = None
    epochs_since: float | None = None
    others: Mapping[str, Float[Tensor, "n n"] | None] = field(default_factory=dict)
    test_matrix: Float[Tensor, "k k"] | None = None
    test_others: Mapping[str, Float[Tensor, "k k"]] = field(default_factory=dict)


@dataclass
class Measure:
    """A measure with its options; one subclass per file of this package, found by its `name`.

    The subclass overrides one of the three methods below, by what it needs. Its fields become options of `measure` in
    the configuration, so that their names must be its own. `what` and `cost` are one line each for help; in `cost` n
    are images. `by_default` says whether it is chosen by default; `needs_history` whether it needs the sample's
    Gram matrices of earlier snapshots; `of_test_images` whether its numbers depend on the sampled test images;
    `needs_test_gram` whether it needs the Gram matrix of test images with themselves;
    `several_classes` whether it is defined for labels of more than two classes, without which it is refused for them.
    """

    name: ClassVar[str] = ""
    what: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    by_default: ClassVar[bool] = False
    needs_history: ClassVar[bool] = False
    of_test_images: ClassVar[bool] = True
    needs_test_gram: ClassVar[bool] = False
    several_classes: ClassVar[bool] = False
    # Titles, units and topics of its numbers in reports and W&B; a number without a term is called by its name.
    terms: ClassVar[tuple[Term, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        declare(vars(cls).get("terms", ()))

    def check(self) -> None:
        """Raise UserError for options that can't work together; called before any long work."""

    def check_images(self, height: int, width: int) -> None:
        """Raise UserError for options that can't work on images of this size in pixels."""

    def warn_of_images(self, height: int, width: int) -> None:
        """Warn about options that have no effect on images of this size in pixels."""

    def of_training_set(self, K: Float[Tensor, "n n"]) -> Numbers:
        """Numbers of the Gram matrix of all training images, phi divided by Z, while it is in memory."""
        return {}

    def of_sample(self, gram: SampleGram) -> Numbers:
        """Numbers of the Gram matrix of the sample: of the whole kernel, and with `per_layer` of each layer."""
        return {}

    def of_images(self, phi: BlockSource, images: Tensor, per_layer: bool) -> Numbers:
        """Numbers of the embeddings of the sampled test images, which must not be held all at once.

        With `per_layer` also those of each layer, named LAYER/NAME.
        """
        return {}
