"""Time and memory of the NTK's Gram matrix: ours, its peers and this machine's own limit, side by side in one run.

    python benchmarks/kernels.py [--sweep n parameters depth image_size] [--n 500 1000 2000 4000 full] [--root DIR]
                                 [--nt-python PYTHON] [--output FILE.md]

Every method is measured on every case in a process of its own, all methods of a case one right after another, so that
ratios are taken under the same conditions; a peer is first checked against ours on 16 images. Cells are seconds (the
best of three where one takes less than five) and, in brackets, the peak of memory in MiB over what the process held
before. Peers that are not installed are left out; `make bench-peers` installs them in an environment of its own.
"full" is MNIST 3/8: train x train and test x train.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from side_by_side import launch, table
from side_by_side.cases import NETS, SWEEPS, Case, Facts
from side_by_side.measure import Outcome
from side_by_side.methods import LIMIT, OURS, PEERS, Method, installed

CELLS = "Cells: seconds and, in brackets, MiB at the peak over what the process held before."


def measure(case: Case, methods: list[Method], hopeless: dict[str, Outcome], options: argparse.Namespace) -> table.Row:
    """Every method on one case, but for the hopeless: those have their outcome already."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = launch.prepare(folder, case)
        if prepared.status != "ok":
            raise SystemExit(f"{case}: {prepared.note or prepared.says or 'preparing it took too long'}")
        row = table.Row(case, Facts.read(folder))
        for method in methods:
            found = hopeless.get(method.key) or launch.measure(method, folder, case, options.limit_s, options.nt_python)
            row.outcomes[method.key] = found
            error = "" if found.error is None else f"error {found.error:.0e}"
            words = f"{table.cell(found)} {error} {found.note}"
            print(f"{case.net}, n = {case.images}, {method.label}: {words}", flush=True)
    return row


def sweep_rows(name: str, methods: list[Method], options: argparse.Namespace) -> Iterator[list[table.Row]]:
    """The rows of a sweep, repeated after each new row."""
    common = {"root": options.root, "device": options.device, "threads": options.threads}
    rows: list[table.Row] = []
    for net in options.nets:
        hopeless: dict[str, Outcome] = {}
        for case in SWEEPS[name].cases([net], options.n, **common):
            rows.append(measure(case, methods, hopeless, options))
            yield rows
            if name == "n":  # what is too slow or too large for some images is so for more
                for key, found in rows[-1].outcomes.items():
                    if found.status in ("limit", "memory"):
                        text = found.says if " at " in found.says else f"{found.says} at {case.images}"
                        hopeless[key] = replace(found, says=text)


def report(done: dict[str, list[table.Row]], methods: list[Method], header: list[str]) -> str:
    """The whole Markdown text."""
    parts = list(header)
    for name, rows in done.items():
        sweep = SWEEPS[name]
        parts += [f"## {sweep.title}", table.table(sweep, rows, methods)]
        parts += [table.slopes(sweep, rows, methods)] if sweep.slopes else []
        parts += [table.errors(rows, methods), *table.notes(rows, methods)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print Markdown, and optionally write it again after every case."""
    every = {method.key: method for method in (LIMIT, OURS, *PEERS)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", nargs="+", choices=SWEEPS, default=["n"])
    parser.add_argument("--n", nargs="+", default=["500", "1000"], help="numbers of images, or full, of that sweep")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--methods", nargs="+", choices=every, default=list(every))
    parser.add_argument("--root", help="folder that holds MNIST/raw; random images without it")
    parser.add_argument("--nt-python", help="python of the environment of neural-tangents")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--limit-s", type=float, default=900, help="seconds that a method may take")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    wrong = [number for number in options.n if number != "full" and not (number.isdigit() and int(number) > 0)]
    if wrong:
        parser.error(f"--n {wrong[0]}: give numbers of images, or full")
    methods, missing, versions = installed([every[key] for key in options.methods], options.nt_python)
    versions = {"torch": importlib.metadata.version("torch"), **versions}
    some = Case("vgg", 1, root=options.root, device=options.device, threads=options.threads)
    header = [table.machine(versions, some), CELLS, *missing]
    print("\n".join(header), flush=True)
    done: dict[str, list[table.Row]] = {}
    for name in options.sweep:
        for rows in sweep_rows(name, methods, options):
            done[name] = rows
            if options.output:
                options.output.write_text(report(done, methods, header))
    print("\n" + report(done, methods, header))


if __name__ == "__main__":
    main()
