"""Every example of docs/extending.md, as a reader tries it: files saved under their names, commands run in order."""

import json
import re
import shlex
from pathlib import Path

import pytest

import afterkernel as ak
from afterkernel import plugins

GUIDE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What makes a run small; options that a command sets itself are left out.
SMALL = [
    *(
        "arch.budget=1500",
        "snapshot.epochs=[0]",
        "dataset.max_train=40",
        "dataset.max_test=20",
        "measure.num_images=20",
    ),
    *("measure.gram_images=40", "measure.crop_fraction=[0.75]", "trainer.threads=1", "logger=none"),
]


def blocks(*languages):
    return [text for language, text in BLOCK.findall(GUIDE.read_text()) if language in languages]


def commands():
    return [line.removeprefix("python -m afterkernel ") for text in blocks("bash") for line in text.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, program):
    """A folder with every file of the guide, in which every command of it has run; its output by command."""
    made = tmp_path_factory.mktemp("extending")
    for text in blocks("python", "yaml"):
        name = re.match(r"# (\S+)\n", text)[1]
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    outputs = {}
    for command in commands():
        words = shlex.split(command)
        if words[0] not in ("results", "report"):
            named = {word.partition("=")[0] for word in words}
            words += [word for word in SMALL if word.partition("=")[0] not in named]
        done = program(*words, cwd=made)
        assert done.returncode == 0, (command, done.stderr)
        outputs[command] = done.stdout
    (made / "outputs.json").write_text(json.dumps(outputs))
    return made


@pytest.fixture
def outputs(folder):
    return json.loads((folder / "outputs.json").read_text())


def output_of(outputs, *words):
    (found,) = [text for command, text in outputs.items() if all(word in command for word in words)]
    return found


def page(folder, sweep):
    return (folder / "runs" / sweep / "report" / "index.html").read_text()


def test_the_guide_has_an_example_of_each_kind():
    files = {re.match(r"# (\S+)\n", text)[1] for text in blocks("python", "yaml")}
    parts = ("nets", "data", "measures", "kernels", "svms", "claims")
    assert files == {*(f"my_lab/{part}.py" for part in parts), "my_choices/dataset/digits_1_7.yaml"}


def test_networks_and_data_are_trained_and_recorded(folder):
    frame = ak.results(folder / "runs" / "default")
    assert {"lenet", "mlp"} <= set(frame["arch"])
    assert {"stripes", "digits"} <= set(frame["dataset"])
    assert (frame[frame["dataset"] == "stripes"]["svm_test_error"] < 0.5).all()
    assert set(frame[frame["minus"] == "1"]["plus"]) == {"7"}
    assert (frame["gap"] < 1e-6).all()


def test_a_measure_is_a_column_of_results_and_has_its_title_in_the_report(folder, outputs):
    frame = ak.results(folder / "runs" / "spectra")
    assert frame["top_share"].between(0, 1).all()
    rows = output_of(outputs, "results runs/spectra").splitlines()
    assert "top_share" in rows[0] or "top_share" in rows[1]
    assert len([row for row in rows if "conjugate" in row]) == (frame["kernel"] == "conjugate").sum()
    report = folder / "runs" / "spectra" / "report"
    drawn = (report / "tables" / "digits-3-8_trajectory_0_ntk.csv").read_text()
    assert "top_share" in drawn
    assert "top share" in (report / "figures" / "digits-3-8_trajectory_0_ntk.svg").read_text()
    assert "trace in the largest eigenvalues (share)" in page(folder, "spectra")


def test_a_kernel_has_its_own_numbers_and_titles(folder):
    frame = ak.results(folder / "runs" / "centred").set_index(["epoch", "kernel"])
    for epoch in (0, 1):
        ntk, centred = frame.loc[(epoch, "ntk")], frame.loc[(epoch, "centred_ntk")]
        assert centred["rotation_invariance"] < ntk["rotation_invariance"] - 1e-3
        assert centred["effective_rank"] > ntk["effective_rank"]
        assert centred["swap_invariance"] < ntk["swap_invariance"] - 0.1  # without what all images have in common
    assert "Centred NTK" in page(folder, "centred")
    assert "the NTK of gradients minus their mean over the training images" in page(folder, "centred")


def test_a_backend_gives_the_certified_answer_of_the_exact_one(folder, program):
    frame = ak.results(folder / "runs" / "default")
    mine = frame[frame["svm_backend"] == "coordinate_ascent"]
    assert len(mine) == 2
    assert mine["converged"].all()
    own = ["arch=mlp", "dataset.max_train=60", "training.epochs=1", "sweep.name=exact"]
    words = [*own, *(word for word in SMALL if not word.startswith("dataset.max_train"))]
    assert program(*words, cwd=folder).returncode == 0
    exact = ak.results(folder / "runs" / "exact").query("kernel == 'ntk'")
    assert mine["margin"].tolist() == pytest.approx(exact["margin"].tolist(), rel=1e-5)


def test_a_claim_gets_its_verdict(folder):
    text = page(folder, "ranks")
    assert "FEWER_DIRECTIONS" in text
    assert "The after kernel has a smaller effective rank than the NTK." in text


def test_a_dashboard_has_panels_for_the_kernel_and_the_measure(folder, monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    from afterkernel.dashboard import workspace
    from afterkernel.dashboard.inputs import read

    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.syspath_prepend(folder)
    plugins.load(["my_lab.kernels", "my_lab.measures"])
    for sweep, metric, title in (
        ("centred", "centred_ntk/rotation_invariance", "Leading eigenvalues of K / n: centred_ntk"),
        ("spectra", "ntk/top_share", "Trace in the largest eigenvalues (share)"),
    ):
        made = workspace.spec(workspace.workspace(read(folder / "runs" / sweep, None, None), [], ""))
        assert metric in json.dumps(made)
        assert title in json.dumps(made)


def test_workers_load_the_plugins_of_runs_and_a_stored_run_asks_for_its_own(folder, program):
    words = [
        "--multirun",
        "seed=0,1",
        "plugins=[my_lab.nets]",
        "arch=lenet",
        "training.epochs=1",
        "sweep.name=parallel",
    ]
    done = program(
        *words, "sweep.name=parallel", "launcher.processes=2", "kernel.names=[conjugate]", *SMALL, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert sorted(ak.results(folder / "runs" / "parallel")["seed"].unique()) == [0, 1]
    (run,) = (path for path in (folder / "runs" / "parallel").glob("lenet-*-seed0-*"))
    refused = program("evaluate", run, "svm=libsvm", cwd=folder)
    assert refused.returncode == 2
    assert "it needs plugins, code that is imported only if you ask for it: add plugins=[my_lab.nets]" in refused.stderr
    assert program("evaluate", run, "svm=libsvm", "plugins=[my_lab.nets]", cwd=folder).returncode == 0
    assert {"exact", "libsvm"} == set(ak.results(folder / "runs" / "parallel")["svm_backend"])
