import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from afterkernel.data import SOURCES
from afterkernel.data.source import select_classes, stratified_subset
from afterkernel.data.sources.cifar10 import CIFAR10
from afterkernel.data.sources.digits import Digits
from afterkernel.data.sources.mnist import MNIST
from afterkernel.errors import UserError


def test_all_sources_are_found_and_are_structured_configs():
    assert sorted(SOURCES) == ["cifar10", "digits", "folder", "mnist"]
    for name, source in SOURCES.items():
        config = OmegaConf.structured(source)
        assert config.name == name
        config.minus, config.max_test = 3, 7
        rebuilt = OmegaConf.to_object(config)
        assert type(rebuilt) is source
        assert (rebuilt.minus, rebuilt.max_test) == ("3", 7)


def test_importing_the_package_loads_no_heavy_library():
    heavy = ("sklearn", "torchvision", "PIL", "omegaconf", "pytorch_lightning")
    code = f"import sys, afterkernel.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_are_scaled_split_and_labelled():
    from sklearn.datasets import load_digits

    data = load_digits()
    problem = Digits(minus="0", plus="9").load()
    for label, digit in ((0, 0), (1, 9)):
        images = data.images[data.target == digit] / 16
        train = problem.x_train[problem.y_train == label].squeeze(1).numpy()
        test = problem.x_test[problem.y_test == label].squeeze(1).numpy()
        testing = np.arange(len(images)) % 4 == 3
        np.testing.assert_array_equal(train, images[~testing])
        np.testing.assert_array_equal(test, images[testing])
    assert problem.image_shape == (1, 8, 8)
    assert problem.x_train.dtype == torch.float32
    assert problem.y_train.dtype == torch.int64
    assert (problem.minus, problem.plus) == ("0", "9")
    # The classes come in the order of the file, not one after the other.
    expected = [int(digit == 9) for digit in data.target if digit in (0, 9)]
    assert sorted(expected) != expected
    assert problem.y_train.tolist() != sorted(problem.y_train.tolist())


def test_digits_default_to_3_and_8_and_repeat():
    assert Digits().load().fingerprint == Digits(minus="3", plus="8").load().fingerprint
    assert Digits().load().fingerprint != Digits(minus="8", plus="3").load().fingerprint


def test_caps_apply_to_each_split():
    whole, part = Digits().load(), Digits(max_train=20, max_test=6).load()
    assert (len(part.x_train), len(part.x_test)) == (20, 6)
    assert part.y_train.sum() == 10
    rows = {row.numpy().tobytes() for row in whole.x_train}
    assert all(row.numpy().tobytes() in rows for row in part.x_train)
    assert part.fingerprint == Digits(max_train=20, max_test=6).load().fingerprint


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=2, max_size=60), st.integers(2, 70))
def test_a_cap_keeps_the_proportion_and_the_order(labels, cap):
    y = torch.tensor([0, 1, *labels])
    kept = stratified_subset(y, cap)
    assert len(kept) == min(cap, len(y))
    assert kept.tolist() == sorted(set(kept.tolist()))
    of_plus = int(y[kept].sum())
    assert 1 <= of_plus < len(kept)
    wanted = len(kept) * int(y.sum()) / len(y)
    assert abs(of_plus - wanted) <= 0.5 or of_plus in (1, len(kept) - 1)


def test_a_smaller_cap_takes_a_part_of_a_larger_one():
    y = torch.arange(400) % 2
    sets = [set(stratified_subset(y, cap).tolist()) for cap in (10, 100, 300)]
    assert sets[0] < sets[1] < sets[2]
    assert stratified_subset(y, None).tolist() == list(range(400))


def test_pick_pair_keeps_two_classes():
    positions, y = select_classes(["5", "2", "7", "2", "5", "5"], ["5", "2"], cap=None)
    assert positions.tolist() == [0, 1, 3, 4, 5]
    assert y.tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            CIFAR10(plus="dgo"),
            r"^dataset.plus=dgo is not a class of cifar10 \(did you mean dog\?\): choose one of airplane,",
        ),
        (CIFAR10(minus="Ship"), r"did you mean ship\?"),
        (Digits(minus="10"), r"dataset.minus=10 .* choose one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\.$"),
        (MNIST(minus="8"), "dataset.minus=8 and dataset.plus=8 are the same class: choose two"),
        (Digits(minus=""), "dataset.minus is not set: choose one of 0"),
        (Digits(max_train=1), "dataset.max_train=1 is too small: it must be at least 2"),
    ],
)
def test_check_reports_errors_in_one_sentence(source, message):
    for call in (source.check, source.load):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.parametrize(
    ("source", "file"), [(MNIST, "MNIST/raw/t10k-labels-idx1-ubyte"), (CIFAR10, "cifar-10-batches-py/batches.meta")]
)
def test_check_names_the_file_that_is_missing_and_not_to_be_downloaded(tmp_path, source, file):
    for name in source.files:
        (tmp_path / source.folder).mkdir(parents=True, exist_ok=True)
        header = "00000803 00000000 0000001c 0000001c" if "images" in name else "00000801 00000000"
        (tmp_path / source.folder / name).write_bytes(bytes.fromhex(header))
    source(root=str(tmp_path), download=False).check()
    (tmp_path / file).unlink()
    with pytest.raises(
        UserError, match=f"dataset.root={tmp_path}: .* has no {Path(file).name}: put .* or set dataset.download=true"
    ):
        source(root=str(tmp_path), download=False).check()
    source(root=str(tmp_path), download=True).check()


class FakeCIFAR10:
    """torchvision's data set with one image for each label, three of them for "dog", in the given split."""

    calls: ClassVar = []

    def __init__(self, root, train, download):
        self.calls.append((root, train, download))
        self.targets = [*range(10), 5, 5]
        self.data = np.zeros((12, 32, 32, 3), dtype=np.uint8)
        self.data[:, 0, 1, 2] = [*range(100, 110), 200, 255]
        if not train:
            self.data, self.targets = self.data[:10] + 1, self.targets[:10]


def test_cifar10_maps_classes_and_layout(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", FakeCIFAR10)
    FakeCIFAR10.calls.clear()
    root = tmp_path / "new"
    problem = CIFAR10(root=str(root), minus="truck", plus="dog").load()
    assert FakeCIFAR10.calls == [(root, True, True), (root, False, True)]
    assert problem.image_shape == (3, 32, 32)
    # Pixel (row 0, column 1) of channel 2 names the image: 105 + 200 and 255 are dogs, 109 the truck.
    assert (problem.x_train[:, 2, 0, 1] * 255).round().tolist() == [105, 109, 200, 255]
    assert problem.y_train.tolist() == [1, 0, 1, 1]
    assert (problem.x_test[:, 2, 0, 1] * 255).round().tolist() == [106, 110]
    assert problem.x_train.max() == 1
    assert problem.x_train.count_nonzero() == 4


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("Error downloading"), EOFError("short")])
def test_a_failed_download_names_the_files_to_add(tmp_path, monkeypatch, error):
    import torchvision

    def fail(root, train, download):
        raise error

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    message = f"dataset.root={tmp_path}: cifar10 could not be downloaded or read .*{error}.*: put data_batch_1, .* in "
    with pytest.raises(UserError, match=message):
        CIFAR10(root=str(tmp_path)).load()


def test_damaged_files_are_reported(tmp_path):
    for name in MNIST.files:
        (tmp_path / MNIST.folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / MNIST.folder / name).write_bytes(b"\0\0\x08\x01\0\0\0\x05ab")
    for download in (False, True):
        with pytest.raises(UserError, match=f"dataset.root={tmp_path}: .*images-idx3-ubyte is damaged"):
            MNIST(root=str(tmp_path), download=download).load()


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_downloads_wait_for_one_another(tmp_path, monkeypatch):
    import fcntl

    import torchvision

    held = []

    def look(root, train, download):
        handle = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.append(True)
        else:
            held.append(False)
        finally:
            os.close(handle)
        return SimpleNamespace(data=np.zeros((2, 28, 28), np.uint8), targets=[3, 8])

    monkeypatch.setattr(torchvision.datasets, "MNIST", look)
    MNIST(root=str(tmp_path)).load()
    assert held == [True, True]
