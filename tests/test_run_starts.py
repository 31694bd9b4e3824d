"""Each kernel's SVM starts from the support of the same kernel at the snapshot before."""

import pytest
import torch

from afterkernel.config import compose, to_config
from afterkernel.records import read_records
from afterkernel.runs.run import run
from afterkernel.runs.warm_start import read_warm_starts, warm_start_path, write_warm_starts
from afterkernel.svm import HardMarginSVM

OPTIONS = [
    "dataset=digits",
    "arch=mlp",
    "arch.budget=1300",
    "training.epochs=2",
    "snapshot.epochs=[0,1,2]",
    "kernel.names=[ntk,conjugate]",
    "measure.num_images=10",
    "logger.wandb.mode=disabled",
]


def test_starts_are_the_supports_of_the_snapshot_before(tmp_path, monkeypatch):
    starts, supports = [], []
    fit = HardMarginSVM.fit

    def watched(self, K, y, start=None):
        fit(self, K, y, start)
        starts.append(start)
        supports.append(self.support_ if self.soft_certificate_ is None else None)
        return self

    monkeypatch.setattr(HardMarginSVM, "fit", watched)
    run(to_config(compose(OPTIONS)), tmp_path)
    assert len(starts) == 6
    hard = 0
    for i in range(6):
        # kernels alternate; a soft answer is not a start, so that the one before it stays
        expected = next((s for s in reversed(supports[i % 2 : i : 2]) if s is not None), None)
        assert starts[i] is expected or torch.equal(starts[i], expected)
        hard += expected is not None
    assert hard >= 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1]", '{"owner": "run"}', '{"owner": "run", "kernels": []}'),
        '{"owner": "run", "kernels": {"ntk": [1, 99]}}',
        '{"owner": "run", "kernels": {"ntk": [-1]}}',
        '{"owner": "run", "kernels": {"ntk": "x"}}',
        '{"owner": "run", "kernels": {"ntk": [[1]]}}',
        '{"owner": "run", "kernels": {"ntk": [[1], 2]}}',
    ],
)
def test_damaged_supports_are_no_start(tmp_path, text):
    path = tmp_path / "supports.json"
    path.write_text(text)
    assert read_warm_starts(path, 50, "run") is None
    assert read_warm_starts(tmp_path / "absent.json", 50, "run") is None


def test_supports_come_back_as_they_were(tmp_path):
    path = warm_start_path(tmp_path, 3, "id")
    supports = {"ntk": torch.tensor([1, 5, 7]), "conjugate": torch.tensor([], dtype=torch.int64)}
    write_warm_starts(path, supports, "this run")
    assert read_warm_starts(path, 8, "another run") is None
    found = read_warm_starts(path, 8, "this run")
    assert found.keys() == supports.keys()
    assert all(torch.equal(found[name], supports[name]) for name in supports)


def test_a_run_that_lost_a_record_continues_from_the_same_start(tmp_path, monkeypatch):
    starts = []
    fit = HardMarginSVM.fit
    monkeypatch.setattr(
        HardMarginSVM, "fit", lambda self, K, y, start=None: (starts.append(start), fit(self, K, y, start))[1]
    )
    config = to_config(compose(OPTIONS))
    run(config, tmp_path)
    first, records = list(starts), read_records(tmp_path)
    (lost,) = (tmp_path / "records").glob(f"{records[2].step}.*.json")
    lost.unlink()
    starts.clear()
    run(config, tmp_path)
    assert len(starts) == 2
    assert any(start is not None for start in starts)
    for again, before in zip(starts, first[4:], strict=True):
        assert again is before or torch.equal(again, before)
