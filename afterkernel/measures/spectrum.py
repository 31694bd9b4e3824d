"""Spectrum of a kernel: its leading eigenvalues, how they decay, and where the labels lie among the eigenvectors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from afterkernel.errors import UserError
from afterkernel.measures.class_targets import class_targets
from afterkernel.measures.matrices import UndefinedError, check_gram
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.options import option
from afterkernel.types import Float, Tensor

# Rounding errors of an entry relative to the largest: what is below n times that is not an eigenvalue of the kernel.
_NOISE = {torch.float64: 1e-14}
FLOAT32_NOISE = 5e-7
# A slope needs this many eigenvalues.
FEWEST = 3


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (n,) of K / n, descending; label_energy (n,), where labels were given: the share of |Y|^2 that the
    leading 1, 2, ..., n eigenvectors carry, Y the vectors of the classes (`class_targets`; y in {-1, +1} for two).
    `floor`: eigenvalues below it may be rounding errors, and their eigenvectors count for nothing.
    """

    eigenvalues: Float[Tensor, " n"]
    label_energy: Float[Tensor, " n"] | None = field(repr=False)
    floor: float

    def decay_exponent(self, first: int = 11, last: int = 100) -> float | None:
        """a of the least-squares fit log eigenvalue_r = b - a log r over the ranks r = first, ..., last.

        The ranks end earlier where eigenvalues fall to `floor`; None where fewer than 3 are left. The first few ranks
        are left out as by Stringer et al., "High-dimensional geometry of population responses in visual cortex",
        Nature 571, 2019, who fit from 11 on. Raises UserError for ranks that are no range.
        """
        check_ranks("ranks", [first, last])
        values = self.eigenvalues[first - 1 : last]
        values = values[: int((values > self.floor).sum())]
        if len(values) < FEWEST:
            return None
        x = torch.arange(first, first + len(values), dtype=torch.float64, device=values.device).log()
        y = values.log()
        x = x - x.mean()
        return -float((x @ (y - y.mean())) / (x @ x))


def spectrum(
    K: Tensor, y: Tensor | None = None, *, noise: float | None = None, n_classes: int | None = None
) -> Spectrum:
    """All eigenvalues of K / n, and with labels y where these lie among the eigenvectors, in float64.

    K: (n, n), the Gram matrix of n images with themselves; y: (n,), labels in {0, ..., c - 1};
    without n_classes = c each of more than two classes must occur. noise: rounding error of an entry
    of K relative to the largest, by its data type if not given. About 9 n^3 operations, 4/3 n^3 without labels. Raises
    UserError for a matrix that is not square, not symmetric, zero or not finite, and for other labels.
    """
    check_gram(K, "the spectrum")
    n = len(K)
    wide = K.double()
    largest = float(K.diagonal().max())
    floor = (_NOISE.get(K.dtype, FLOAT32_NOISE) if noise is None else noise) * largest
    energy = None
    if y is None:
        values = torch.linalg.eigvalsh(wide)
    else:
        targets = class_targets(torch.as_tensor(y), K, n_classes)
        values, vectors = torch.linalg.eigh(wide)
        # The eigenvectors of eigenvalues that are zero are arbitrary. Each of the n rows of the targets has length 1.
        shares = torch.where(values / n > floor, (vectors.T @ targets).square().sum(1) / n, 0)
        energy = shares.flip(0).cumsum(0)
    return Spectrum(values.flip(0) / n, energy, floor)


def check_ranks(name: str, ranks: list[int]) -> None:
    """Raise UserError for what is not a range of ranks, first and last."""
    if len(ranks) != 2 or not 1 <= ranks[0] <= ranks[1] - FEWEST + 1:
        raise UserError(
            f"{name}=[{','.join(map(str, ranks))}] is not a range of ranks: give the first and the last, such as "
            f"[11,100], {FEWEST} ranks at least."
        )


@dataclass
class SpectrumMeasure(Measure):
    """The spectrum on the sample."""

    name: ClassVar[str] = "spectrum"
    what: ClassVar[str] = "top eigenvalues, their decay exponent, share of the labels in the leading eigenvectors"
    cost: ClassVar[str] = "about 9 n^3 operations and 32 n^2 bytes, n = gram_images; no embedding"
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False

    eigenvalues: int = option(
        10,
        "spectrum: number of leading eigenvalues, and of eigenvectors onto which the labels are projected",
        at_least=1,
        at_most=1000,
    )
    decay_ranks: list[int] = option(
        [11, 100], "spectrum: first and last rank of the range to which the decay exponent is fitted", at_least=1
    )

    def check(self) -> None:
        """The ranks must be a range."""
        check_ranks("measure.decay_ranks", self.decay_ranks)

    def of_sample(self, gram: SampleGram) -> Numbers:
        """eigenvalue_1, eigenvalue_2, ...; decay_exponent; label_energy_K for the leading K eigenvectors."""
        top = self.eigenvalues
        found: Numbers = {f"eigenvalue_{i + 1}": None for i in range(top)}
        found |= {"decay_exponent": None, f"label_energy_{top}": None}
        try:
            here = spectrum(gram.matrix, gram.labels, noise=gram.noise, n_classes=gram.n_classes)
        except UndefinedError:
            return found
        found |= {f"eigenvalue_{i + 1}": float(value) for i, value in enumerate(here.eigenvalues[:top])}
        found["decay_exponent"] = here.decay_exponent(*self.decay_ranks)
        assert here.label_energy is not None
        found[f"label_energy_{top}"] = float(here.label_energy[:top][-1])
        return {name: None if value is None or not math.isfinite(value) else value for name, value in found.items()}
