"""The NTK of networks of one's own: ours, the naive way and the machine's limit, in one process.

    pip install -e ".[families]"
    python benchmarks/networks.py [--case NAME ...] [--n N] [--budget-gib 2] [--threads 2] [--seconds 300] [--json FILE]

Every case runs in a process of its own, all that is measured of it one after another there. Its threads wait without
spinning (OMP_WAIT_POLICY=PASSIVE, unless set), as spinning counts as processor time. Per case:

- ours: `ak.ntk` in float32 within the budget. Processor seconds of all threads, wall seconds, and MiB at the peak over
  what the process held before.
- naive: the fastest of vmap(grad), at its best batch size and with the attention backend that it is fastest with, and
  of a loop over samples, each tried on a few samples; then one matrix product. Where the gradients of all samples do
  not fit in the budget, a block of rows is held and the other samples' gradients are computed again for each block:
  that time is the measured time of one sample's gradients and of the product, times their numbers ("computed").
  Ratios are of processor seconds, which another program's load changes less than wall seconds.
- limit: one forward and backward pass over the samples at the best batch size, and half of the product, p n (n + 1) / 2
  multiply-adds at the measured rate of large products. For a layer with d inputs, o outputs and s positions p counts
  min(d o, s^2 (d + o)), the cheaper of its written gradients and its factors.
- fast: the share of parameters whose gradients need no gradient of a single sample: see `fast_path`.
- error: the largest difference of ours from the naive kernel on 4 samples, relative to the largest entry.
- checks: processor seconds of ours over those without the checks that samples do not depend on each other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import torch
from fast_path import fast_path
from network_cases import CASES, GIB, Case
from side_by_side.measure import HostMemory
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

import afterkernel as ak
from afterkernel.kernels import embedding, train_test_grams
from afterkernel.types import Float, Tensor

BATCHES = (4, 16, 64)
LOOPED = 6  # samples on which the loop is tried
HOPELESS = 10  # a way whose first sample takes so many times as long as another's is not tried further
FIRST_CALL_S = 1.0  # what a first call may take in any case
CHECKED = 4
REPEATS, REPEAT_BELOW_S = 5, 5.0  # processor seconds
PRODUCT = (1024, 1024, 8192)  # rows, columns and depth of the product that gives the rate


@dataclass(frozen=True)
class Cost:
    """Processor seconds of all threads, wall seconds, and bytes at the peak over what was held before."""

    cpu_s: float
    wall_s: float
    peak_bytes: int = 0

    def times(self, factor: float) -> Cost:
        """The cost of so many times the work."""
        return Cost(self.cpu_s * factor, self.wall_s * factor, self.peak_bytes)

    def plus(self, other: Cost) -> Cost:
        """The cost of both, one after the other."""
        peak = max(self.peak_bytes, other.peak_bytes)
        return Cost(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s, peak)


@dataclass
class Row:
    """What was measured of one case; None where it was not, with the reason in `note`."""

    case: str
    n: int
    parameters: int
    budget_bytes: int
    fast_share: float | None = None
    ours: Cost | None = None
    naive: Cost | None = None
    naive_way: str = ""
    limit: Cost | None = None
    error: float | None = None
    checks: float | None = None
    note: str = ""


class TookTooLongError(Exception):
    """The work did not end within the time limit."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TookTooLongError in the block after so many seconds."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TookTooLongError(f"no result within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(work: Callable[[], object], repeats: int = REPEATS) -> Cost:
    """The least of up to `repeats` times of the work, which end after `REPEAT_BELOW_S` in all; the peak of them."""
    memory = HostMemory()
    memory.start()
    found: list[tuple[float, float]] = []
    while len(found) < repeats and sum(cpu for cpu, _ in found) < REPEAT_BELOW_S:
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return Cost(min(cpu for cpu, _ in found), min(wall for _, wall in found), memory.peak_bytes())


def checks_ratio(model: nn.Module, x: Tensor, budget_bytes: int) -> float:
    """Processor seconds with the checks of independence over those without them, the two in turns."""
    checked = embedding(model, "ntk")
    inner = getattr(checked, "inner", checked)
    runs = [
        [measure(lambda phi=phi: train_test_grams(phi, x, budget_bytes=budget_bytes), 1) for phi in (checked, inner)]  # type: ignore[misc]
        for _ in range(5)
    ]
    return min(one.cpu_s for one, _ in runs) / min(other.cpu_s for _, other in runs)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


Gradients = Callable[[Tensor], Tensor]  # of one batch, (b, p)


@dataclass(frozen=True)
class Way:
    """A naive way to the gradients of a batch, the size of its batches, and its cost per sample."""

    name: str
    gradients: Gradients
    batch: int
    each: Cost

    def written(self, x: Tensor, count: int) -> Float[Tensor, "n p"]:
        """The gradients of all samples, `count` numbers each."""
        phi = torch.empty(len(x), count)
        for out, part in zip(torch.split(phi, self.batch), torch.split(x, self.batch), strict=True):
            out.copy_(self.gradients(part))
        return phi


def by_vmap(model: nn.Module, backends: list[SDPBackend] | None) -> Gradients:
    """Gradients by vmap over grad."""
    weights = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    def output(weights: dict[str, Tensor], sample: Tensor) -> Tensor:
        result: Tensor = functional_call(model, weights, (sample[None],))
        return result.squeeze()

    def gradients(x: Tensor) -> Tensor:
        with sdpa_kernel(backends) if backends else contextlib.nullcontext():
            found = vmap(grad(output), (None, 0))(weights, x)
        return torch.cat([value.flatten(1) for value in found.values()], 1)

    return gradients


def by_loop(model: nn.Module) -> Gradients:
    """The gradient of a batch of one by autograd."""
    weights = trained(model)

    def gradients(x: Tensor) -> Tensor:
        found = torch.autograd.grad(model(x).sum(), weights, allow_unused=True, materialize_grads=True)
        return torch.cat([value.flatten() for value in found])[None]

    return gradients


def fastest(model: nn.Module, x: Tensor, largest: int) -> Way:
    """The naive way of least processor time per sample, on a few samples, in batches of at most `largest`."""
    attends = any("ttention" in type(module).__name__ for module in model.modules())
    tried: list[tuple[str, Gradients, list[int], int]] = [("a loop over samples", by_loop(model), [1], LOOPED)]
    sizes = sorted({min(batch, len(x), largest) for batch in BATCHES})
    for backends, words in [(None, ""), ([SDPBackend.MATH], ", attention by sdpa math")][: 2 if attends else 1]:
        tried.append((f"vmap(grad){words}", by_vmap(model, backends), sizes, 1))
    ways: list[Way] = []
    for name, gradients, batches, times in tried:
        for batch in batches:
            some = x[: batch * times]
            try:
                first = measure(lambda f=gradients: f(x[:1]), 1)  # type: ignore[misc]
                if any(first.cpu_s > max(FIRST_CALL_S, HOPELESS * way.each.cpu_s) for way in ways):
                    break
                parts = torch.split(some, batch)
                cost = measure(lambda parts=parts, f=gradients: [f(part) for part in parts], 2)  # type: ignore[misc]
            except (RuntimeError, ValueError, NotImplementedError):  # what vmap does not support
                break
            words = f"{name}, batch {batch}" if batch > 1 else name
            ways.append(Way(words, gradients, batch, cost.times(1 / len(some))))
    return min(ways, key=lambda way: way.each.cpu_s)


def naive(model: nn.Module, x: Tensor, budget_bytes: int) -> tuple[str, Way, Cost]:
    """What was done, the fastest naive way, and the cost of the Gram matrix by it within the budget."""
    count, n = sum(parameter.numel() for parameter in trained(model)), len(x)
    rows = max(3, budget_bytes // (4 * count))
    way = fastest(model, x, max(1, rows // 8))  # small against the block of rows
    held = max(1, rows - 2 * way.batch)  # the rest is what computing a batch takes
    if n <= held:

        def work() -> None:
            phi = way.written(x, count)
            torch.matmul(phi, phi.T)

        return way.name, way, measure(work)
    starts = range(0, n, held)
    collected = sum(n - start for start in starts)
    pairs = sum(min(held, n - start) * (n - start) for start in starts)
    name = f"{way.name}, computed for blocks of {held}"
    return name, way, way.each.times(collected).plus(products(count * pairs))


def products(multiplications: int) -> Cost:
    """The cost of so many multiply-adds, at the rate of a large product in float32."""
    rows, columns, depth = PRODUCT
    a, b, out = torch.rand(rows, depth), torch.rand(columns, depth), torch.empty(rows, columns)
    once = measure(lambda: torch.matmul(a, b.T, out=out))
    return Cost(once.cpu_s, once.wall_s).times(multiplications / (rows * columns * depth))


def multiplications_a_pair(model: nn.Module, x: Tensor) -> int:
    """The least multiply-adds for one entry, given gradients of outputs and inputs of layers: see the module's text."""
    factors: dict[int, int] = {}

    def seen(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if isinstance(module, nn.Linear):
            positions = inputs[0].numel() // module.in_features // len(x)
            factors[id(module.weight)] = positions**2 * (module.in_features + module.out_features)
        elif isinstance(module, nn.Embedding):
            factors[id(module.weight)] = (inputs[0].numel() // len(x)) ** 2 * module.embedding_dim

    handles = [module.register_forward_hook(seen) for module in model.modules()]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return sum(min(each.numel(), factors.get(id(each), each.numel())) for each in trained(model))


def limit(model: nn.Module, x: Tensor) -> Cost:
    """One forward and backward pass at the best batch size, and half of the product."""
    weights = trained(model)

    def passes(batch: int) -> Callable[[], None]:
        def work() -> None:
            for part in torch.split(x, batch):
                torch.autograd.grad(model(part).sum(), weights, allow_unused=True)

        return work

    best = min((measure(passes(batch)) for batch in BATCHES), key=lambda cost: cost.cpu_s)
    n = len(x)
    return best.plus(products(multiplications_a_pair(model, x[:2]) * n * (n + 1) // 2))


def relative_error(model: nn.Module, x: Tensor, way: Way, budget_bytes: int) -> float:
    """The largest difference of ours from the naive kernel, relative to the largest entry."""
    phi = way.written(x, sum(parameter.numel() for parameter in trained(model))).double()
    expected, found = phi @ phi.T, ak.ntk(model, x, budget_bytes=budget_bytes).double()
    return float((found - expected).abs().max() / expected.abs().max())


def run(name: str, case: Case, options: argparse.Namespace) -> Row:
    """Everything about one case, in this process."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    n = options.n or case.n
    budget = case.budget_bytes if options.budget_gib is None else int(options.budget_gib * GIB)
    model, x = case.make().eval(), case.inputs(n)
    row = Row(name, n, sum(parameter.numel() for parameter in trained(model)), budget)
    way: Way | None = None

    def ours() -> None:
        ak.ntk(model, x[:CHECKED], budget_bytes=budget)  # what is done once in a process
        row.ours = measure(lambda: ak.ntk(model, x, budget_bytes=budget))

    def theirs() -> None:
        nonlocal way
        row.naive_way, way, row.naive = naive(model, x, budget)

    def rest() -> None:
        row.fast_share = fast_path(model, x[: 2 * CHECKED]).share
        if way is not None:
            row.error = relative_error(model, x[:CHECKED], way, budget)
        if name == "chain":
            row.checks = checks_ratio(model, x, budget)

    def bound() -> None:
        row.limit = limit(model, x)

    for label, part in (("ours", ours), ("naive", theirs), ("limit", bound), ("the rest", rest)):
        if label in options.skip:
            continue
        try:
            with time_limit(options.seconds):
                part()
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            row.note += f"{label}: {type(error).__name__}: {first}. "
    return row


def cells(row: Row) -> list[str]:
    """The row of the table."""

    def cost(found: Cost | None) -> str:
        return "-" if found is None else f"{found.cpu_s:.3g} / {found.wall_s:.3g}"

    def ratio(above: Cost | None, below: Cost | None) -> str:
        return "-" if above is None or below is None else f"{above.cpu_s / below.cpu_s:.2f}"

    share = "-" if row.fast_share is None else f"{100 * row.fast_share:.1f} %"
    memory = "-" if row.ours is None else f"{row.ours.peak_bytes / 2**20:,.0f}"
    notes = [row.naive_way, "" if row.checks is None else f"checks {row.checks:.2f}", row.note]
    return [
        *(row.case, str(row.n), f"{row.parameters:,}", share, cost(row.ours), cost(row.naive), cost(row.limit)),
        *(ratio(row.ours, row.limit), ratio(row.naive, row.ours), memory),
        *("-" if row.error is None else f"{row.error:.0e}", "; ".join(filter(None, notes)).replace("|", "\\|")),
    ]


HEADS = ["case", "n", "parameters", "fast", "ours, cpu / wall s", "naive", "limit", "ours / limit", "naive / ours"]
HEADS += ["MiB", "error", "notes"]


def main() -> None:
    """Print the table in Markdown, a row as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--n", type=int, help="number of samples, instead of each case's own")
    parser.add_argument("--budget-gib", type=float, help="budget of the Gram matrix, instead of each case's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300, help="time limit of ours, of the naive way and so on")
    parser.add_argument("--skip", nargs="+", choices=["ours", "naive", "limit", "the rest"], default=[])
    parser.add_argument("--json", type=Path, help="file to append one JSON line per case to")
    parser.add_argument("--row-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.row_only:
        print(f"| {' | '.join(HEADS)} |\n| {' | '.join(['---'] * len(HEADS))} |", flush=True)
    # threads that wait by spinning burn processor time, most of all where other programs take the cores
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    for name in options.case:
        if find_spec(CASES[name].package) is None:
            print(f"| {name} | needs the package {CASES[name].package} |", flush=True)
        elif not options.row_only:
            rest = [word for word in sys.argv[1:] if word not in CASES and word != "--case"]
            words = [sys.executable, __file__, "--row-only", "--case", name, *rest]
            subprocess.run(words, check=False, env=environment)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = run(name, CASES[name], options)
            print(f"| {' | '.join(cells(row))} |", flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main()
