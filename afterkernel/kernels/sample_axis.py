"""Where the samples are in a tensor that a network computes: along which axis, and how many rows each has."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.types import Float, Tensor


@dataclass(frozen=True)
class SampleAxis:
    """Samples along `axis`, each with `rows` consecutive rows there, or every n-th where they are `interleaved`."""

    axis: int
    rows: int
    others: tuple[int, ...]
    interleaved: bool = False

    def shape(self, n: int) -> tuple[int, ...]:
        """The shape of the tensor for n samples."""
        return (*self.others[: self.axis], n * self.rows, *self.others[self.axis :])

    def fits(self, value: Tensor, n: int) -> bool:
        """Whether a tensor of n samples has the shape that follows."""
        return tuple(value.shape) == self.shape(n)

    def split(self, value: Tensor, n: int) -> Tensor:
        """The samples as first dimension; where each has several rows, these as second."""
        if self.axis == 0 and self.rows == 1:
            return value
        value = value.movedim(self.axis, 0)
        if self.rows == 1:
            return value
        if self.interleaved:
            return value.reshape(self.rows, n, *value.shape[1:]).transpose(0, 1)
        return value.reshape(n, self.rows, *value.shape[1:])

    def in_place(self, value: Tensor, leading: int = 1) -> Tensor:
        """What `split` gives, with the rows of a sample back along the axis, which comes after leading dimensions."""
        if self.rows == 1:
            return value.unsqueeze(self.axis + leading)
        return value.movedim(leading, self.axis + leading)

    def by_sample(self, value: Tensor, n: int) -> Float[Tensor, "n p"]:
        """One row per sample, its numbers in the same order for each."""
        return self.split(value, n).reshape(n, -1)


def find_sample_axis(
    first: tuple[int, ...], second: tuple[int, ...], samples: tuple[int, int] = (3, 2)
) -> SampleAxis | None:
    """The axis, from a tensor's shapes for two numbers of samples; None if it is not clear."""
    if len(first) != len(second):
        return None
    differ = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if len(differ) != 1:
        return None
    axis = differ[0]
    rows = first[axis] // samples[0]
    if rows < 1 or (rows * samples[0], rows * samples[1]) != (first[axis], second[axis]):
        return None
    return SampleAxis(axis, rows, first[:axis] + first[axis + 1 :])
