"""Kernels beyond what fits: sketches (error, time, memory), peers at equal dim, and Gram matrices in a file.

    python benchmarks/sketch.py --root DIR sketches|peers|files [--n 20000 60000] [--folder DIR]

DIR holds MNIST/raw; all networks here take the images of its ten digits. `sketches`: an mlp of 1e5 parameters on 60,000
images, and one of 1e8 parameters on 256. `peers`: error and time of ak.sketch, TRAK and dattri
(extra `peers`; on the CPU these are dense matrices, or a mask), which take gradients by vmap(grad). `files`: Gram
matrices written to FOLDER by `out=`, the exact SVM on them (even against odd digits), and their removal. Errors are
root mean squares over pairs of images, relative to |phi(x)| |phi(y)|; of `peers` the mean of three seeds. Memory is
that of this process without memory-mapped files; times in brackets are CPU seconds, which depend less on what else the
machine does.
"""

from __future__ import annotations

import argparse
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side.table import markdown
from torch import nn

import afterkernel as ak
from afterkernel.types import Float, Int, Tensor

SHAPE = (1, 28, 28)
SEEDS = (0, 1, 2)
DIMS = (1024, 4096)
GIB = 2**30


@dataclass
class Cost:
    """Seconds on the clock and of the CPU, and bytes of memory at the most over what was held before."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    @property
    def seconds(self) -> str:
        """Both times."""
        return f"{self.wall_s:.3g} ({self.cpu_s:.3g})"

    @property
    def gib(self) -> str:
        """The memory."""
        return f"{self.peak_bytes / GIB:.2f}"


def _anonymous_bytes() -> int:
    """Memory of this process apart from files that are mapped (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def measured() -> Iterator[Cost]:
    """The cost of what is done within the block."""
    cost, done, before = Cost(), threading.Event(), _anonymous_bytes()

    def watch() -> None:
        while not done.wait(0.02):
            cost.peak_bytes = max(cost.peak_bytes, _anonymous_bytes() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.wall_s, cost.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        done.set()
        watcher.join()


def digits(root: Path, n: int) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, " n"]]:
    """The first n training images of MNIST in [0, 1], and whether their digits are odd."""
    from torchvision.datasets import MNIST

    data = MNIST(str(root), train=True)
    return data.data[:n].unsqueeze(1).float() / 255, data.targets[:n] % 2


def sketches(root: Path) -> None:
    """Large n, and many parameters."""
    cases: list[tuple[str, nn.Module, int]] = [
        ("mlp, 1e5 parameters", ak.models.mlp(SHAPE, budget=100_000), 60_000),
        ("mlp, 1e8 parameters", ak.models.mlp(SHAPE, width=9_500, num_layers=2), 256),
    ]
    rows = []
    for name, model, n in cases:
        x, _ = digits(root, n)
        for dim in DIMS:
            with measured() as cost:
                found = ak.sketch(model, x, dim, details=True, budget_bytes=GIB)
            result = found.embedding.nbytes
            error = found.relative_error or 0.0
            numbers = sum(p.numel() for p in model.parameters())
            memory = f"{max(0, cost.peak_bytes - result) / GIB:.2f} + {result / GIB:.2f}"
            rows.append([name, f"{numbers:,}", f"{n:,}", str(dim), f"{error:.4f}", cost.seconds, memory])
            print(rows[-1], flush=True)
            if dim == DIMS[-1]:
                print("\n".join(f"  {layer.layer}: {layer.cost.method}, {layer.reason}" for layer in found.plan))
    print(markdown(["network", "parameters", "images", "dim", "error", "s (cpu s)", "GiB + result"], rows))


def _gradients(model: nn.Module, x: Tensor) -> Float[Tensor, "n p"]:
    """Gradients of single samples by vmap(grad), as TRAK takes them."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(model, parameters, (sample[None],))
        return found.squeeze()

    found = torch.func.vmap(torch.func.grad(output), (None, 0))(parameters, x)
    rows: Tensor = torch.cat([value.flatten(1) for value in found.values()], dim=1)
    return rows


def _trak(features: Tensor, dim: int, seed: int) -> Tensor:
    from trak.projectors import BasicProjector, ProjectionType

    made = BasicProjector(features.shape[1], dim, seed, ProjectionType.rademacher, "cpu", block_size=128)
    found: Tensor = made.project(features, 0)
    return found / math.sqrt(dim)


def _dattri(kind: str) -> Callable[[Tensor, int, int], Tensor]:
    def project(features: Tensor, dim: int, seed: int) -> Tensor:
        from dattri.func.projection import random_project

        made: Tensor = random_project(features, len(features), dim, 32, seed, kind, device="cpu")(features)
        scale = features.shape[1] / dim if kind == "random_mask" else 1.0  # a mask keeps some entries as they are
        found: Tensor = made * scale**0.5
        return found

    return project


def _error(E: Tensor, K: Tensor) -> float:
    lengths = K.diagonal().sqrt()
    apart = ((E.double() @ E.double().T - K) / (lengths[:, None] * lengths))[~torch.eye(len(K), dtype=torch.bool)]
    return float(apart.square().mean().sqrt())


def peers(root: Path, n: int = 256) -> None:
    """Error and time at equal dim."""
    x, _ = digits(root, n)
    torch.manual_seed(0)
    rows = []
    for name, model in {
        "mlp": ak.models.mlp(SHAPE, budget=100_000),
        "vgg": ak.models.vgg(SHAPE, budget=100_000),
    }.items():
        model.eval()
        K = ak.ntk(model, x, dtype=torch.float64)
        ways: dict[str, Callable[[int, int], Tensor]] = {
            "ak.sketch": lambda dim, seed, model=model: ak.sketch(model, x, dim, seed),  # type: ignore[misc]
            "TRAK, Rademacher": lambda dim, seed, model=model: _trak(_gradients(model, x), dim, seed),  # type: ignore[misc]
        }
        for kind in ("normal", "random_mask"):
            ways[f"dattri, {kind}"] = lambda dim, seed, model=model, kind=kind: _dattri(kind)(  # type: ignore[misc]
                _gradients(model, x), dim, seed
            )
        for dim in DIMS:
            for way, sketch in ways.items():
                rows.append([name, str(dim), way, *_compared(sketch, dim, K)])
                print(rows[-1], flush=True)
    print(markdown(["network", "dim", "way", "error", "s (cpu s)", "GiB"], rows))


def _compared(sketch: Callable[[int, int], Tensor], dim: int, K: Tensor) -> list[str]:
    errors, costs = [], []
    for seed in SEEDS:
        try:
            with measured() as cost:
                E = sketch(dim, seed)
        except ImportError as error:
            return [f"not installed: {error.name}", "", ""]
        errors.append(_error(E, K))
        costs.append(cost)
    best = min(costs, key=lambda cost: cost.cpu_s)
    return [f"{statistics.mean(errors):.4f}", best.seconds, best.gib]


def files(root: Path, sizes: list[int], folder: Path) -> None:
    """Gram matrices in files, and the exact SVM on them."""
    torch.manual_seed(0)
    model = ak.models.mlp(SHAPE, budget=100_000)
    rows = []
    for n in sizes:
        x, y = digits(root, n)
        path = folder / f"gram-{n}.npy"
        try:
            with measured() as made:
                ak.ntk(model, x, budget_bytes=GIB, out=path)
            K: Any = np.load(path, mmap_mode="r")
            with measured() as fitted:
                svm = ak.HardMarginSVM().fit(K, y)
            size = path.stat().st_size
        finally:
            path.unlink(missing_ok=True)
        outcome = f"{svm.outcome_.label}, gap {svm.gap_:.0e}, {svm.n_support_} support vectors"
        rows.append([f"{n:,}", f"{size / GIB:.1f}", made.seconds, made.gib, fitted.seconds, fitted.gib, outcome])
        print(rows[-1], flush=True)
    head = ["images", "file, GiB", "K: s (cpu s)", "K: GiB", "SVM: s (cpu s)", "SVM: GiB", "SVM"]
    print(markdown(head, rows))


def main() -> None:
    """Measure what the words say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sketches", "peers", "files"))
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder that holds MNIST/raw")
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 60_000], help="files: numbers of images")
    parser.add_argument("--folder", type=Path, default=Path(), help="files: where the matrices are written")
    given = parser.parse_args()
    if given.what == "sketches":
        sketches(given.root)
    elif given.what == "peers":
        peers(given.root)
    else:
        files(given.root, given.n, given.folder)


if __name__ == "__main__":
    main()
