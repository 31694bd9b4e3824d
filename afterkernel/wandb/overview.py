"""The ten numbers that a W&B run shows first.

W&B's automatic workspace has a section for each prefix of metrics. These copies have a prefix and names that come first
in alphabetical order, and they are defined first.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "at_a_glance"
METRICS = (
    "training/batch_loss",
    "network/net_test_error",
    "ntk/svm_test_error",
    "conjugate/svm_test_error",
    "ntk/margin",
    "ntk/swap_invariance",
    "ntk/shift_invariance",
    "ntk/alignment_with_initial_ntk",
    "ntk/effective_rank",
    "training/lr",
)
OVERVIEW = {name: f"{PREFIX}/{place:02}_{name.replace('/', '_')}" for place, name in enumerate(METRICS, start=1)}


def overview_of(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those of the ten that are among these numbers, by the names of their copies, in order."""
    return {copy: numbers[name] for name, copy in OVERVIEW.items() if name in numbers}
