"""Every Python block of the documentation is executed, here or by the test that is named."""

import sys
import types
from pathlib import Path

import doc_blocks
import pytest
import torch
from doc_blocks import ROOT
from torch import nn

import afterkernel as ak
from afterkernel.__main__ import main

BLOCKS = [block for block in doc_blocks.blocks() if block.language in ("python", "py") and not block.reason]
# Pages whose blocks are files or loops, and the tests that run them.
ELSEWHERE = {
    "docs/gallery.md": "tests/examples/gallery_page.py",
    "docs/extending.md": "tests/program/test_extending.py",
    "docs/contributing.md": "tests/program/test_contributing.py",
    "docs/recorder.md": "tests/program/test_recorder_examples.py",
}
LOOPS = [block.text for block in BLOCKS if block.page == "docs/recorder.md"]
HERE = [block for block in BLOCKS if block.page not in ELSEWHERE and block.text not in LOOPS]


class WithLogits(nn.Module):
    """A language model's signature and output, in small; `classes` logits for each text, or for each token."""

    def __init__(self, classes, *, of_tokens=False):
        super().__init__()
        self.table, self.head, self.of_tokens = nn.Embedding(50, 4), nn.Linear(4, classes), of_tokens

    def forward(self, input_ids, attention_mask=None):
        hidden = self.table(input_ids)
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        return types.SimpleNamespace(logits=self.head(hidden if self.of_tokens else hidden.mean(1)))


class Net(nn.Module):
    """The network of `my_lab`."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the blocks take as known, in a folder of their own; `my_lab` can be imported."""
    monkeypatch.chdir(tmp_path)
    my_lab = types.ModuleType("my_lab")
    my_lab.Net, my_lab.x, my_lab.x_test = Net, torch.rand(12, 1, 4, 4), torch.rand(6, 1, 4, 4)
    my_lab.y, my_lab.y_test = torch.arange(12) % 2, torch.arange(6) % 2
    for weights in ("initial.pt", "trained.pt"):
        torch.save(Net().state_dict(), weights)
    monkeypatch.setitem(sys.modules, "my_lab", my_lab)
    import scipy.sparse.linalg

    ids = torch.randint(50, (6, 5))
    images, labels = torch.rand(12, 1, 4, 4), torch.arange(12) % 2
    return {
        **{"ak": ak, "torch": torch, "scipy": scipy, "cross_entropy": nn.functional.cross_entropy},
        **{
            "bert": WithLogits(2),
            "gpt2": WithLogits(50, of_tokens=True),
            "net": network(2),
            "ten": network(10),
            "model": network(1),
        },
        **{
            "ids": ids,
            "mask": torch.ones_like(ids),
            "images": images,
            "labels": labels,
            "x": images,
            "v": labels * 1.0,
        },
    }


def network(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, outputs))


def a_run():
    """A run in runs/demo that kept its Gram matrices; its id."""
    words = ["arch=mlp", "arch.budget=1500", "dataset.max_train=40", "dataset.max_test=20", "measure.num_images=20"]
    kept = ["keep=[gram,checkpoint]", "sweep.name=demo", "snapshot.epochs=[0,2]", "training.epochs=2", "logger=none"]
    assert main([*words, *kept, "measure.names=[effective_rank]"]) == 0
    (run,) = Path("runs/demo").glob("mlp-*")
    return run.name


@pytest.mark.parametrize("block", HERE, ids=[block.place for block in HERE])
def test_a_block_runs(block, names, capfd):
    text = block.text
    if "runs/demo" in text:
        text = text.replace("RUN_ID", a_run())
    exec(compile(text, block.place, "exec"), names)


def test_pages_whose_blocks_run_elsewhere_are_read_there():
    assert len(LOOPS) == 3
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()
        assert any(block.page == page for block in BLOCKS)
    assert any(block.page == "README.md" and block.text in LOOPS for block in BLOCKS)
