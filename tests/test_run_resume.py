"""A run that is stopped within a Gram matrix continues with its tiles, and ends with the same numbers."""

import dataclasses

import pytest

import afterkernel.runs.evaluate as evaluate_module
from afterkernel.config import compose, to_config
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.store import TileStore
from afterkernel.records import read_records, read_run
from afterkernel.runs.run import run

OPTIONS = [
    "dataset=digits",
    "arch=mlp",
    "arch.budget=1300",
    "training.epochs=0",
    "snapshot.epochs=[0]",
    "kernel.names=[ntk]",
    "kernel.budget_bytes=120000",
    "measure.num_images=10",
    "logger.wandb.mode=disabled",
]


class StoppedError(Exception):
    pass


def stopping_after(marks, original):
    def mark(self, cells):
        nonlocal marks
        if marks == 0:
            raise StoppedError
        marks -= 1
        original(self, cells)

    return mark


def numbers(run_dir):
    (record,) = map(dataclasses.asdict, read_records(run_dir))
    kernels = [{k: v for k, v in kernel.items() if k != "resources"} for kernel in record["kernels"]]
    return kernels, record["net_test_error"]


def test_stopped_in_a_gram_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_module, "LONG_MULTIPLICATIONS", 0)
    config = to_config(compose(OPTIONS))
    collected = []
    block = GradientEmbedding.block
    monkeypatch.setattr(
        GradientEmbedding, "block", lambda self, x, out=None: (collected.append(len(x)), block(self, x, out))[1]
    )
    marked = []
    mark = TileStore.mark
    with monkeypatch.context() as patch:
        patch.setattr(TileStore, "mark", lambda self, cells: (marked.append(cells), mark(self, cells))[1])
        run(config, tmp_path / "whole")
    whole = sum(collected)

    # the number of tiles depends on the machine
    assert len(marked) >= 8
    with monkeypatch.context() as patch:
        patch.setattr(TileStore, "mark", stopping_after(len(marked) // 2, mark))
        with pytest.raises(StoppedError):
            run(config, tmp_path / "stopped")
    assert (tmp_path / "stopped" / "tiles" / "step=0" / "ntk" / "manifest.json").exists()
    collected.clear()
    run(config, tmp_path / "stopped")
    assert sum(collected) < whole
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")
    assert not (tmp_path / "stopped" / "tiles").exists()


def test_resumable_false_keeps_no_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_module, "LONG_MULTIPLICATIONS", 0)
    monkeypatch.setattr(TileStore, "mark", stopping_after(0, TileStore.mark))
    run(to_config(compose([*OPTIONS, "kernel.resumable=false"])), tmp_path)
    assert len(read_run(tmp_path)) == 1
