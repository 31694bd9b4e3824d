"""The meaning and unit of every column and measure, for docs/definitions.md, W&B notes and dashboards.

Columns are declared in `afterkernel.records.record`; measures whose names contain a number or a kernel are listed here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from afterkernel.records.record import COSINE, SHARE, KernelRecord, Record, Resources
from afterkernel.records.training_curve import TrainingPoint

# Topics in the order of a dashboard; columns of the last two are not plotted.
TOPICS = {
    "training": "Training",
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
    """A column of the results, or a number of a measure.

    In a `name`, N stands for any number and KERNEL for the name of any kernel; `family` is then the title of all such
    numbers together. `title` says what it is, in `unit` ("" for none). `topic` is a key of TOPICS, or the title of a
    topic of its own. `label` is the short title in figures and tables of the report; columns of the record, and names
    with N or KERNEL, are drawn only if they have one. A `headline` number is also a column of the report's table of
    changes. `log` says that it spans orders of magnitude and is never 0. `definition` says in
    one phrase how it is computed.
    """

    name: str
    title: str
    unit: str = ""
    topic: str = "other"
    label: str = ""
    headline: bool = False
    log: bool = False
    family: str = ""
    definition: str = ""

    @property
    def meaning(self) -> str:
        """The definition, or else the title."""
        return self.definition or self.title

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


def _declared(owner: type[Any]) -> Iterator[Term]:
    for field in dataclasses.fields(owner):
        if "term" in field.metadata:
            yield Term(field.name, **field.metadata["term"])


# In the order of the columns: schema_version comes last.
TERMS = sorted(
    (term for owner in (Record, KernelRecord, Resources) for term in _declared(owner)),
    key=lambda term: term.name == "schema_version",
)
# Numbers of the training curve, which are no columns: only loggers get them.
TRAINING_TERMS = list(_declared(TrainingPoint))
# Numbers of measures that most runs have: declared here and not by `Measure.terms`, so that a report needs no torch.
_DEFINITIONS = {
    "alignment": "the cosine between the kernel matrix and that of {} (Frobenius)",
    "CKA": "the cosine between the kernel matrix and that of {} (Frobenius), both centred",
}
_OTHERS = "alignment and CKA with other kernels"
MEASURE_TERMS = [
    Term(
        f"{number.lower()}_with_{when}KERNEL",
        f"{number} with KERNEL {title}",
        "",
        "alignment",
        label,
        family=_OTHERS,
        definition=_DEFINITIONS[number].format(f"KERNEL {title}"),
    )
    for number in ("alignment", "CKA")
    for when, title, label in (
        ("initial_", "at epoch 0", f"{number} with KERNEL at epoch 0"),
        ("", "of the snapshot", f"{number} with KERNEL"),
    )
]
MEASURE_TERMS += [
    Term(
        f"test_{number.lower()}_with_KERNEL",
        f"{number} with KERNEL of the snapshot, on test images",
        "",
        "alignment",
        f"{number} with KERNEL, test images",
        family=_OTHERS,
        definition=f"{_DEFINITIONS[number].format('KERNEL of the snapshot')}, on test images",
    )
    for number in ("alignment", "CKA")
]
MEASURE_TERMS += [
    Term(
        "shift_Npx_invariance",
        "invariance under a shift by N pixels",
        COSINE,
        "invariance",
        "shift invariance, N px",
        definition="the mean cosine between the embeddings of an image and of the image shifted by N pixels",
    ),
    Term(
        "rotation_Nrad_invariance",
        "invariance under a rotation by N rad",
        COSINE,
        "invariance",
        "rotation invariance, N rad",
        definition="the mean cosine between the embeddings of an image and of the image rotated by N rad",
    ),
    Term(
        "zoom_N_invariance",
        "invariance under a crop to N of a side",
        COSINE,
        "invariance",
        "zoom invariance, crop N",
        definition="the mean cosine between the embeddings of an image and of its centre, N of a side, resized",
    ),
    Term("eigenvalue_N", "eigenvalue N of K / n", "", "spectrum", log=True, family="leading eigenvalues of K / n"),
    Term(
        "label_energy_N",
        "share of the labels' energy in the leading N eigenvectors",
        SHARE,
        "spectrum",
        "label energy in N eigenvectors",
        definition="the share of the labels' squared norm in the span of the leading N eigenvectors",
    ),
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


declare([*TRAINING_TERMS, *MEASURE_TERMS])


def term(name: str, kernel_label: Callable[[str], str] = str) -> Term:
    """The term of a column or measure; for LAYER/NAME that of NAME, with the layer in its title.

    The title of a measure that is not listed, such as a plugin's, is its name. `kernel_label` is how a kernel is called
    in titles: by its name by default.
    """
    layer, _, bare = name.rpartition("/")
    found = BY_NAME.get(bare) or _matched(bare, kernel_label) or Term(name, bare.replace("_", " "))
    return dataclasses.replace(found, name=name, title=f"{found.title}, layer {layer}") if layer else found


def is_declared(name: str) -> bool:
    """Whether a column or measure of that name has been declared."""
    bare = name.rpartition("/")[2]
    return bare in BY_NAME or _matched(bare) is not None


def declared_terms() -> list[Term]:
    """The terms of all columns, and of all measures that have been imported."""
    return [*TERMS, *dict.fromkeys(found for _, found in _PATTERNS)]


def markdown(terms: Iterable[Term]) -> str:
    """A Markdown table: name, meaning, unit."""
    lines = ["| name | meaning | unit |", "| --- | --- | --- |"]
    lines += [f"| `{one.name}` | {one.title} | {one.unit} |" for one in terms]
    return "\n".join(lines)


def _matched(name: str, kernel_label: Callable[[str], str] = str) -> Term | None:
    for pattern, found in _PATTERNS:
        if (match := pattern.fullmatch(name)) is None:
            continue
        if not match.groups():
            return found
        value = kernel_label(match[1]) if "KERNEL" in found.name else match[1]
        title, label, definition = (
            re.sub(rf"\b({_PLACEHOLDER.pattern})\b", lambda _: value, text)  # noqa: B023 (used at once)
            for text in (found.title, found.label, found.definition)
        )
        family = found.family or found.title
        return dataclasses.replace(found, name=name, title=title, label=label, family=family, definition=definition)
    return None
