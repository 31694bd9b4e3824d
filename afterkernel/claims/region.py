"""The region in which a claim places a mean effect, and what its test requires."""

from __future__ import annotations

import dataclasses
import math

# Of two-sided p-values: each direction is wrong in at most half of it.
LEVEL = 0.05
# With five seeds no pattern of signs has a one-sided p-value below 2.5 %.
FEWEST_SEEDS = 6


@dataclasses.dataclass(frozen=True)
class Region:
    """The region in which a claim places a mean effect: above `low`, below `high`, or both; None means no bound."""

    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """The bounds, each with the sign of an effect within the region: 1 above a lower bound, -1 below an upper."""
        pairs = ((self.low, 1.0), (self.high, -1.0))
        return [(bound, sign) for bound, sign in pairs if bound is not None]

    @property
    def effect(self) -> str:
        """What an effect within the region is, as an adjective or with the bound: lower, higher, above 0.9."""
        return {(None, 0.0): "lower", (0.0, None): "higher"}.get((self.low, self.high), str(self))

    @property
    def opposite(self) -> str:
        """What an effect outside the region is."""
        if None not in (self.low, self.high):
            return f"not {self}"
        return Region(low=self.high, high=self.low).effect

    def __str__(self) -> str:
        if self.low is None:
            return f"below {_signed(self.high)}"
        if self.high is None:
            return f"above {_signed(self.low)}"
        return f"between {_signed(self.low)} and {_signed(self.high)}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:g}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else str(value)
