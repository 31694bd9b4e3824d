"""What is measured: networks, numbers of images, and the sweeps over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FULL = (11_982, 1_984)  # training and test images of MNIST 3/8
NETS = ("vgg", "mlp")
CHECKED_IMAGES = 16
BUDGET_BYTES = 3 * 1024**3  # of ours, the result excluded


@dataclass(frozen=True)
class Case:
    """One network and one set of images; every method is measured on it.

    n training images against themselves, and n_test images, if any, against them. Random images where `root` is None.
    """

    net: str
    n: int
    n_test: int = 0
    budget: int = 100_000
    num_layers: int = 4
    image_side: int = 28
    root: str | None = None
    device: str = "cpu"
    threads: int = 2

    @property
    def images(self) -> str:
        """The number of images, as tables say it."""
        return f"{self.n} + {self.n_test} test" if self.n_test else str(self.n)

    def write(self, folder: Path) -> None:
        """Leave the case in a folder, for processes that measure it."""
        (folder / "case.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case that `write` left."""
        return cls(**json.loads((folder / "case.json").read_text()))


@dataclass(frozen=True)
class Facts:
    """Properties of the built network: its parameters, and about how many bytes a method holds for one image."""

    parameters: int
    bytes_an_image: int

    def write(self, folder: Path) -> None:
        """Save the facts in the folder of the case."""
        (folder / "facts.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Facts:
        """The facts that `write` left."""
        return cls(**json.loads((folder / "facts.json").read_text()))


@dataclass(frozen=True)
class Sweep:
    """A row of cases that differ in one quantity, whose value gives the slopes."""

    title: str
    column: str | None
    value: Callable[[Case, Facts], int]
    vary: Callable[[Case, Sequence[str]], list[Case]]
    slopes: bool = True

    def cases(self, nets: Sequence[str], numbers: Sequence[str], **common: Any) -> list[Case]:
        """The cases, a network after the other; `numbers` are the numbers of images (of the sweep over n)."""
        return [case for net in nets for case in self.vary(Case(net, 500, **common), numbers)]


def _by_images(case: Case, numbers: Sequence[str]) -> list[Case]:
    sizes = [FULL if number == "full" else (int(number), 0) for number in numbers]
    return [replace(case, n=n, n_test=n_test) for n, n_test in sorted(sizes)]


def _by(field: str, *values: int, n: int) -> Callable[[Case, Sequence[str]], list[Case]]:
    return lambda case, _: [Case(**{**asdict(case), "n": n, field: value}) for value in values]


def _large(case: Case, _: Sequence[str]) -> list[Case]:
    """The defaults, and four times the parameters, the images, or both; random images where MNIST has too few."""
    found = [replace(case, n=2000), replace(case, n=4000, budget=400_000)]
    if case.net == "mlp":  # of vgg that many take hours
        found += [replace(case, n=4 * FULL[0], budget=budget, root=None) for budget in (100_000, 400_000)]
    return found


def _bound_mib(case: Case, _: Facts) -> int:
    """What memory may reach: the budget and one and a half of the result."""
    return (BUDGET_BYTES + 6 * case.n * case.n) >> 20


SWEEPS = {
    "memory": Sweep("Memory at large sizes", "bound, MiB", _bound_mib, _large, slopes=False),
    "n": Sweep("Number of images", None, lambda case, _: case.n, _by_images),
    "parameters": Sweep(
        "Parameters",
        None,
        lambda _, facts: facts.parameters,
        _by("budget", 25_000, 50_000, 100_000, 200_000, 400_000, n=500),
    ),
    "depth": Sweep("Depth", "layers", lambda case, _: case.num_layers, _by("num_layers", 2, 4, 8, n=500)),
    "image_size": Sweep("Image size", "side", lambda case, _: case.image_side, _by("image_side", 14, 28, 56, n=250)),
}
