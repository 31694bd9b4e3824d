"""Error of `ak.ntk` in float64 against per-sample autograd, over many families of models, and its fast path.

    pip install -e ".[families]"
    python benchmarks/families.py [--only NAME ...] [--out docs/families.md] [--seconds 120]

Every model is built from its configuration alone, with random weights; nothing is downloaded. Its parameters and
running statistics are disturbed first, so that no gradient is zero by initialisation. The reference is one call of
`torch.autograd.grad` per sample on a separate float64 model in evaluation mode, in a batch of two copies of the sample
(a batch of one has its own code paths in torch). A model runs in a process of its own, so that a crash is one row.
Families whose package is missing are listed as not installed. "Fast" is the share of trained numbers that the output
depends on and whose gradients are made without per-example gradients (see `fast_path`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing as mp
import os
import subprocess
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from fast_path import fast_path
from model_families import FAMILIES, Family
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import afterkernel as ak
from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Forward
from afterkernel.types import Float, Tensor

SAMPLES = 4
EXACT, ROUNDED = 1e-12, 1e-5  # bounds on the error: float64 throughout, and where a part computes in float32
FAST = 0.95  # of the parameters, that a family is expected to have on the fast path
NOISE = 0.02
NOTE = """Times were taken on a busy machine. Nystromformer's pseudo-inverse divides by a maximum over the whole batch:
it has no kernel of single samples."""


@dataclass
class Row:
    """What came out for one family."""

    family: str
    package: str
    parameters: int = 0
    error: float | None = None
    fast: float | None = None
    slow: dict[str, str] = field(default_factory=dict)
    single: list[str] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""

    @property
    def verdict(self) -> str:
        """Right, wrong, refused, crashed or not installed."""
        if self.error is None:
            return self.note.partition(":")[0]
        return "right" if self.error <= (ROUNDED if self.single else EXACT) else "wrong"


class SingleParts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names the modules in which float64 values are rounded to a smaller data type."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()
        self._stack: list[str] = []
        for module in model.modules():
            module.register_forward_pre_hook(lambda module, _: self._stack.append(type(module).__name__))
            module.register_forward_hook(lambda *_: self._stack.pop() and None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if (
            isinstance(result, Tensor)
            and result.dtype in (torch.float32, torch.bfloat16, torch.float16)
            and any(value.dtype == torch.float64 and value.ndim for value in given)
        ):
            self.found[self._stack[-1] if self._stack else "model"] += 1
        return result


def build(family: Family) -> tuple[nn.Module, Inputs, Forward | None]:
    """The model, disturbed, its inputs and how it is called; the same at every call."""
    torch.manual_seed(0)
    model, x, *calls = family.make(SAMPLES)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad and (weight.is_floating_point() or weight.is_complex()):
                weight.add_(NOISE * torch.randn_like(weight))
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.add_(0.1 * torch.randn_like(value))
            elif name.endswith("running_var"):
                value.mul_(0.5 + torch.rand_like(value))
    return model, x, calls[0] if calls else None


def to_double(model: nn.Module) -> nn.Module:
    """The model in float64 and complex128."""
    kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    model._apply(lambda value: value.to(kinds.get(value.dtype, value.dtype)))  # type: ignore[no-untyped-call]
    return model


def reference(family: Family) -> tuple[Float[Tensor, "n n"], list[str]]:
    """The kernel by autograd, one sample at a time, and the modules that compute in less than float64."""
    model, x, forward = build(family)
    model = to_double(model).eval()
    call = forward or (lambda model, batch: model(**batch) if isinstance(batch, dict) else model(batch))
    x = tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, x)
    trained = [value for value in model.parameters() if value.requires_grad]
    rows: list[Tensor] = []
    for i in range(SAMPLES):
        output = call(model, tree_map(lambda leaf, i=i: leaf[[i, i]], x))
        output = (output.logits if hasattr(output, "logits") else output)[0]
        output = output if output.ndim == 0 else output.flatten()[family.output or 0]
        # The graph is kept for models that cache what they derive from parameters (levit's tables of biases).
        grads = torch.autograd.grad(output, trained, allow_unused=True, materialize_grads=True, retain_graph=True)
        grads = tuple(grad.to_dense() if grad.is_sparse else grad for grad in grads)
        rows.append(torch.cat([(torch.view_as_real(g) if g.is_complex() else g).flatten().double() for g in grads]))
    kernel = torch.stack([torch.stack([torch.dot(a, b) for b in rows]) for a in rows])
    with SingleParts(model) as parts, torch.no_grad():
        call(model, x)
    return kernel, list(parts.found)


def compare(family: Family, row: Row) -> None:
    """Fill a row in."""
    model, x, forward = build(family)
    row.parameters = sum(value.numel() for value in model.parameters() if value.requires_grad)
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    modes = [module.training for module in model.modules()]
    expected, row.single = reference(family)
    if not (expected.diagonal() > 0).all():
        row.note = f"unfit: the reference has a diagonal of {expected.diagonal().tolist()}"
        return
    started = time.perf_counter()
    try:
        found = ak.ntk(model, x, forward=forward, output=family.output, dtype=torch.float64)
    except ak.UserError as error:
        row.note = f"refused: {error}"
        return
    finally:
        row.seconds = time.perf_counter() - started
    row.error = ((found - expected).abs().max() / expected.abs().max()).item()
    after = model.state_dict()
    if modes != [module.training for module in model.modules()] or any(
        not torch.equal(value, after[name]) for name, value in before.items()
    ):
        row.error, row.note = None, "wrong: the user's model was changed"
    path = fast_path(model, x, forward=forward, output=family.output, dtype=torch.float64)
    row.fast, row.slow = path.share, path.reasons


def work(name: str, channel: Connection) -> None:
    """One family, in a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    family = FAMILIES[name]
    row = Row(name, _version(family.package))
    try:
        compare(family, row)
    except BaseException as error:
        if os.environ.get("FAMILIES_TRACEBACK"):
            import traceback

            traceback.print_exc()
        lines = str(error).splitlines() or [""]
        row.note = f"failed: {type(error).__name__}: {lines[0][:300]}"
    channel.send(asdict(row))


def run(name: str, seconds: float) -> Row:
    """The row of a family, even if its process dies."""
    package = FAMILIES[name].package
    if find_spec(package) is None:
        return Row(name, package, note="not installed")
    ours, theirs = mp.get_context("fork").Pipe()
    process = mp.get_context("fork").Process(target=work, args=(name, theirs))
    started = time.perf_counter()
    process.start()
    theirs.close()
    try:
        row = Row(**ours.recv()) if ours.poll(seconds) else None
        note = f"failed: no result within {seconds:g} s"
    except EOFError:
        process.join()
        row, note = None, f"crashed: the process ended with code {process.exitcode}"
    if process.is_alive() and row is None:
        process.kill()
    process.join()
    if row is None:
        row = Row(name, _version(package), seconds=time.perf_counter() - started, note=note)
    return row


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| family | package | parameters | fast | error | parts in float32 | seconds | result |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.1e}"
        note = row.note.replace("|", "\\|")
        lines.append(
            f"| {row.family} | {row.package} | {row.parameters:,} | {_percent(row)} | {error} "
            f"| {', '.join(row.single)} | {row.seconds:.1f} | {note or row.verdict} |"
        )
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """How many came out how, in one sentence."""
    counts = Counter(row.verdict for row in rows)
    exact = [row.error for row in rows if row.error is not None and not row.single]
    rounded = [row.error for row in rows if row.error is not None and row.single]
    return (
        f"{len(rows)} families: {', '.join(f'{count} {name}' for name, count in counts.most_common())}. Largest error "
        f"{max(exact, default=0):.1e} of {len(exact)} in float64 throughout, {max(rounded, default=0):.1e} of "
        f"{len(rounded)} with a part in float32."
    )


def _percent(row: Row) -> str:
    return "" if row.fast is None else f"{100 * row.fast:.1f} %"


def slow(rows: list[Row]) -> str:
    """The families below `FAST`, with the reasons, in Markdown."""
    shares = [row.fast for row in rows if row.fast is not None]
    lines = [f"At least {FAST:.0%} of the parameters are on the fast path in {sum(s >= FAST for s in shares)} of "]
    lines[0] += f"{len(shares)} families."
    found = [row for row in rows if row.fast is not None and row.fast < FAST]
    if found:
        lines += ["", "| below it | fast | reasons |", "| --- | --- | --- |"]
    for row in found:
        reasons = Counter(row.slow.values()).most_common()
        words = "; ".join(f"{why} ({count})" for why, count in reasons).replace("|", "\\|")
        lines.append(f"| {row.family} | {_percent(row)} | {words} |")
    return "\n".join(lines)


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package).partition('+')[0]}"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    """Print the table, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="families whose names contain one of these")
    parser.add_argument("--out", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--json", type=Path, help="file of one JSON line per row; families in it are not run again")
    parser.add_argument("--seconds", type=float, default=300, help="time limit per family")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    arguments = parser.parse_args()
    names = [name for name in FAMILIES if not arguments.only or any(part in name for part in arguments.only)]
    if arguments.list:
        print("\n".join(names))
        return
    os.nice(5)
    for package in {FAMILIES[name].package for name in names}:  # imported once, and inherited by every process
        if find_spec(package) is not None:
            importlib.import_module(package)
    known: dict[str, Row] = {}
    if arguments.json and arguments.json.exists():
        known = {row.family: row for row in (Row(**json.loads(line)) for line in arguments.json.open())}
    rows = []
    for name in names:
        row = known.get(name) or run(name, arguments.seconds)
        rows.append(row)
        error = "-" if row.error is None else f"{row.error:.1e}"
        single = ",".join(row.single)
        print(
            f"{row.verdict:13} {error:8} {_percent(row):7} {row.seconds:6.1f} s  {name}  {single} {row.note}",
            flush=True,
        )
        if arguments.json and name not in known:
            with arguments.json.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    print(summary(rows))
    if arguments.out:
        command = "python benchmarks/families.py --out docs/families.md"
        head = f"# Model families\n\n{__doc__.strip().partition(chr(10))[0]}\n\n```sh\n{command}\n```"
        parts = [head, NOTE, f"At commit {_commit()}, {_version('torch')}.", summary(rows), slow(rows), table(rows)]
        arguments.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
