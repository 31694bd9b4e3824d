"""The meaning and unit of every column and measure, for docs/definitions.md, W&B notes and dashboards.

Columns are declared in `afterkernel.records.record`; measures whose names contain a number or a kernel are listed here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from afterkernel.records.record import COSINE, SHARE, KernelRecord, Record, Resources

# Topics in the order of a dashboard; columns of the last two are not plotted.
TOPICS = {
    "network": "Network",
    "error": "Test errors",
    "invariance": "Invariances",
    "alignment": "Alignment",
    "spectrum": "Spectrum and effective rank",
    "distance": "Distance and velocity",
    "svm": "Health of the SVMs",
    "other": "Other measures",
    "cost": "Costs",
    "run": "The run",
    "note": "Notes",
}


@dataclasses.dataclass(frozen=True)
class Term:
    """A column or a measure: its `name`, `title`, `unit` ("" for none) and topic.

    In a name, N stands for any number and KERNEL for the name of any kernel; `family` is then the title of all of them
    together.
    """

    name: str
    title: str
    unit: str
    topic: str
    family: str = ""

    @property
    def words(self) -> str:
        """The title, followed by the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _declared(owner: type[Any]) -> Iterator[Term]:
    for field in dataclasses.fields(owner):
        if field.metadata:
            yield Term(field.name, *(field.metadata[key] for key in ("title", "unit", "topic")))


# In the order of the columns: schema_version comes last.
TERMS = sorted(
    (term for owner in (Record, KernelRecord, Resources) for term in _declared(owner)),
    key=lambda term: term.name == "schema_version",
)
# Entries of `measures`.
_OTHERS = "alignment and CKA with other kernels"
OPTIONAL = [
    Term("alignment_with_initial_KERNEL", "alignment with KERNEL at epoch 0", "", "alignment", _OTHERS),
    Term("alignment_with_KERNEL", "alignment with KERNEL of the snapshot", "", "alignment", _OTHERS),
    Term("cka_with_initial_KERNEL", "CKA with KERNEL at epoch 0", "", "alignment", _OTHERS),
    Term("cka_with_KERNEL", "CKA with KERNEL of the snapshot", "", "alignment", _OTHERS),
    Term("shift_Npx_invariance", "invariance under a shift by N pixels", COSINE, "invariance"),
    Term("rotation_Nrad_invariance", "invariance under a rotation by N rad", COSINE, "invariance"),
    Term("zoom_N_invariance", "invariance under a crop to N of a side", COSINE, "invariance"),
    Term("eigenvalue_N", "eigenvalue N of K / n", "", "spectrum", "leading eigenvalues of K / n"),
    Term("label_energy_N", "share of the labels' energy in the leading N eigenvectors", SHARE, "spectrum"),
]
BY_NAME = {term.name: term for term in TERMS}
_PLACEHOLDER = re.compile(r"KERNEL|(?<![A-Za-z])N(?![A-Z])")
_VALUES = {"KERNEL": r"([a-z]\w*)", "N": r"(\d[\d.e+-]*)"}
_PATTERNS: list[tuple[re.Pattern[str], Term]] = []


def declare(terms: Iterable[Term]) -> None:
    """Add terms for the numbers of a measure, such as a plugin's."""
    for one in terms:
        pattern = _PLACEHOLDER.sub(lambda match: _VALUES[match[0]], re.escape(one.name))
        _PATTERNS.append((re.compile(pattern), one))


declare(OPTIONAL)


def term(name: str) -> Term:
    """The term of a column or measure; for LAYER/NAME that of NAME, with the layer in its title.

    The title of a measure that is not listed, such as a plugin's, is its name.
    """
    layer, _, bare = name.rpartition("/")
    found = BY_NAME.get(bare) or _matched(bare) or Term(name, bare.replace("_", " "), "", "other")
    return dataclasses.replace(found, name=name, title=f"{found.title}, layer {layer}") if layer else found


def markdown(terms: Iterable[Term]) -> str:
    """A Markdown table: name, meaning, unit."""
    lines = ["| name | meaning | unit |", "| --- | --- | --- |"]
    lines += [f"| `{one.name}` | {one.title} | {one.unit} |" for one in terms]
    return "\n".join(lines)


def _matched(name: str) -> Term | None:
    for pattern, found in _PATTERNS:
        if (match := pattern.fullmatch(name)) is None:
            continue
        if not match.groups():
            return found
        title = re.sub(rf"\b({_PLACEHOLDER.pattern})\b", match[1], found.title)
        return dataclasses.replace(found, name=name, title=title, family=found.family or found.title)
    return None
