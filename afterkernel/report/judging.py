"""Which claims are judged, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from afterkernel.claims import CLAIMS, Finding, judge
from afterkernel.claims.pairing import of_pairs
from afterkernel.records.record import Record, is_configured

if TYPE_CHECKING:
    import pandas as pd


def requested_claims(records: Iterable[Record]) -> list[str]:
    """The claims that the sweeps of these records name in `sweep.claims`; all if none is named."""
    named: set[str] = set()
    for record in records:
        sweep = record.config.get("sweep")
        named |= set(sweep.get("claims", []) if isinstance(sweep, dict) else [])
    return [name for name in CLAIMS if name in named] or list(CLAIMS)


def judge_claims(records: Sequence[Record], rows: pd.DataFrame, names: Sequence[str] = ()) -> list[Finding]:
    """The verdicts of the rows of these records on the named claims, by default those that their sweeps name.

    None if no run is about a pair of classes. Runs without a configuration are left out: it is unknown which of them
    are comparable.
    """
    pairs = of_pairs(rows[rows["configured"]])
    if pairs.empty:
        return []
    return [judge(CLAIMS[name], pairs) for name in names or requested_claims(filter(is_configured, records))]
