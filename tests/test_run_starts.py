"""Each kernel's SVM starts from the support of the same kernel at the snapshot before."""

import torch

from afterkernel.config import compose, typed
from afterkernel.run import run
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
    run(typed(compose(OPTIONS)), tmp_path)
    assert len(starts) == 6
    hard = 0
    for i in range(6):
        # kernels alternate; a soft answer is no start, so that the one before it stays
        expected = next((s for s in reversed(supports[i % 2 : i : 2]) if s is not None), None)
        assert starts[i] is expected or torch.equal(starts[i], expected)
        hard += expected is not None
    assert hard >= 2
