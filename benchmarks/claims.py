"""How often claims get a verdict by chance, and how often for an effect that is there: simulated sweeps.

    python benchmarks/claims.py [null] [loss] [power] [--sweeps 5000] [--seeds 10] [--seconds 60] [--claims c1,c5]

A sweep has 4 data sets, 2 networks, 4 learning rates and, where a claim is about losses, 3 of them. `null`: every mean
lies on the bound of its part, so that every verdict is by chance. Noise is added to every run: normal, exponential,
t with 2 degrees of freedom, or wrong answers to 500 test images, each with a difficulty of its own that changes with
the kernel in the same way for all seeds. `loss`: the numbers of the records depend on the training loss alone. `power`:
all means lie inside their regions by a multiple of the standard deviation over seeds, which is equal everywhere.

A row of the table ends after --seconds of processor time at the latest; its sweeps are counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from afterkernel.claims import CLAIMS, Claim, ComparisonOutcome, Finding, judge
from afterkernel.claims.claim import Part, Sample
from afterkernel.claims.region import Region

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
import claim_rows

Floats = NDArray[Any]
DATA, NETWORKS, RATES, LOSSES = ("a", "b", "c", "d"), ("vgg", "mlp"), (0.01, 0.03, 0.1, 0.3), (0.1, 0.03, 0.01)
IMAGES = 500
SLOPES = np.log10(RATES) - np.mean(np.log10(RATES))
SLOPES /= SLOPES @ SLOPES
NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "exponential": lambda generator, shape: generator.standard_exponential(shape) - 1,
    "t, 2 degrees": lambda generator, shape: generator.standard_t(2, shape),
}
BINOMIAL = "answers"


class Made(Claim):
    """A claim with given parts."""

    name = "made"

    def __init__(self, parts: list[Part]) -> None:
        self.made = parts

    def parts(self, rows: Any) -> list[Part]:
        """The given parts."""
        return self.made


@cache
def _parts(claim: str) -> list[Part]:
    """The parts of a claim, without samples."""
    return CLAIMS[claim].parts(claim_rows.rows(lambda *_, **__: 0.5).iloc[:0])


@dataclasses.dataclass
class Sweep:
    """Simulated values: `noise` names that of single runs, `effect` is how far means lie inside their regions."""

    generator: np.random.Generator
    noise: str
    seeds: int
    effect: float = 0.0

    def claim(self, name: str) -> Claim:
        """The claim with samples of this sweep."""
        return Made([dataclasses.replace(part, samples=list(self._samples(name, part))) for part in _parts(name)])

    def _samples(self, claim: str, part: Part) -> Iterator[Sample]:
        for data, network in itertools.product(DATA, NETWORKS):
            if claim == "c2" and (network == "vgg") != ("VGG" in part.title):
                continue
            answers = self.noise == BINOMIAL and part.unit.startswith("percentage points")
            runs = self._answers() if answers else self._runs(level=not any(part.sides))
            if claim in ("c5", "c6"):
                # Runs by loss share their noise in part: they are snapshots of one training.
                for loss in LOSSES:
                    own = 0 if answers else 0.5 * self._runs()[1:]
                    slopes = np.tensordot(runs[1:] + own, SLOPES, (0, 0))
                    yield self._sample(part, data, network, slopes, loss=loss)
                    if answers:
                        break
            else:
                # All rates share the initial kernel of a seed.
                for rate, run in zip(RATES, runs[1:], strict=True):
                    yield self._sample(part, data, network, run - runs[0], rate=rate)

    def _runs(self, level: bool = False) -> Floats:
        """Values (1 + rates, seeds) at initialisation and at each rate; a level has none to be compared with."""
        noise = NOISE["normal" if self.noise == BINOMIAL else self.noise]
        values = noise(self.generator, (1 + len(RATES), self.seeds))
        values[0] *= 0 if level else 1
        return values

    def _answers(self) -> Floats:
        """Wrong answers (1 + rates, seeds, images) in percentage points."""
        shape = (1 + len(RATES), 1, IMAGES)
        difficulty = self.generator.normal(-4.5, 2.0, IMAGES) + self.generator.normal(0, 1.5, shape)
        difficulty = difficulty + self.generator.normal(0, 0.3, (len(shape[:1]), self.seeds, 1))
        wrong = self.generator.random((1 + len(RATES), self.seeds, IMAGES)) < 1 / (1 + np.exp(-difficulty))
        return 100 * wrong.astype(np.float32)

    def _sample(self, part: Part, data: str, network: str, values: Floats, **place: Any) -> Sample:
        images = None
        bound, sign = part.region.bounds[-1]
        if values.ndim == 2:
            images = values = (values + bound).astype(np.float32)
            values = values.mean(axis=1)
        else:
            values = values / _scale(part.region) + bound + sign * self.effect / _scale(part.region)
        seeds = tuple(range(self.seeds))
        return Sample(data, network, tuple(map(float, values)), seeds=seeds, images=images, test_set=data, **place)


def _scale(region: Region) -> float:
    """Noise over the width of a region of two bounds, so that one bound matters at a time."""
    return 1.0 if len(region.bounds) == 1 else 50.0


@dataclasses.dataclass
class Counts:
    """What came out of simulated sweeps."""

    sweeps: int = 0
    shown: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Count the verdict, and whether any comparison is shown in each direction."""
        self.sweeps += 1
        self.shown[finding.verdict.split(" on ")[0]] += 1
        for outcome in {one.outcome for _, one in finding.comparisons} - {ComparisonOutcome.OPEN}:
            self.shown[outcome.name] += 1
        self.shown["comparisons"] += sum(one.outcome is ComparisonOutcome.HOLDS for _, one in finding.comparisons)
        self.shown["of"] += len(finding.comparisons)

    def cells(self, *keys: str) -> str:
        """Shares in percent."""
        return " | ".join(f"{100 * self.shown[key] / self.sweeps:.1f}" for key in keys)


def simulate(options: argparse.Namespace, judged: Callable[[int], Finding]) -> Counts:
    """Count the findings of sweeps by their number, until there are enough or time is over."""
    counts, began = Counts(), time.process_time()
    # The detectable effects decide nothing, and take half of the time.
    with mock.patch("afterkernel.claims.joint_tests.detectable_by_seeds", return_value=0.0):
        for sweep in range(options.sweeps):
            counts.add(judged(sweep))
            if time.process_time() - began > options.seconds:
                break
    return counts


def null(options: argparse.Namespace) -> None:
    """False verdicts by claim and noise."""
    print("| claim | noise | sweeps | confirmed | refuted | depends | any shown to hold | any shown not to |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, noise in itertools.product(options.claims, (*NOISE, BINOMIAL)):
        if noise == BINOMIAL and name not in ("c1", "c4", "c5"):
            continue

        def judged(sweep: int, name: str = name, noise: str = noise) -> Finding:
            made = Sweep(np.random.default_rng([sweep, len(noise)]), noise, options.seeds)
            return judge(made.claim(name), None)  # type: ignore[arg-type]

        found = simulate(options, judged)
        cells = found.cells("confirmed", "refuted", "depends", "HOLDS", "FAILS")
        print(f"| {name.upper()} | {noise} | {found.sweeps:,} | {cells} |", flush=True)


def loss(options: argparse.Namespace) -> None:
    """Verdicts on records whose numbers depend on the training loss alone, where losses overlap and where not."""
    from claim_rows import at_losses, checked, finding

    print("| claim | losses | sweeps | confirmed | refuted | depends | any shown to hold | any shown not to |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    targets = (0.2, 0.1, 0.05, 0.03, 0.015)
    apart = {0.01: 0.6, 0.03: 0.3, 0.1: 0.12, 0.3: 0.045}
    for name, overlap in itertools.product({"c5", "c6"} & {*options.claims}, (True, False)):

        def judged(sweep: int, name: str = name, overlap: bool = overlap) -> Finding:
            generator = np.random.default_rng([sweep, 11])
            noise: dict[Any, float] = {}

            def value(measure: str, seed: int, rate: float, loss: float, **_: Any) -> float:
                own = noise.setdefault((measure, seed, rate), generator.normal(0, 0.004))
                shared = noise.setdefault((measure, seed), generator.normal(0, 0.01))
                return float(0.5 + own + shared + 0.017 * np.log(loss))

            def path(rate: float) -> list[float]:
                if overlap:
                    return list(checked(generator, rate, targets, 0.013))
                return [apart[rate] * step * generator.uniform(0.97, 1.03) for step in (1, 0.95, 0.9)]

            paths = {rate: lambda *_, rate=rate: path(rate) for rate in apart}
            return finding(name, at_losses(value, paths, losses=targets, seeds=range(options.seeds)))  # type: ignore[no-any-return]

        found = simulate(options, judged)
        cells = found.cells("confirmed", "refuted", "depends", "HOLDS", "FAILS")
        print(f"| {name.upper()} | {'overlap' if overlap else 'apart'} | {found.sweeps:,} | {cells} |", flush=True)


def power(options: argparse.Namespace) -> None:
    """Confirmations where every mean lies in its region, by distance from the bound and number of seeds."""
    print("| claim | effect / SD | seeds | sweeps | confirmed | share of comparisons shown |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    # C5's measured effect: -1.01 points per decade, interval [-1.16, -0.86] with five seeds: SD 0.12.
    cases = [(name, effect, options.seeds) for name in options.claims for effect in (0.5, 1.0, 1.5, 2.0, 3.0)]
    cases += [("c5", 1.01 / 0.1208, seeds) for seeds in (6, 7, 8, 10, 15, 20) if "c5" in options.claims]
    spread = dict.fromkeys(("c5", "c6"), float(np.sqrt(1.25) * np.linalg.norm(SLOPES)))
    for name, effect, seeds in cases:

        def judged(sweep: int, name: str = name, effect: float = effect, seeds: int = seeds) -> Finding:
            distance = effect * spread.get(name, 2**0.5)
            made = Sweep(np.random.default_rng([sweep, seeds]), "normal", seeds, distance)
            return judge(made.claim(name), None)  # type: ignore[arg-type]

        found = simulate(_fewer(options), judged)
        share = 100 * found.shown["comparisons"] / found.shown["of"]
        cells = f"{effect:.1f} | {seeds} | {found.sweeps:,} | {found.cells('confirmed')} | {share:.0f}"
        print(f"| {name.upper()} | {cells} |", flush=True)


def _fewer(options: argparse.Namespace) -> argparse.Namespace:
    """A tenth of the sweeps: a power needs no more digits."""
    return argparse.Namespace(**{**vars(options), "sweeps": max(1, options.sweeps // 10)})


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"null": null, "loss": loss, "power": power}
    parser.add_argument("tables", nargs="*", choices=[*tables, []], default=list(tables))
    parser.add_argument("--sweeps", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, at most, for a row")
    parser.add_argument("--claims", type=lambda text: text.split(","), default=list(CLAIMS))
    options = parser.parse_args()
    for table in options.tables:
        tables[table](options)
        print()


if __name__ == "__main__":
    main()
