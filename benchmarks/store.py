"""Time to open and aggregate a store of many records, and to write one more: python benchmarks/store.py.

Records are made in a temporary folder, all from one that has the size of a real run's. Each figure is taken in a fresh
process, files in the page cache: seconds, in brackets those of CPU time, which show less of what else the machine
does. The import of Python's packages is timed apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from afterkernel.records.codec import rows_of

from afterkernel.config import compose, to_plain, typed
from afterkernel.records import KernelRecord, Record, Resources, engine, seal, write_record
from afterkernel.records.files import RECORDS

SNAPSHOTS = (0, 1, 2, 5, 10)
KERNELS = ("ntk", "conjugate")
QUERY = (
    "select arch, epoch, kernel, avg(svm_test_error) as error, max(gap) as gap from results "
    "group by arch, epoch, kernel order by all"
)
# In this order: the first call of results leaves a copy of all rows, with which later ones open.
ASKED = {
    "sql, no copy yet": f"ak.sql(folder, {QUERY!r})",
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
            resources=Resources(1.5 + noise, 0.25 + noise, 2.0 + noise, 123456789 + run),
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
    """Write `runs` runs of so many snapshots each, as the store does; return the bytes of all."""
    import duckdb

    config = to_plain(typed(compose(["arch=vgg"])))
    template = folder / "template.parquet"
    template.write_bytes(
        engine.write([row for epoch in SNAPSHOTS[:snapshots] for row in rows_of(make_record(config, 0, epoch))])
    )
    size = 0
    with duckdb.connect() as made:
        made.execute(f"CREATE TABLE rows AS FROM '{template}'")
        for run in range(runs):
            changed = {
                "run_id": f"'vgg-lr0.1-seed{run}'",
                "arch": f"'{('vgg', 'mlp')[run % 2]}'",
                "seed": f"{run}::BIGINT",
                "config_sha256": f"'{run:064x}'",
                "svm_test_error": f"svm_test_error + {run % 100} / 1e4",
                "margin": f"margin * {1 + run % 97 / 100}",
            }
            replaced = ", ".join(f"{value} AS {name}" for name, value in changed.items())
            target = folder / f"run{run}" / RECORDS
            target.parent.mkdir()
            engine.copy(made, f"(SELECT * REPLACE ({replaced}) FROM rows)", {("many", f"vgg-lr0.1-seed{run}")}, target)
            target.write_bytes(seal.close(target.read_bytes()))
            size += target.stat().st_size
    template.unlink()
    return size


def ask(folder: Path, expression: str) -> tuple[float, float, float, int]:
    """Seconds to import, seconds to answer, those of CPU time, and the rows of the answer, in a fresh process."""
    command = [sys.executable, "-c", CHILD.format(expression=expression), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    import_s, wall_s, cpu_s, rows = json.loads(done.stdout)
    return import_s, wall_s, cpu_s, rows


def write_s(folder: Path) -> float:
    """Seconds to write one record into a run that has ten, the median of ten times."""
    config = to_plain(typed(compose(["arch=vgg"])))
    for epoch in range(10):
        write_record(folder, make_record(config, 0, epoch))
    times = []
    for epoch in range(10, 20):
        started = time.perf_counter()
        write_record(folder, make_record(config, 0, epoch))
        times.append(time.perf_counter() - started)
        (folder / RECORDS).unlink()
        for earlier in range(10):
            write_record(folder, make_record(config, 0, earlier))
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="records, one a snapshot")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each figure, one after the other")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"one record into a run of ten: {1e3 * write_s(Path(folder)):.0f} ms")
    for snapshots in (len(SNAPSHOTS), 1):
        runs = options.records // snapshots
        with tempfile.TemporaryDirectory() as name:
            size = make_store(Path(name), runs, snapshots)
            print(f"{runs * snapshots:,} records in {runs:,} runs, {size / 2**20:.0f} MiB")
            for what, expression in ASKED.items():
                times = [ask(Path(name), expression) for _ in range(options.repeats)]
                shown = ", ".join(f"{wall_s:.2f} ({cpu_s:.2f})" for _, wall_s, cpu_s, _ in times)
                import_s = min(one[0] for one in times)
                print(f"  {what:24} {shown} s; {times[0][3]} rows; import {import_s:.2f} s beside", flush=True)


if __name__ == "__main__":
    main()
