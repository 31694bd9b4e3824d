"""The examples of other training loops in docs/recorder.md, run as printed, and their runs on the real command line."""

import functools
import importlib.util
import re
import types
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import afterkernel as ak
from afterkernel.text import MISSING

PAGE = Path(__file__).parents[2] / "docs" / "recorder.md"
EXAMPLES = re.compile(r"^```python\n(recorder = .*?)^```$", re.MULTILINE | re.DOTALL)


def example(word):
    (found,) = [text for text in EXAMPLES.findall(PAGE.read_text()) if word in text]
    return found


def images(n, seed):
    y = torch.arange(n) % 2
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return 0.7 * x + 0.3 * y[:, None, None, None] * torch.linspace(0, 1, 8), y


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))


def samples():
    (x, y), (x_test, y_test) = images(24, 0), images(12, 1)
    return {"ak": ak, "x": x, "y": y, "x_test": x_test, "y_test": y_test}


def run_loop(*, end=True):
    known = samples() | {"model": network()}
    optimiser = torch.optim.SGD(known["model"].parameters(), lr=0.1)

    def train_step(model, images, labels):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(model(images)[:, 0], labels.float()).backward()
        optimiser.step()

    text = example("train_step")
    if not end:
        text = "".join(line for line in text.splitlines(True) if "final=True" not in line)
    exec(text, known | {"batches": [(known["x"], known["y"])] * 11, "train_step": train_step})


def run_lightning():
    import pytorch_lightning as pl

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], batch[1].float())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    known = samples()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(known["x"], known["y"]), batch_size=12)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning = types.SimpleNamespace(Trainer=functools.partial(pl.Trainer, accelerator="cpu", **quiet))
    text = example("[ak.KernelSnapshot(recorder)]")
    exec(text, known | {"pl": lightning, "module": Module(), "loader": loader})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the loop and the Lightning example have run; their runs lie in runs/mine."""
    made = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, about workers and log intervals
        patch.chdir(made)
        run_loop()
        run_lightning()
    return made


def test_each_example_is_six_lines_at_most():
    found = EXAMPLES.findall(PAGE.read_text())
    assert len(found) == 3
    assert all(len(text.splitlines()) <= 6 for text in found)


def test_results_have_the_rows(folder, program):
    frame = ak.results(folder / "runs" / "mine")
    steps = {name: sorted(set(rows["step"])) for name, rows in frame.groupby("arch")}
    assert steps == {"cnn": [0, 10, 11], "lit": [0, 2, 4]}
    assert frame["epoch"].isna().tolist() == (frame["arch"] == "cnn").tolist()
    done = program("results", "runs/mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1][:6] == ["arch", "lr", "seed", "epoch", "step", "kernel"]
    assert ["lit", MISSING, "0", "2", "4", "ntk"] in [line[:6] for line in lines]
    assert ["cnn", MISSING, "0", MISSING, "10", "ntk"] in [line[:6] for line in lines]
    asked = program("results", "runs/mine", "--where", "step = 10", "--columns", "arch,epoch,step,kernel", cwd=folder)
    assert [line.split() for line in asked.stdout.splitlines()[1:]] == [
        ["cnn", MISSING, "10", "conjugate"],
        ["cnn", MISSING, "10", "ntk"],
    ]


def test_status_knows_that_trainings_have_ended(folder, program):
    done = program("status", "runs/mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    by_name = {line.split()[1]: line.split() for line in done.stdout.splitlines()[1:3]}
    assert by_name["cnn"][4:6] == ["3/3", "done"]
    assert by_name["lit"][4:6] == ["3/3", "done"]
    assert "2 of 2 runs done" in done.stdout


def test_status_knows_that_a_training_may_go_on(tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    run_loop(end=False)
    done = program("status", "runs/mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " 2/2 " in done.stdout
    assert "up to step 10; its end is not recorded" in done.stdout
    assert "0 of 1 run done, 1 recorded" in done.stdout


def test_the_report_shows_the_runs_and_leaves_them_out_of_the_verdicts(folder, program):
    done = program("report", "runs/mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = folder / "runs" / "mine" / "report"
    text = (report / "index.html").read_text()
    assert "2 runs of a training loop without a configuration (written by Recorder) are left out" in text
    assert "Every snapshot that Recorder has recorded is included." in text
    assert "Test error of the SVM on each kernel against steps of training" in text
    (errors,) = (report / "tables").glob("*_test_error.csv")
    table = pd.read_csv(errors)
    assert sorted(set(table["step"])) == [0, 2, 4, 10, 11]
    assert "epoch" not in table.columns
    assert table["learning_rate"].isna().all()
    frame = ak.results(folder / "runs" / "mine", "kernel = 'ntk' and step = 10")
    row = table[(table["panel"] == "cnn") & (table["kernel"] == "ntk") & (table["step"] == 10)]
    assert row["mean"].tolist() == frame["svm_test_error"].tolist()
    everything = pd.read_csv(report / "tables" / "results.csv")
    assert set(everything["epoch"].dropna()) == {0.0, 1.0, 2.0}
    figures = {path.name.partition("_")[2] for path in (report / "figures").glob("*.svg")}
    assert {"test_error.svg", "invariances.svg", "trajectory_0_ntk.svg", "trajectory_1_ntk.svg"} <= figures
    (drawn,) = (report / "figures").glob("*_test_error.svg")
    assert ">step, scale log(1 + x)<" in drawn.read_text()
    assert ">not recorded<" in drawn.read_text()


def test_commands_that_need_a_configuration_say_so(folder, program):
    (run,) = (folder / "runs" / "mine").glob("cnn-*")
    done = program("evaluate", run, "svm=libsvm", cwd=folder)
    assert done.returncode == 2
    assert "is not a run: it has no config.yaml" in done.stderr


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "accelerate")),
    reason="transformers and accelerate are not installed",
)
@pytest.mark.filterwarnings("ignore")
def test_the_example_for_transformers(tmp_path, monkeypatch):
    import transformers

    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    tokens, tokens_test = (torch.randint(5, 50, (n, 6), generator=generator) for n in (24, 12))
    y, y_test = ((given[:, 0] > 27).long() for given in (tokens, tokens_test))

    def trained(text):
        transformers.set_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.BertConfig(vocab_size=50, max_position_embeddings=8, num_labels=2, **sizes)
        model = transformers.BertForSequenceClassification(config)
        arguments = transformers.TrainingArguments(
            "out", max_steps=6, save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True, logging_steps=2
        )
        dataset = [{"input_ids": row, "labels": label} for row, label in zip(tokens, y, strict=True)]
        known = {"ak": ak, "transformers": transformers, "model": model, "arguments": arguments, "dataset": dataset}
        exec(text, known | {"tokens": tokens, "y": y, "tokens_test": tokens_test, "y_test": y_test})
        return model

    text = example("TransformersKernelSnapshot")
    assert "callbacks=[snapshot]" in text
    plain = trained(text.replace("callbacks=[snapshot]", "callbacks=[]"))
    assert not list(Path("runs/mine").rglob("*.json"))
    watched = trained(text)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    frame = ak.results("runs/mine")
    assert sorted(set(frame["step"])) == [0, 4, 6]
    assert frame[frame["final"]]["step"].tolist() == [6, 6]
    assert set(frame["kernel"]) == {"conjugate", "ntk"}
