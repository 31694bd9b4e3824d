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

    def fits(self, value: Tensor, n: int) -> bool:
        """Whether a tensor of n samples has the shape that follows."""
        expected = list(self.others)
        expected.insert(self.axis, n * self.rows)
        return tuple(value.shape) == tuple(expected)

    def by_sample(self, value: Tensor, n: int) -> Float[Tensor, "n p"]:
        """One row per sample, its numbers in the same order for each."""
        value = value.movedim(self.axis, 0)
        if self.interleaved:
            value = value.reshape(self.rows, n, *value.shape[1:]).transpose(0, 1)
        return value.reshape(n, -1)


def find_sample_axis(three: tuple[int, ...], two: tuple[int, ...]) -> SampleAxis | None:
    """The axis, from a tensor's shape for three and for two samples; None if it is not clear."""
    if len(three) != len(two):
        return None
    differ = [i for i, (a, b) in enumerate(zip(three, two, strict=True)) if a != b]
    if len(differ) != 1 or three[differ[0]] * 2 != two[differ[0]] * 3:
        return None
    axis = differ[0]
    return SampleAxis(axis, three[axis] // 3, three[:axis] + three[axis + 1 :])
