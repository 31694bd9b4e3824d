"""Time of all invariances relative to that of the embeddings that they need, in one run.

    python benchmarks/measures.py --root DIR [--device cuda]    # MNIST 3/8 in DIR; without --root random images like it

The embeddings: forward and backward pass and gradients of every layer, of each image once and of each of its six
versions (made beforehand) once, in batches that are dropped. Both are timed turn by turn on the same images, so that
a busy machine slows both; the ratio is the median over the turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import afterkernel as ak
from afterkernel.kernels import embedding
from afterkernel.kernels.gram import samples_to_pair
from afterkernel.kernels.terms import Block
from afterkernel.measures import TRANSFORMS, invariances
from afterkernel.types import Tensor

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {"vgg": ak.models.vgg, "mlp": ak.models.mlp}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds MNIST/raw")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=100_000, help="parameters")
    parser.add_argument("--rounds", type=int, default=2, help="passes over all images")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--arch", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    device = torch.device(given.device)
    x = images(given.root, given.images).to(device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{len(x)} images, {where}\n")
    print("| net | kernel | embeddings, s | invariances, s | by layer too, s | ratio | ratio by layer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for arch in given.arch:
        for kernel in ("ntk", "conjugate"):
            torch.manual_seed(0)
            model = NETWORKS[arch]((1, 28, 28), budget=given.budget).to(device)
            print(row(arch, kernel, model, x, given.rounds), flush=True)


def images(root: Path | None, n: int) -> Tensor:
    """The first n test images of MNIST 3/8, or random ones of their size."""
    if root is None:
        return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    from afterkernel.data.sources.mnist import MNIST

    return MNIST(root=str(root), minus="3", plus="8", download=False).load().x_test[:n]


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """What it takes, to the end of what it gave a GPU to do."""
    settle: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    settle()
    started = time.perf_counter()
    work()
    settle()
    return time.perf_counter() - started


def row(arch: str, kernel: str, model: torch.nn.Module, x: Tensor, rounds: int) -> str:
    phi = embedding(model, kernel, device=x.device)
    at_once = samples_to_pair(phi, x)
    turns = []
    for part in torch.split(x, at_once):
        versions = [part, *(v for change in TRANSFORMS.values() for v in change.versions(part, change.paper))]

        def embed(versions: list[Tensor] = versions) -> Block:
            # The original's block and one more are kept, as an inner product needs both.
            original = phi.block(versions[0])
            for version in versions[1:]:
                phi.block(version)
            return original

        def measure(per_layer: bool, part: Tensor = part) -> dict[str, float]:
            return invariances(phi, part, per_layer=per_layer, images_at_once=at_once)

        turns.append((embed, measure))
    times: list[list[float]] = [[], [], []]
    for warm in (turns[0][0], lambda: turns[0][1](False), lambda: turns[0][1](True)):
        warm()
    for i in range(rounds):
        for embed, measure in turns:
            works: list[Callable[[], object]] = [embed, lambda m=measure: m(False), lambda m=measure: m(True)]  # type: ignore[misc]
            for which in (0, 1, 2) if i % 2 == 0 else (2, 1, 0):
                times[which].append(seconds_of(works[which], x.device))
    ratios = [statistics.median(a / b for a, b in zip(times[which], times[0], strict=True)) for which in (1, 2)]
    seconds = [sum(found) / rounds for found in times]
    shown = " | ".join(f"{value:.2f}" for value in (*seconds, *ratios))
    return f"| {arch} | {kernel} | {shown} |"


if __name__ == "__main__":
    main()
