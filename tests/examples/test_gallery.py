"""Each example runs at its small size, and its numbers are as its text says; the page shows every example."""

import subprocess
import sys

import gallery_page
import numpy as np
import pytest
from PIL import Image

OPTIONAL = {"families": ["transformers", "peft"]}


def own_training_loop(errors):
    assert set(errors["name"]) == {"NTK", "CK", "network"}
    assert set(errors["step"]) == {0, 10}
    assert errors["error"].between(0, 100).all()


def lazy_and_rich(found):
    moved = found[found["panel"].str.startswith("kernel")].set_index("alpha")["value"]
    assert moved[10] < moved[1] / 3
    assert (found["loss"] <= 0.02).all()


def kernel_dynamics(found):
    distances = found["distances"].pivot(index="step", columns="other", values="distance")
    assert np.allclose(distances, distances.T, rtol=1e-9, atol=0)
    assert (np.diag(distances) == 0).all()
    steps = found["velocity"]["step"]
    for before, after, speed in zip([0, *steps], steps, found["velocity"]["velocity"], strict=False):
        assert speed == pytest.approx(distances.loc[str(before), str(after)] / (after - before))
        assert speed > 0


def label_alignment(found):
    for _, part in found["energy"].groupby("step"):
        assert part["share"].is_monotonic_increasing
        assert part["share"].iloc[-1] == pytest.approx(100, abs=1)
    assert found["alignment"]["alignment"].between(0, 1).all()


def noisy_labels(found):
    last = found[found["step"] == found["step"].max()].set_index("labels")
    assert last.loc["true labels", "alignment"] > last.loc["labels of the training", "alignment"]


def layers(found):
    assert list(found["layer"]) == ["convolution 1", "convolution 2", "convolution 3", "linear 1", "linear 2"]
    assert found[["before", "after"]].sum().tolist() == pytest.approx([100, 100])
    assert (found["distance"] > 0).all()


def invariances(found):
    assert found["invariance"].between(-1, 1).all()
    assert found["training"].nunique() == 3
    assert found["invariance"].nunique() == 3


def ten_classes(found):
    for _, part in found["cosines"].groupby("when"):
        table = part.pivot(index="first", columns="second", values="cosine")
        assert np.allclose(table, table.T)
        assert np.diag(table).mean() > table.to_numpy()[~np.eye(10, dtype=bool)].mean()
    assert (found["errors"]["error"] < 50).all()


def sequence_classifier(errors):
    assert set(errors["kernel"]) == {"NTK at initialisation", "after kernel"}
    assert errors.groupby(["kernel", "n"]).size().tolist() == [5] * 4


def lora(distances):
    adapted = distances[distances["other"] == "the adapted matrices"].groupby("rank")["distance"].mean()
    assert adapted[8] < adapted[1] / 3


def physics_informed(found):
    ratios = found["ratios"].set_index("factor")["ratio"]
    assert ratios[8] > 50 * ratios[1]
    last = found["training"].groupby("weights")["error"].last()
    assert last["weighted by the ratio"] < last["equal weights"]


def scikit_learn(found):
    assert found["grid"].groupby("kernel")["C"].nunique().tolist() == [2] * 3
    assert (found["hard"]["error"] < 50).all()


def operator_lanczos(found):
    eigenvalues = found["eigenvalues"]
    assert eigenvalues["lanczos"].tolist() == pytest.approx(eigenvalues["exact"].tolist(), rel=1e-8)
    assert eigenvalues["products"].iloc[0] < len(found["images"])


def sketches(found):
    means = found.groupby("dim")[["error", "bound"]].mean()
    assert (means["error"] < 1.2 * means["bound"]).all()
    assert means["error"][256] < means["error"][64]


@pytest.mark.parametrize("name", gallery_page.NAMES)
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_it_runs_and_its_numbers_are_as_its_text_says(name):
    for package in OPTIONAL.get(gallery_page.NAMES[name], []):
        pytest.importorskip(package, reason=f"{package} is not installed: extra {gallery_page.NAMES[name]}")
    example = gallery_page.load(name)
    found = example["compute"](True)
    globals()[name](found)
    chart = example["picture"](found)
    assert chart.title.text
    assert chart.title.subtitle
    chart.to_dict()  # altair checks it against Vega-Lite's schema


def test_the_page_has_every_example_as_it_is_and_its_picture():
    scripts = {path.stem for path in gallery_page.EXAMPLES.glob("*.py")} - {"common"}
    assert scripts == set(gallery_page.NAMES)
    assert {path.stem for path in gallery_page.PICTURES.glob("*.png")} == scripts
    assert gallery_page.PAGE.read_text() == gallery_page.page(), "run python tests/examples/gallery_page.py"


@pytest.mark.parametrize("name", gallery_page.NAMES)
def test_the_picture_was_drawn_by_the_example_as_it_is(name):
    found = gallery_page.notes(name)
    assert found["Source"] == gallery_page.source_sha256(name), f"run python tests/examples/gallery_page.py {name}"
    assert (gallery_page.PICTURES / f"{name}.png").stat().st_size < 60_000


def test_the_command_line_saves_the_picture_and_prints_its_finding(tmp_path):
    command = [sys.executable, gallery_page.EXAMPLES / "layers.py", "--small"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    finding, saved = done.stdout.splitlines()
    assert "moves most" in finding
    assert saved == "layers.png"
    with Image.open(tmp_path / saved) as image:
        assert image.width > 1000
