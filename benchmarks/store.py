"""Time to open and aggregate a store of many records, and to write one more: python benchmarks/store.py.

Records are made in a temporary folder and have the size of a real run's. Each figure is taken in a fresh process, files
in the page cache: seconds, in brackets those of CPU time, which depend less on what else the machine does. The import
of Python's packages is not counted. With --against CHECKOUT another commit's code is measured in turn with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from afterkernel.config import compose, config_to_dict, to_config
from afterkernel.records import KernelRecord, Record, Resources, write_record

SNAPSHOTS = (0, 1, 2, 5, 10)
KERNELS = ("ntk", "conjugate")
QUERY = (
    "select arch, epoch, kernel, avg(svm_test_error) as error, max(gap) as gap from results "
    "group by arch, epoch, kernel order by all"
)
# In this order: the first question leaves a cache of all rows (in the other checkout, the first call of results).
ASKED = {
    "sql, no cache": f"ak.sql(folder, {QUERY!r})",
    "results, once": "ak.results(folder).groupby(['arch', 'epoch', 'kernel'])['svm_test_error'].mean()",
    "results": "ak.results(folder).groupby(['arch', 'epoch', 'kernel'])['svm_test_error'].mean()",
    "sql": f"ak.sql(folder, {QUERY!r})",
    "read_records": "afterkernel.records.read_records(folder)",
}
CHILD = """
import json, sys, time
began = time.perf_counter()
import afterkernel as ak, afterkernel.records, duckdb, pandas
imported, worked = time.perf_counter(), time.process_time()
folder = sys.argv[1]
answer = {expression}
print(json.dumps([imported - began, time.perf_counter() - imported, time.process_time() - worked, len(answer)]))
"""


def make_record(config: dict[str, Any], run: int, epoch: int) -> Record:
    """A record as a run of vgg on the digits makes it; numbers vary with run and epoch."""
    noise = (run * 31 + epoch * 7) % 1000 / 1000
    kernels = tuple(
        KernelRecord(
            kernel=kernel,
            svm_backend="exact",
            svm_intercept=False,
            svm_test_error=0.01 + noise / 100,
            svm_train_error=0.0,
            margin=0.02 + noise / 3,
            gap=1e-12 * noise,
            n_support=100 + run % 50,
            separable=True,
            converged=True,
            svm_path="exact: active set from a start",
            embedding_norm=3.0 + noise,
            shift_invariance=0.8 + noise / 7,
            rotation_invariance=0.7 + noise / 7,
            zoom_invariance=0.9 - noise / 7,
            swap_invariance=0.5 + noise / 7,
            effective_rank=12.0 + noise,
            resources=Resources(
                wall_s_kernel=1.5 + noise,
                wall_s_svm=0.25 + noise,
                wall_s_measures=2.0 + noise,
                peak_bytes=123456789 + run,
            ),
            kernel_error=1e-7 * noise,
        )
        for kernel in KERNELS
    )
    return Record(
        run_id=f"vgg-lr0.1-seed{run}",
        evaluation_id="0123456789",
        sweep="many",
        dataset="digits",
        minus="3",
        plus="8",
        n_train=269,
        n_test=88,
        arch=("vgg", "mlp")[run % 2],
        width=38,
        parameters=95267,
        learning_rate=(0.03, 0.1, 0.3)[run % 3],
        seed=run,
        epoch=epoch,
        step=9 * epoch,
        final=epoch == SNAPSHOTS[-1],
        train_loss=0.7 - noise / 2,
        net_train_error=noise / 5,
        net_test_error=noise / 4,
        wall_s_train=noise,
        config_sha256=f"{run:064x}",
        commit="0" * 40,
        device="cpu (x86_64, 2 threads)",
        kernels=kernels,
        config=config,
        provenance={"versions": {"torch": "2.14.1"}, "data_sha256": "0" * 64, "snapshot_sha256": f"{run:064x}"},
    )


def make_store(folder: Path, runs: int, snapshots: int) -> int:
    """Write `runs` runs of so many snapshots each; return the bytes of all."""
    config = config_to_dict(to_config(compose(["arch=vgg"])))
    size = 0
    for run in range(runs):
        for epoch in SNAPSHOTS[:snapshots]:
            size += write_record(folder / f"run{run}", make_record(config, run, epoch), 1).stat().st_size
    return size


def ask(folder: Path, expression: str) -> tuple[float, float, float, int]:
    """Seconds to import, seconds to answer, those of CPU time, and the rows of the answer, in a fresh process."""
    code = CHILD.format(expression=expression)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    import_s, wall_s, cpu_s, rows = json.loads(done.stdout)
    return import_s, wall_s, cpu_s, rows


def write_s(folder: Path) -> float:
    """Seconds to write one record into a run that has ten, the median of ten times."""
    config = config_to_dict(to_config(compose(["arch=vgg"])))
    times = []
    for epoch in range(20):
        started = time.perf_counter()
        write_record(folder, make_record(config, 0, epoch), 1)
        times.append(time.perf_counter() - started)
    return sorted(times[10:])[5]


def in_other(checkout: Path, call: str) -> Any:
    """What a call of this benchmark's functions gives in another checkout, by its own code."""
    code = f"import json, sys; sys.path[:0] = [{str(checkout)!r}, {str(checkout / 'benchmarks')!r}]\n"
    code += f"import store; from pathlib import Path; print(json.dumps(store.{call}))"
    if (checkout / "afterkernel" / "store").is_dir():  # as it was called until the files of Parquet
        code = code.replace("afterkernel.records", "afterkernel.store")
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=checkout)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="records, one a snapshot")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each figure, one after the other")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn with this one")
    options = parser.parse_args()
    other = None if options.against is None else options.against.resolve()
    with tempfile.TemporaryDirectory() as folder:
        print(f"one record into a run of ten: {1e3 * write_s(Path(folder)):.2f} ms")
        if other:
            there = in_other(other, f"write_s(Path({folder + '/other'!r}))")
            print(f"  {other.name}: {1e3 * there:.2f} ms")
    for snapshots in (len(SNAPSHOTS), 1):
        runs = options.records // snapshots
        with tempfile.TemporaryDirectory() as name:
            new, old = Path(name, "this"), Path(name, "other")
            old.mkdir()
            size = make_store(new, runs, snapshots)
            print(f"{runs * snapshots:,} records in {runs:,} runs, {size / 2**20:.0f} MiB")
            if other:
                size = in_other(other, f"make_store(Path({str(old)!r}), {runs}, {snapshots})")
                print(f"  {other.name}: {size / 2**20:.0f} MiB")
            for what, expression in ASKED.items():
                # Without a cache only once: the first question leaves one.
                repeats = range(1 if "no cache" in what else options.repeats)
                times = [
                    (
                        ask(new, expression),
                        in_other(other, f"ask(Path({str(old)!r}), {expression!r})") if other else None,
                    )
                    for _ in repeats
                ]
                for place, whose in enumerate(("", other.name if other else "")):
                    taken: list[Any] = [one[place] for one in times if one[place] is not None]
                    shown = ", ".join(f"{wall_s:.2f} ({cpu_s:.2f})" for _, wall_s, cpu_s, _ in taken)
                    if shown:
                        print(f"  {what:15} {whose:12} {shown} s; {taken[0][3]} rows", flush=True)


if __name__ == "__main__":
    main()
