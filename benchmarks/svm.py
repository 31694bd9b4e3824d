"""Hard-margin SVMs on the Gram matrices of real networks: time, gap, agreement with other solvers, memory.

    python benchmarks/svm.py --root DIR [--n 500 1000 3000 full] [--nets mlp vgg] [--output FILE.md]

DIR holds MNIST/raw. A network is trained for two epochs on the images of 3 and 8, as many as the largest n; its Gram
matrices (float32) at epochs 0 (NTK), 1 and 2 (after kernels) are cut to n random images. Three tables: time and gap of
`exact`, cold and from the previous support, against libsvm on the mirrored problem and DAQP; JST at stated
numbers of steps; and every backend that loads on 20 Gram matrices of 500 images. Full vgg takes some ten minutes, most
of it for the Gram matrices.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from side_by_side.measure import HostMemory, measure
from side_by_side.table import markdown

import afterkernel as ak
from afterkernel.data.problem import Problem
from afterkernel.data.sources.mnist import MNIST
from afterkernel.errors import UserError
from afterkernel.kernels import embedding, train_test_grams
from afterkernel.svm import BACKENDS
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.train import train
from afterkernel.types import Float, Int, Tensor

EPOCHS = (0, 1, 2)
DAQP_UP_TO = 1000
MIRRORED_UP_TO = 3000
JST_STEPS = (100, 300, 1000, 3000, 10_000)
NOT_HERE = ("cuml", "auto")  # auto is one of the others


@dataclass(frozen=True)
class Kernels:
    """Gram matrices of one snapshot."""

    net: str
    epoch: int
    train: Float[Tensor, "n n"]
    test: Float[Tensor, "m n"]
    seconds: float

    def cut(self, rows: Int[Tensor, " k"]) -> Kernels:
        """The same for some of the training images."""
        if torch.equal(rows, torch.arange(len(self.train))):
            return self
        return Kernels(self.net, self.epoch, self.train[rows][:, rows], self.test[:, rows], self.seconds)

    @property
    def name(self) -> str:
        """NTK at the initialisation, else AK."""
        return "NTK" if self.epoch == 0 else f"AK {self.epoch}"


def kernels(net: str, problem: Problem, budget: int) -> Iterator[Kernels]:
    """Train a network, and give its Gram matrices at every epoch."""
    torch.manual_seed(0)
    network = {"vgg": ak.models.vgg, "mlp": ak.models.mlp}[net](problem.image_shape, budget=budget)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = Training(lr=0.1, epochs=max(EPOCHS))
        train(network, problem, options, Snapshots(list(EPOCHS)), folder, Execution(0, torch.device("cpu")))
        for path in snapshot.paths(folder):
            facts = snapshot.load(folder, network, path)
            started = time.perf_counter()
            grams = train_test_grams(embedding(network), problem.x_train, problem.x_test)
            yield Kernels(net, int(facts.epoch), grams.train, grams.test, time.perf_counter() - started)


def error(svm: ak.HardMarginSVM, K_test: Tensor, y_test: Tensor) -> str:
    """Test error in per cent."""
    return f"{100 * (svm.predict(K_test) != y_test).double().mean().item():.2f}"


def daqp_margin(K: Float[Tensor, "n n"], y: Int[Tensor, " n"]) -> float:
    """The margin by DAQP, of the primal in coordinates of a factor of K."""
    import daqp

    values, vectors = torch.linalg.eigh(K.double())
    F = vectors * values.clamp_min(0).sqrt()
    scale = K.diagonal().max().item()
    Z = ((2 * y.double() - 1)[:, None] * F / math.sqrt(scale)).numpy()
    n, p = Z.shape
    bounds = np.full(n, 1e30), np.ones(n)
    w, _, flag, _ = daqp.solve(np.eye(p), np.zeros(p), Z, *bounds, np.zeros(n, dtype=np.int32), primal_tol=1e-12)
    return math.sqrt(scale) / float(np.linalg.norm(w)) if flag == 1 else math.nan


def timing_row(here: Kernels, before: Tensor | None, y: Int[Tensor, " n"]) -> tuple[list[str], Tensor]:
    """One line of the table of times, and the support."""
    n = len(here.train)
    fitted: list[ak.HardMarginSVM] = []

    def cold() -> None:
        fitted[:] = [ak.HardMarginSVM().fit(here.train, y)]

    outcome = measure(cold, HostMemory())
    (svm,) = fitted
    assert outcome.seconds is not None
    cells = [here.net, here.name, f"{n:,}", str(svm.n_support_), f"{outcome.seconds:.3f}"]
    cells += [f"{100 * outcome.seconds / here.seconds:.1f} %" if n > MIRRORED_UP_TO else "-"]
    if before is None:
        cells.append("-")
    else:
        warm = measure(lambda: ak.HardMarginSVM().fit(here.train, y, start=before), HostMemory())
        cells.append(f"{warm.seconds:.3f}")
    cells += [f"{svm.gap_:.0e}", f"{(outcome.peak_bytes or 0) / 2**20:,.0f}"]
    if n <= MIRRORED_UP_TO:
        mirrored: list[ak.HardMarginSVM] = []

        def fit_mirrored() -> None:
            options = {"intercept": False, "stop_tol": 1e-6}
            mirrored[:] = [ak.HardMarginSVM("libsvm", **options).fit(here.train, y)]

        took = measure(fit_mirrored, HostMemory())
        difference = abs(mirrored[0].margin_ / svm.margin_ - 1)
        cells += [f"{took.seconds:.3f}", f"{mirrored[0].gap_:.0e}", f"{difference:.0e}"]
    else:
        cells += ["-", "-", "-"]
    cells.append(f"{abs(daqp_margin(here.train, y) / svm.margin_ - 1):.0e}" if n <= DAQP_UP_TO else "-")
    return cells, svm.support_


def jst_rows(here: Kernels, y: Int[Tensor, " n"], y_test: Tensor) -> Iterator[list[str]]:
    """JST after some numbers of steps, and exact beneath it."""
    for steps in JST_STEPS:
        started = time.perf_counter()
        svm = ak.HardMarginSVM("jst", max_steps=steps, tol=1e-9).fit(here.train, y)
        took = time.perf_counter() - started
        yield [here.net, here.name, str(steps), f"{took:.2f}", f"{svm.gap_:.0e}", error(svm, here.test, y_test)]
    started = time.perf_counter()
    svm = ak.HardMarginSVM().fit(here.train, y)
    took = time.perf_counter() - started
    yield [here.net, here.name, "exact", f"{took:.2f}", f"{svm.gap_:.0e}", error(svm, here.test, y_test)]


def agreement_row(label: str, here: Kernels, y: Int[Tensor, " n"], y_test: Tensor, names: list[str]) -> list[str]:
    """Every backend on one Gram matrix: test error, and its certified gap."""
    cells = [here.net, here.name, label]
    for name in names:
        try:
            svm = ak.HardMarginSVM(name).fit(here.train, y)
            cells.append(f"{error(svm, here.test, y_test)} ({svm.margin_:.4g}; {svm.gap_:.0e})")
        except UserError as reason:
            cells.append(str(reason).split(":")[0])
    return cells


def main() -> None:
    """Measure, print Markdown, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--n", nargs="+", default=["500", "1000", "3000"], help="numbers of images, or full")
    parser.add_argument("--nets", nargs="+", choices=("mlp", "vgg"), default=["mlp", "vgg"])
    parser.add_argument("--budget", type=int, default=100_000, help="parameters")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    most = max(10**9 if number == "full" else int(number) for number in options.n)
    problem = MNIST(root=options.root, download=False, max_train=None if most == 10**9 else most).load()
    n, generator = len(problem.y_train), torch.Generator().manual_seed(0)
    sizes = [n if number == "full" else min(int(number), n) for number in options.n]
    names = [name for name in BACKENDS if name not in NOT_HERE]
    times: list[list[str]] = []
    steps: list[list[str]] = []
    agree: list[list[str]] = []
    for net in options.nets:
        support: dict[int, Tensor] = {}
        for whole in kernels(net, problem, options.budget):
            for size in sizes:
                rows = torch.randperm(n, generator=torch.Generator().manual_seed(1))[:size].sort().values
                here, y = whole.cut(rows), problem.y_train[rows]
                cells, support[size] = timing_row(here, support.get(size), y)
                times.append(cells)
                print(" | ".join(cells), flush=True)
                if size == max(s for s in sizes if s <= MIRRORED_UP_TO):
                    steps += jst_rows(here, y, problem.y_test)
            for draw in range(10 if whole.epoch < 2 and len(options.nets) == 1 else 5 if whole.epoch < 2 else 0):
                rows = torch.randperm(n, generator=generator)[:500]
                agree.append(agreement_row(str(draw), whole.cut(rows), problem.y_train[rows], problem.y_test, names))
                print(" | ".join(agree[-1]), flush=True)
    text = "\n\n".join(
        [
            "## Time",
            markdown(TIME_HEADS, times),
            "## JST by steps",
            markdown(["net", "kernel", "steps", "s", "gap", "test error, %"], steps),
            "## All backends: test error in per cent (margin; gap)",
            markdown(["net", "kernel", "draw", *names], agree),
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


TIME_HEADS = ["net", "kernel", "n", "support", "exact, s", "of the Gram's time", "from the snapshot before, s", "gap"]
TIME_HEADS += ["MiB beyond K", "libsvm mirrored, s", "its gap", "margins differ by", "DAQP's by"]


if __name__ == "__main__":
    main()
