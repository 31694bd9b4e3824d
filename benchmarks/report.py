"""Time and size of the report on a made-up sweep: `python benchmarks/report.py [--records 2000]`.

Two data sets with two pairs of classes each, vgg and mlp, five learning rates, five seeds, ten snapshots of both
kernels: 2,000 records. Numbers are drawn, so that every table, figure and verdict has something to show.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from afterkernel.config import compose, config_to_dict, to_config
from afterkernel.config.schema import Config
from afterkernel.records import KernelRecord, Record, Resources, run_directory, write_atomic, write_record

PAIRS = ("mnist_3_8", "mnist_4_9", "cifar10_cat_dog", "cifar10_automobile_truck")
RATES, SEEDS = (0.01, 0.02, 0.05, 0.1, 0.2), range(5)
EPOCHS = (0, 1, 2, 3, 5, 7, 10, 20, 50, 100)
RUNS = len(PAIRS) * 2 * len(RATES) * len(SEEDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=RUNS * len(EPOCHS), help=f"at most {RUNS * len(EPOCHS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        n_records = write_sweep(Path(folder), options.records)
        command = [sys.executable, "-m", "afterkernel", "report", f"{folder}/made"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
        wall_s = time.perf_counter() - started
        report = Path(folder, "made", "report")
        page = (report / "index.html").stat().st_size
        others = sum(path.stat().st_size for path in report.rglob("*.*")) - page
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s, peak = spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024
        print(f"{n_records:,} records of {n_records // len(EPOCHS)} runs: {wall_s:.1f} s, {cpu_s:.1f} s of CPU time,")
        print(f"page {page / 1e6:.2f} MB, {len(list(report.rglob('*.*'))) - 1} other files {others / 1e6:.1f} MB,")
        print(f"peak memory of its largest process {peak:.0f} MiB")


def write_sweep(root: Path, wanted: int) -> int:
    """Write about so many records in whole runs; how many there are."""
    generator, written = np.random.default_rng(0), 0
    for pair in PAIRS:
        for arch in ("vgg", "mlp"):
            for rate in RATES:
                words = [f"dataset={pair}", f"arch={arch}", f"training.lr={rate}", f"training.epochs={EPOCHS[-1]}"]
                words += ["training.loss_target=0.1", f"snapshot.epochs=[{','.join(map(str, EPOCHS))}]"]
                composed = compose([*words, "sweep.name=made", f"output_dir={root}"])
                for seed in SEEDS:
                    if written >= wanted:
                        return written
                    composed.seed = seed
                    write_run(root, to_config(composed), generator)
                    written += len(EPOCHS)
    return written


def write_run(root: Path, config: Config, generator: np.random.Generator) -> None:
    """Write one run as if it had been made."""
    import yaml

    name = config.identity.run_id
    folder = run_directory(root, config.sweep.name, name)
    write_atomic(folder / "config.yaml", yaml.safe_dump(config_to_dict(config), sort_keys=False))
    level = generator.normal(0.02, 0.002)
    for epoch in EPOCHS:
        kernels = tuple(made_kernel(kernel, epoch, level, generator) for kernel in ("ntk", "conjugate"))
        record = Record(
            run_id=name,
            evaluation_id=config.identity.evaluation_id,
            sweep=config.sweep.name,
            dataset=config.dataset.name,
            minus=config.dataset.minus,
            plus=config.dataset.plus,
            n_train=10000,
            n_test=2000,
            arch=config.arch.name,
            width=37,
            parameters=92205,
            learning_rate=config.training.lr,
            seed=config.seed,
            epoch=epoch,
            step=313 * epoch,
            final=epoch == EPOCHS[-1],
            train_loss=float(0.7 / (1 + epoch)),
            net_train_error=float(0.5 / (1 + epoch)),
            net_test_error=float(0.5 / (1 + epoch) + 0.01),
            wall_s_train=1.0,
            config_sha256="0" * 64,
            commit="0" * 40,
            device="made up",
            kernels=kernels,
            config=config_to_dict(config),
            provenance={"command": "python benchmarks/report.py", "snapshot_sha256": generator.bytes(32).hex()},
        )
        write_record(folder, record, 1)


def made_kernel(name: str, epoch: int, level: float, generator: np.random.Generator) -> KernelRecord:
    """A kernel's numbers, drawn around a level of its run."""
    noise, turn = generator.normal(0.0, 0.01, 6), 0.1 * float(np.log1p(epoch)) / 5
    return KernelRecord(
        kernel=name,
        svm_backend="exact",
        svm_intercept=False,
        svm_test_error=float(max(level * (1 - turn) + 0.1 * noise[0], 0.0)),
        svm_train_error=0.0,
        margin=float(0.01 + turn / 10),
        gap=1e-12,
        n_support=1000 - 5 * epoch,
        separable=True,
        converged=True,
        svm_path="gram",
        embedding_norm=3.0,
        shift_invariance=float(0.8 + turn + noise[1]),
        rotation_invariance=float(0.7 + turn + noise[2]),
        zoom_invariance=float(0.8 + turn + noise[3]),
        swap_invariance=float(0.7 - turn + noise[4]),
        effective_rank=float(2 + turn + noise[5]),
        measures={
            "alignment_with_conjugate": float(0.9 - turn + noise[1]) if name == "ntk" else None,
            "alignment_with_initial_ntk": float(1 - turn + noise[2]),
        },
        target_alignment=float(0.1 + turn + noise[3]),
        distance_to_initial=float(turn + abs(noise[4])),
        kernel_velocity=float(turn / (1 + epoch)),
        ridge_test_error=float(level + 0.1 * abs(noise[5])),
        resources=Resources(wall_s_kernel=1.0, wall_s_svm=0.1, wall_s_measures=0.5, peak_bytes=10**9),
    )


if __name__ == "__main__":
    main()
