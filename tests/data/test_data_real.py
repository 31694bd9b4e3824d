import os
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from afterkernel.data.sources.folder import ImageFolder
from afterkernel.data.sources.mnist import MNIST

pytestmark = pytest.mark.data


def test_mnist_3_and_8(mnist_root):
    problem = MNIST(root=str(mnist_root), download=False).load()
    assert (len(problem.x_train), len(problem.x_test)) == (11_982, 1_984)
    assert problem.image_shape == (1, 28, 28)
    assert (problem.y_train.bincount().tolist(), problem.y_test.bincount().tolist()) == ([6131, 5851], [1010, 974])
    assert (problem.x_train.min(), problem.x_train.max()) == (0, 1)
    assert torch.equal(problem.x_train * 255, (problem.x_train * 255).round())


def test_altered_mnist_is_reported(mnist_root, tmp_path, caplog):
    assert MNIST(root=str(mnist_root), download=False, max_train=50, max_test=10).load().warnings == ()
    assert not caplog.records
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").iterdir():
        if file.suffix == "":
            shutil.copy(file, raw)
    with (raw / "t10k-images-idx3-ubyte").open("r+b") as file:
        file.seek(100_000)
        file.write(b"\x07")
    problem = MNIST(root=str(tmp_path), download=False, max_train=50, max_test=10).load()
    assert problem.warnings == ("t10k-images-idx3-ubyte is not the published file of MNIST: its SHA-256 differs",)
    assert problem.warnings[0] in caplog.text


def test_mnist_that_is_there_is_not_downloaded_again(mnist_root):
    options = {"root": str(mnist_root), "max_train": 50, "max_test": 10}
    assert MNIST(**options, download=True).load().fingerprint == MNIST(**options, download=False).load().fingerprint


@pytest.fixture
def cifar10_jpegs(tmp_path) -> Path:
    """Ten training and ten test images of two classes, out of an archive of train|test/CLASS/*.jpg."""
    data = Path(os.environ.get("AFTERKERNEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    archive = data / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} at {data}: set AFTERKERNEL_DATA to a folder that holds it")
    wanted = {(split, name): 10 for split in ("train", "test") for name in ("bird", "ship")}
    with tarfile.open(archive) as members:
        for member in members:
            key = tuple(Path(member.name).parts[:2])
            if member.isfile() and wanted.get(key):
                wanted[key] -= 1
                members.extract(member, tmp_path, filter="data")
            if not any(wanted.values()):
                break
    return tmp_path


def test_a_folder_of_colour_jpegs(cifar10_jpegs):
    problem = ImageFolder(root=str(cifar10_jpegs), minus="bird", plus="ship").load()
    assert problem.image_shape == (3, 32, 32)
    assert problem.y_train.tolist() == problem.y_test.tolist() == [0] * 10 + [1] * 10
    assert 0.2 < problem.x_train.mean() < 0.8
    # Skies and seas are blue: the last channel is the brightest.
    assert problem.x_train[:, 2].mean() > problem.x_train[:, 0].mean()
