"""The meaning and unit of every column of the results and of every number that a measure declares.

The page of definitions, the notes of W&B runs, and the titles in reports and dashboards are derived from it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from afterkernel.records.record import COSINE, SHARE, KernelRecord, Record, Resources

# Topics, in the order in which a dashboard shows them; columns of the last two are not plotted.
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
_NUMBER = r"(\d[\d.e+-]*)"


@dataclasses.dataclass(frozen=True)
class Term:
    """A column of the results, or a number of a measure; a capital N in a measure's name stands for any number.

    `title` says what it is, in `unit` ("" for none). `topic` is a key of TOPICS, or the title of a topic of its own.
    `label` is the short title in figures and tables of the report; columns of the record, and names with N, are drawn
    only if they have one.
    A `headline` number is also a column of the report's table of changes. `log` says that it spans orders of magnitude
    and is never 0. `family` is the title of all numbers that differ in N alone.
    """

    name: str
    title: str
    unit: str = ""
    topic: str = "other"
    label: str = ""
    headline: bool = False
    log: bool = False
    family: str = ""

    @property
    def heading(self) -> str:
        """The title, followed by the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def short(self) -> str:
        """The label, or else the title."""
        return self.label or self.title

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The range of its values, where the unit sets one."""
        return {SHARE: (0.0, 1.0), COSINE: (-1.0, 1.0)}.get(self.unit)

    def match(self, name: str) -> Term | None:
        """The term of one name, with its number in the texts; None for a name of another term."""
        found = re.fullmatch(re.escape(self.name).replace("N", _NUMBER, 1), name)
        if found is None or not found.groups():
            return None if found is None else self
        title, label = (re.sub(r"\bN\b", found[1], text) for text in (self.title, self.label))
        return dataclasses.replace(self, name=name, title=title, label=label, family=self.family or self.title)


def _declared(owner: type[Any]) -> Iterator[Term]:
    for field in dataclasses.fields(owner):
        if field.metadata:
            yield Term(field.name, **field.metadata)


# In the order of the columns: schema_version comes last.
TERMS = sorted(
    (term for owner in (Record, KernelRecord, Resources) for term in _declared(owner)),
    key=lambda term: term.name == "schema_version",
)
BY_NAME = {term.name: term for term in TERMS}
# Numbers of measures that most runs have: declared here and not by `Measure.terms`, so that a report needs no torch.
MEASURE_TERMS = [
    Term(
        "shift_Npx_invariance", "invariance under a shift by N pixels", COSINE, "invariance", "shift invariance, N px"
    ),
    Term(
        "rotation_Nrad_invariance",
        "invariance under a rotation by N rad",
        COSINE,
        "invariance",
        "rotation invariance, N rad",
    ),
    Term(
        "zoom_N_invariance", "invariance under a crop to N of a side", COSINE, "invariance", "zoom invariance, crop N"
    ),
    Term("eigenvalue_N", "eigenvalue N of K / n", "", "spectrum", log=True, family="leading eigenvalues of K / n"),
    Term(
        "label_energy_N",
        "share of the labels' energy in the leading N eigenvectors",
        SHARE,
        "spectrum",
        "label energy in N eigenvectors",
    ),
]


def term(name: str, declared: Iterable[Term] = ()) -> Term:
    """The term of a column or of a measure's number; `declared` adds the terms of `Measure.terms`.

    LAYER/NAME has the term of NAME, with the layer in its title. A number that is not declared is called by its name.
    """
    layer, _, bare = name.rpartition("/")
    found = _find(bare, (*MEASURE_TERMS, *declared)) or Term(name, bare.replace("_", " "))
    return dataclasses.replace(found, name=name, title=f"{found.title}, layer {layer}") if layer else found


def is_known(name: str) -> bool:
    """Whether a term is declared here, so that `term` needs none of those that measures declare."""
    return _find(name.rpartition("/")[2], MEASURE_TERMS) is not None


def _find(name: str, declared: Iterable[Term]) -> Term | None:
    return BY_NAME.get(name) or next((match for each in declared if (match := each.match(name))), None)


def markdown(terms: Iterable[Term]) -> str:
    """A Markdown table: name, meaning, unit."""
    lines = ["| name | meaning | unit |", "| --- | --- | --- |"]
    lines += [f"| `{one.name}` | {one.title} | {one.unit} |" for one in terms]
    return "\n".join(lines)
