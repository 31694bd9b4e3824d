"""Compares the records of a run with those of the same run computed again.

Where versions, CPU and threads are those that were recorded, all numbers must be equal, bit for bit. Elsewhere rounding
differs, and training enlarges it: numbers of the initialisation must agree to 1e-5 (errors to one image, and support
vectors to one or 1 %), and a trained snapshot's may differ
from the recorded one by at most the half width of the prediction interval for one more seed, t sd sqrt(1 + 1/n) over
the n other seeds of the run's cell, at 95 % for all numbers of the run together (Bonferroni).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from afterkernel.config.catalogue import every_option
from afterkernel.records.columns import NAMES
from afterkernel.records.record import KernelRecord, Record

LEAST_SEEDS = 3
RELATIVE = 1e-5
# Below this, numbers of float32 products are rounding.
ABSOLUTE = 1e-7
LEVEL = 0.05
_VERSIONS = ("python", "torch", "numpy")
_EXECUTION = ("device", "threads", "budget_bytes")
# What differs between two computations of one run, or says which run it is.
_NOT_COMPARED = frozenset(
    {
        *("wall_s_train", "commit", "device", "config_sha256", "run_id", "sweep", "evaluation_id", "schema_version"),
        *("svm_path", "warnings"),
    }
)
# Rounding errors themselves.
_ROUNDING = frozenset({"gap", "kernel_error"})
# What counts images: the option of the sample that it is measured on.
_OF_IMAGES = {
    **dict.fromkeys(("net_train_error", "net_test_error", "svm_train_error", "svm_test_error", "n_support")),
    "ridge_loo_error": "gram_images",
    "ridge_test_error": "num_images",
}
# The place of a number among those of a record, such as ("ntk", "margin").
Place = tuple[str, str]


@dataclass
class Comparison:
    """What was compared, in numbers of numbers, and the differences, each in words.

    `other` says in which respect this machine is not the recorded one; empty where numbers must be equal.
    """

    other: str
    n_equal: int = 0
    n_initial: int = 0
    n_trained: int = 0
    n_left_out: int = 0
    differences: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """What was compared, as one sentence without the verdict."""
        if not self.other:
            return f"{self.n_equal:,} numbers equal, bit for bit"
        parts = [f"{self.other}: {self.n_initial:,} numbers of epoch 0 within 1e-5"]
        if self.n_trained:
            parts.append(f"{self.n_trained:,} of trained snapshots as near as other seeds are")
        if self.n_left_out:
            parts.append(f"{self.n_left_out:,} not compared (fewer than {LEAST_SEEDS} other seeds)")
        return ", ".join(parts)


def compare(recorded: Sequence[Record], here: Sequence[Record], others: Sequence[Sequence[Record]]) -> Comparison:
    """Compare the records of one run and evaluation with those computed here; all are in the order of their steps.

    `others` are the records of runs that differ only in the seed, one for each seed.
    """
    found = Comparison(other_machine(recorded[0], here[0]))
    if len(recorded) != len(here):
        found.differences.append(f"{len(recorded)} snapshots are recorded, and there are {len(here)} here")
    pairs = list(zip(recorded, here, strict=False))
    if not found.other:
        for was, now in pairs:
            _compare_equal(found, was, now)
        return found
    n_numbers = sum(len(list(_numbers(was))) for was, _ in pairs if was.step)
    for place, (was, now) in enumerate(pairs):
        if was.step == 0:
            _compare_initial(found, was, now)
        else:
            seeds = [dict(_numbers(run[place])) for run in others if place < len(run)]
            _compare_trained(found, was, now, seeds, LEVEL / max(n_numbers, 1))
    return found


def other_machine(recorded: Record, here: Record) -> str:
    """How the origin of a record differs from one made here, as far as bits depend on it; empty if it does not."""
    was, now = recorded.provenance, here.provenance
    pairs = [
        *((name, was.get("versions", {}).get(name), now["versions"].get(name)) for name in _VERSIONS),
        ("CPU", was.get("cpu"), now.get("cpu")),
        # Earlier records lack it.
        ("CPU capability", was.get("cpu_capability", now["cpu_capability"]), now["cpu_capability"]),
        *((name, was.get("execution", {}).get(name), now["execution"][name]) for name in _EXECUTION),
    ]
    if now["execution"]["device"] != "cpu":
        pairs.append(("GPU", recorded.device, here.device))
    return ", ".join(f"{name} {before or 'unknown'} (here {after})" for name, before, after in pairs if before != after)


def cell(record: Record) -> str:
    """What the runs of a cell share: the evaluation, and all options that affect results but the seed."""
    affecting = {
        name
        for name, owners in every_option().items()
        if name != "seed" and any(owner.metadata["affects_results"] for owner in owners)
    }
    options = {name: value for name, value in _flat(record.config, "") if name in affecting}
    return json.dumps([record.evaluation_id, options], sort_keys=True)


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _values(record: Record) -> Iterator[tuple[Place, Any]]:
    """All that is compared of a record: columns, and measures by their names."""
    for one in fields(Record):
        if one.name in NAMES - _NOT_COMPARED and one.name not in ("config", "provenance"):
            yield ("", one.name), getattr(record, one.name)
    yield ("", "snapshot_sha256"), record.provenance.get("snapshot_sha256")
    for kernel in record.kernels:
        for one in fields(KernelRecord):
            if one.name in NAMES - _NOT_COMPARED and one.name != "measures":
                yield (kernel.kernel, one.name), getattr(kernel, one.name)
        for name, value in kernel.measures.items():
            yield (kernel.kernel, name), value


def _numbers(record: Record) -> Iterator[tuple[Place, float]]:
    """The numbers that are compared on another machine; flags are none."""
    for place, value in _values(record):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and place[1] not in _ROUNDING:
            yield place, float(value)


def _compare_equal(found: Comparison, was: Record, now: Record) -> None:
    present = dict(_values(now))
    for place, value in _values(was):
        if value == "" and present.get(place):
            continue  # not recorded yet by the version that wrote the record
        if repr(value) == repr(present.get(place)):
            found.n_equal += 1
        else:
            found.differences.append(_difference(was, place, value, present.get(place)))


def _compare_initial(found: Comparison, was: Record, now: Record) -> None:
    present = dict(_values(now))
    for place, value in _values(was):
        if place[1] in _ROUNDING or isinstance(value, (str, tuple)) or (value is None and place not in present):
            continue
        other = present.get(place)
        near = value is not None and other is not None and _near(float(value), float(other))
        if value == other or near or _differ_by_an_image(was, place, value, other):
            found.n_initial += 1
        else:
            found.differences.append(_difference(was, place, value, other))


def _differ_by_an_image(record: Record, place: Place, was: Any, now: Any) -> bool:
    """Whether an error differs by one image, or support vectors by one or 1 %: rounding decides on these."""
    name = place[1]
    if was is None or now is None or name not in _OF_IMAGES:
        return False
    if name == "n_support":
        return bool(abs(was - now) <= max(1, 0.01 * was))
    sample = record.config.get("measure", {}).get(_OF_IMAGES[name])
    n_images = record.n_train if "train" in name or "loo" in name else record.n_test
    least = min(n_images, sample) if isinstance(sample, int) else n_images
    return bool(abs(was - now) <= 1 / least + ABSOLUTE)


def _compare_trained(
    found: Comparison, was: Record, now: Record, seeds: Sequence[Mapping[Place, float]], level: float
) -> None:
    present = dict(_numbers(now))
    for place, value in _numbers(was):
        values = [seed[place] for seed in seeds if place in seed]
        if place not in present or len(values) < LEAST_SEEDS:
            found.n_left_out += 1
        elif _near(value, present[place]) or abs(value - present[place]) <= _half_width(values, level):
            found.n_trained += 1
        else:
            found.differences.append(_difference(was, place, value, present[place]))


def _near(value: float, other: float) -> bool:
    return abs(value - other) <= max(RELATIVE * max(abs(value), abs(other)), ABSOLUTE)


def _half_width(values: Sequence[float], level: float) -> float:
    """Half the width of the interval that holds the value of one more seed with probability 1 - level."""
    from scipy.special import stdtrit

    n = len(values)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return float(stdtrit(n - 1, 1 - level / 2)) * sd * math.sqrt(1 + 1 / n)


def _difference(record: Record, place: Place, was: Any, now: Any) -> str:
    kernel, name = place
    where = f"epoch {record.epoch:g}" if record.epoch is not None else f"step {record.step}"
    return f"{where}{f', {kernel}' if kernel else ''}, {name}: recorded {was}, here {now}"
