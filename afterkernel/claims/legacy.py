"""What verdict.py and claim_cards.py use until they call infer_jointly; to be deleted then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afterkernel.claims.inference import Inference
    from afterkernel.claims.region import Region


def infer(values: Sequence[float], region: Region) -> Inference:
    """The inference on one comparison alone."""
    from afterkernel.claims.claim import Sample
    from afterkernel.claims.inference import infer_jointly

    return infer_jointly([Sample("", "", tuple(values))], [region])[0]


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile-bootstrap interval of the mean; None below two values."""
    import numpy as np
    from scipy import stats

    if len(values) < 2:
        return None
    generator = np.random.default_rng(0)
    options = {"confidence_level": 0.95, "n_resamples": 2000, "method": "percentile"}
    interval = stats.bootstrap((np.asarray(values),), np.mean, rng=generator, **options).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several tests, in order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
