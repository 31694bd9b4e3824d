"""Cost of the checks that samples do not depend on each other, and how often they find models whose samples do.

    python benchmarks/checks.py [--n 200 1000] [--threads 1] [--repeats 3] [--seeds 20] [--detection-n 256]

Prints Markdown. Cost: processor seconds of the NTK's Gram matrix in float32, without and with the checks, the least of
several runs in one process, the two in turns. Detection: the share of seeds (of weights and samples) for
which `ntk` refuses the model. Needs torchvision for resnet18.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import embedding, ntk, train_test_grams
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.models import vgg
from afterkernel.types import Tensor


def resnet18() -> nn.Module:
    """torchvision's, with one output."""
    from torchvision.models import resnet18 as made

    network: nn.Module = made(num_classes=1)
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg, 1e5 parameters, 28 x 28": (lambda: vgg((1, 28, 28), 100_000), (1, 28, 28)),
    "resnet18, 32 x 32": (resnet18, (3, 32, 32)),
}


def seconds(model: nn.Module, x: Tensor, checked: bool) -> float:
    """Processor time of one Gram matrix."""
    phi = embedding(model)
    assert isinstance(phi, IndependenceChecked)
    started = time.process_time()
    train_test_grams(phi if checked else phi.inner, x)
    return time.process_time() - started


class Cheating(nn.Module):
    """Two layers, and a forward pass in which samples meet."""

    def __init__(self, forward: Callable[[Cheating, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 1), nn.Linear(8, 1)
        self.function = forward

    def layers(self, x: Tensor) -> Tensor:
        """The honest part."""
        result: Tensor = self.b(torch.relu(self.a(x)))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """As given."""
        return self.function(self, x)


def longest(net: Cheating, x: Tensor) -> Tensor:
    """Sequences end in zeros; the mean is over the longest of the batch."""
    result: Tensor = net.b(torch.relu(net.a(x)) / (x != 0).sum(dim=1).max())
    return result


def capacity(net: Cheating, x: Tensor) -> Tensor:
    """An expert that takes four samples of a batch."""
    wanted = x[:, 0] > 0.3
    result: Tensor = net.layers(x) + (wanted & (wanted.cumsum(0) <= 4))[:, None] * net.c(x)
    return result


def last(net: Cheating, x: Tensor) -> Tensor:
    """The last sample of a batch comes out differently."""
    h = net.layers(x)
    return torch.cat([h[:-1], 1.5 * h[-1:]]) if len(x) > 1 else h


def quantised(net: Cheating, x: Tensor) -> Tensor:
    """The scale of eight bits is that of the batch's largest number."""
    scale = float(x.abs().max()) / 127
    return net.layers(torch.fake_quantize_per_tensor_affine(x.float(), scale, 0, -128, 127).to(x))


def share(part: float) -> Callable[[Cheating, Tensor], Tensor]:
    """About so many of the samples depend on their batch."""
    return lambda net, x: net.layers(x) * (1 + (x[:, :1] > 1 - part) * x.mean())


MODELS: dict[str, Callable[[Cheating, Tensor], Tensor]] = {
    "scaled by the largest of the batch": lambda net, x: net.layers(x / x.abs().max()),
    "centred by the mean of the batch": lambda net, x: net.layers(x - x.mean(0)),
    "sorted by the first number": lambda net, x: net.layers(x[x[:, 0].argsort()]),
    "divided by the longest sequence": longest,
    "an expert with room for 4": capacity,
    "quantised by the largest of the batch": quantised,
    "the last of a batch scaled": last,
    "random in evaluation mode": lambda net, x: net.b(torch.dropout(torch.relu(net.a(x)), 0.5, True)),
    "10 % of the samples depend on the mean": share(0.1),
    "1 % of the samples depend on the mean": share(0.01),
    "the mean changes every sample by at most 1e-2": lambda net, x: net.layers(x) * (1 + 1e-2 * x.mean()),
    "the mean changes every sample by at most 1e-3": lambda net, x: net.layers(x) * (1 + 1e-3 * x.mean()),
    "the mean changes every sample by at most 1e-4": lambda net, x: net.layers(x) * (1 + 1e-4 * x.mean()),
    "none (must never be refused)": lambda net, x: net.layers(x),
}


def refused(forward: Callable[[Cheating, Tensor], Tensor], n: int, seed: int) -> bool:
    """Whether `ntk` refuses that model with weights and samples of that seed."""
    torch.manual_seed(seed)
    model = Cheating(forward).eval()
    x = torch.rand(n, 8) * (torch.arange(8) < torch.randint(1, 9, (n, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ntk(model, x)
        except UserError:
            return True
    return False


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", nargs="*", type=int, default=[200, 1000])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="names, or beginnings of them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--detection-n", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.n:
        print("| network | n | without checks, s | with checks, s | ratio |\n| --- | --- | --- | --- | --- |")
    for name, (make, shape) in NETWORKS.items():
        if not any(name.startswith(chosen) for chosen in options.networks):
            continue
        for n in options.n:
            torch.manual_seed(0)
            model, x = make().eval(), torch.rand(n, *shape)
            seconds(model, x[:64], True)
            runs = [(seconds(model, x, False), seconds(model, x, True)) for _ in range(options.repeats)]
            without, checked = (min(part) for part in zip(*runs, strict=True))
            print(f"| {name} | {n:,} | {without:.2f} | {checked:.2f} | {checked / without:.3f} |", flush=True)
    if options.seeds:
        print(f"\n| model | refused, of {options.seeds} seeds at n = {options.detection_n} |\n| --- | --- |")
        for name, forward in MODELS.items():
            found = sum(refused(forward, options.detection_n, seed) for seed in range(options.seeds))
            print(f"| {name} | {found} |", flush=True)


if __name__ == "__main__":
    main()
