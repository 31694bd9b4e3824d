"""The snapshots that two trainings saved, to compare them bit for bit."""

import torch

from afterkernel.training import snapshot


def saved(run_dir):
    """The facts of all snapshots by step, without the time, and their weights."""
    found = {}
    for step, path in snapshot.paths_by_step(run_dir).items():
        facts = vars(snapshot.read(path)) | {"wall_s_train": 0, "sha256": ""}
        found[step] = facts, torch.load(path.with_suffix(".pt"), weights_only=True)
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for step, (facts, weights) in one.items():
        assert facts == other[step][0]
        assert all(torch.equal(weights[name], other[step][1][name]) for name in weights)
