"""Readings: a number of one run, image by image where it is an error; and how those of several runs make a sample."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel.claims.claim import Sample
from afterkernel.records.answers import unpack

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SETTING_KEYS = ["dataset", "minus", "plus", "setting"]
DIVERGED, SOFT, NOT_CONVERGED, NOT_MEASURED = "diverged", "soft margin", "the SVM did not converge", "not measured"
NOT_RECORDED = "not recorded"


@dataclasses.dataclass(frozen=True)
class Reading:
    """A number of one run, `run` being its id.

    `images` (test images,) are its terms, None where not recorded; `missing` says why there is no number.
    """

    value: float = float("nan")
    images: NDArray[np.float32] | None = None
    missing: str = ""
    run: str = ""


# The columns by which `equal_loss` and `pairing` divide rows, and those that `readings` reads.
_NEEDED = [
    *(*SETTING_KEYS, "kernel", "augment", "learning_rate", "seed", "epoch", "step", "final", "train_loss", "losses"),
    *("loss_target", "run_id", "n_test", "training_failure", "separable", "gap", "converged", "svm_test_wrong"),
]

# By seed, for one side of a comparison.
Readings = Mapping[int, Reading]


def columns_of(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with only the columns that comparisons of one column need: dividing all of them takes long."""
    return rows[rows.columns.intersection([*_NEEDED, column])]


def readings(rows: pd.DataFrame, column: str, scale: float) -> list[Reading]:
    """A column times `scale`, row by row.

    Errors are those of hard margins alone: not of SVMs that did not converge, or have a soft margin since there is no
    hard one. Of a training that failed only the initialisation counts.
    """
    import numpy as np

    of_svm = column.startswith("svm_")
    answers = column == "svm_test_error" and "svm_test_wrong" in rows.columns
    values = rows[column].to_numpy(dtype=float, na_value=float("nan")) * scale
    failures = rows["training_failure"].where(rows["epoch"] > 0, "").tolist()
    soft = ~((rows["separable"] == True).fillna(False) & rows["gap"].notna()).to_numpy(dtype=bool)  # noqa: E712
    failed = ~rows["converged"].to_numpy(dtype=bool)
    wrong = rows["svm_test_wrong"].tolist() if answers else [""] * len(rows)
    runs = rows["run_id"].tolist() if "run_id" in rows.columns else [""] * len(rows)
    found = []
    for place, (value, n_test) in enumerate(zip(values, rows["n_test"], strict=True)):
        missing = ""
        if failures[place]:
            missing = failures[place]
        elif of_svm and soft[place]:
            missing = SOFT
        elif of_svm and failed[place]:
            missing = NOT_CONVERGED
        elif value != value:
            missing = NOT_MEASURED
        images = None if missing or not wrong[place] else np.float32(scale) * unpack(wrong[place], int(n_test))
        found.append(Reading(missing=missing) if missing else Reading(float(value), images, run=runs[place]))
    return found


def by_unit(rows: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows of each unit of comparison: SETTING_KEYS and `keys`, in order."""
    yield from rows.groupby([*SETTING_KEYS, *keys], sort=True)


def names(unit: tuple[Any, ...], n_test: int) -> dict[str, Any]:
    """The names of a unit's data, network and test set, as fields of a sample."""
    data = f"{unit[0]} {unit[1]}/{unit[2]}"
    return {"data": data, "network": unit[3], "test_set": f"{data}, {n_test} images"}


def complete(sides: Mapping[Any, Readings]) -> tuple[list[int], str]:
    """The seeds with a number on every side, and in words how many others are left out, and why."""
    seeds = sorted(set().union(*sides.values()))
    lacking = {seed: _missing(sides.values(), seed) for seed in seeds}
    counts = Counter(reason for reason in lacking.values() if reason)
    texts = [f"{number} of {len(seeds)} seeds ({reason})" for reason, number in counts.most_common()]
    return [seed for seed in seeds if not lacking[seed]], "; ".join(texts)


def weighted(sides: Mapping[Any, Readings], weights: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """The weighted sum of the sides for each of these seeds, as fields of a sample."""
    import numpy as np

    tables = [[side[seed] for seed in seeds] for side in sides.values()]
    summed = np.asarray(weights) @ np.array([[one.value for one in table] for table in tables])
    fields: dict[str, Any] = {"values": tuple(map(float, summed)), "seeds": tuple(seeds)}
    fields["runs"] = tuple(tuple(dict.fromkeys(one.run for one in found)) for found in zip(*tables, strict=True))
    if seeds and all(one.images is not None for table in tables for one in table):
        stacks = [np.stack([one.images for one in table if one.images is not None]) for table in tables]
        fields["images"] = sum(np.float32(weight) * stack for weight, stack in zip(weights, stacks, strict=True))
    return fields


def mean(side: Readings, seeds: Sequence[int]) -> float:
    """The mean over these seeds."""
    return sum(side[seed].value for seed in seeds) / len(seeds)


def difference(names: Mapping[str, Any], before: Readings, after: Readings, **fields: Any) -> Sample:
    """The sample of `after` minus `before`, seed by seed; one that has no seed has the commonest reason as obstacle."""
    sides = {"before": before, "after": after}
    seeds, left_out = complete(sides)
    if not seeds:
        reasons = Counter(_missing(sides.values(), seed) for seed in {*before, *after})
        fields = {"obstacle": reasons.most_common(1)[0][0]} | fields
        return Sample(**names, values=(), left_out=left_out, **fields)
    fields |= {"before": mean(before, seeds), "after": mean(after, seeds), "left_out": left_out}
    return Sample(**names, **weighted(sides, (-1.0, 1.0), seeds), **fields)


def _missing(sides: Any, seed: int) -> str:
    """Why a seed lacks a number on one of the sides; empty if it lacks none."""
    return next((why for side in sides if (why := side[seed].missing if seed in side else NOT_RECORDED)), "")
