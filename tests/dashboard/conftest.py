"""One small real sweep, mirrored offline, that all tests of dashboards use."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb_offline

OPTIONS = [
    *(
        "--multirun",
        "arch=mlp",
        "training=sgd,sgd_rotation_shift",
        "seed=0,1",
        "sweep.name=tiny",
        "sweep.claims=[c1,c3,c5]",
    ),
    *(
        "arch.budget=1500",
        "training.lr=0.1",
        "training.batch_size=4",
        "training.epochs=2",
        "training.loss_target=0.01",
        "snapshot.epochs=[0,1]",
    ),
    *("measure.num_images=20", "measure.crop_fraction=[0.75]", "measure.shift_px=[1,2]", "measure.per_layer=true"),
    *("dataset.max_train=60", "dataset.max_test=30", "trainer.threads=1"),
]


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """`folder`: the sweep's folder; `mirrored`: what its runs logged to W&B, read back."""
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    from afterkernel.__main__ import main

    root = tmp_path_factory.mktemp("swept") / "some place"
    assert main([*OPTIONS, f"output_dir={root}"]) == 0
    folder = Path(root) / "tiny"
    mirrored = [wandb_offline.finished(found) for found in sorted(folder.glob("*/wandb/offline-run-*"))]
    assert len(mirrored) == 4
    return SimpleNamespace(folder=folder, mirrored=mirrored)
