"""What was measured of kernels, and what it is called: from the declarations of the record and of the measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from afterkernel.kernel_kinds import describe
from afterkernel.records.columns import FRAME
from afterkernel.records.glossary import Term, is_declared, term
from afterkernel.records.record import SHARE, KernelRecord
from afterkernel.report.sections import LABELS

if TYPE_CHECKING:
    import pandas as pd

# The name used in place of a kernel in tables of errors, for rows about the network itself, and its title.
NETWORK = "network"
NETWORK_ITSELF = "network itself"


def terms_of(names: Iterable[str]) -> list[Term]:
    """What columns and numbers of measures mean, in the order given."""
    names = list(names)
    if not all(map(is_declared, names)):
        # Torch takes seconds to import, and most reports have no such measure.
        from afterkernel.measures import MEASURES

        list(MEASURES)  # loads the measures of plugins, which declare the terms of their numbers
    return [term(name, kernel_label) for name in names]


def measured(rows: pd.DataFrame) -> list[Term]:
    """What was measured of whole kernels and is shown: columns of the record with a label, and numbers of measures."""
    labelled = {field.name for field in dataclasses.fields(KernelRecord) if field.metadata.get("term", {}).get("label")}
    names = [name for name in rows.columns if name in labelled or not (name in FRAME or name in LABELS or "/" in name)]
    terms = terms_of(name for name in names if bool(rows[name].notna().any()))
    return [term for term in terms if term.label or not term.family]


def heading(term: Term) -> str:
    """The short title of a term; shares are shown in percent."""
    return f"{term.short} (%)" if term.unit == SHARE else term.short


def kernel_rank(name: str) -> tuple[float, str]:
    """The position of a kernel among others: by the `order` that it declares, the network itself last."""
    return (float("inf") if name == NETWORK else describe(name).order), name


def kernel_order(names: Iterable[str]) -> list[str]:
    """The different names, in that order."""
    return sorted(set(names), key=kernel_rank)


def kernel_label(name: str) -> str:
    """A kernel's name in tables."""
    return NETWORK_ITSELF if name == NETWORK else describe(name).label
