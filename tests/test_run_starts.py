"""Each kernel's SVM starts from the support of the same kernel at the snapshot before."""

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
        supports.append(self.support_)
        return self

    monkeypatch.setattr(HardMarginSVM, "fit", watched)
    run(typed(compose(OPTIONS)), tmp_path)
    assert len(starts) == 6
    assert starts[:2] == [None, None]
    assert all(starts[i] is supports[i - 2] for i in range(2, 6))
