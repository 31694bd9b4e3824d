"""Several classes: which images and labels they select, from every kind of source."""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from afterkernel.data import Problem, Source
from afterkernel.data.source import stratified_subset
from afterkernel.data.sources.cifar10 import CIFAR10
from afterkernel.data.sources.digits import Digits
from afterkernel.data.sources.folder import ImageFolder
from afterkernel.errors import UserError
from afterkernel.options import option


def test_labels_follow_the_order_in_which_classes_are_given():
    from sklearn.datasets import load_digits

    data = load_digits()
    problem = Digits(classes=[7, "0", 4]).load()
    assert (problem.minus, problem.plus, problem.classes) == ("", "", ("7", "0", "4"))
    assert (problem.n_classes, problem.n_outputs) == (3, 3)
    for label, digit in enumerate((7, 0, 4)):
        images = data.images[data.target == digit] / 16
        train = problem.x_train[problem.y_train == label].squeeze(1).numpy()
        np.testing.assert_array_equal(train, images[np.arange(len(images)) % 4 != 3])
    assert len(problem.x_test) == sum((data.target == digit).sum() // 4 for digit in (7, 0, 4))


def test_all_is_every_class_in_its_order():
    source = Digits(classes="all")
    assert source.chosen_classes() == source.canonical["classes"] == list("0123456789")
    assert source.load().fingerprint == Digits(classes=list(range(10))).load().fingerprint
    assert CIFAR10(classes="all").n_outputs == 10
    assert Digits().load().n_outputs == Digits().n_outputs == 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=80), st.integers(5, 90))
def test_a_cap_keeps_every_class_near_its_share(labels, cap):
    y = torch.tensor([0, 1, 2, 3, 4, *labels])
    kept = stratified_subset(y, cap)
    assert len(kept) == min(cap, len(y))
    assert kept.tolist() == sorted(set(kept.tolist()))
    counts, shares = torch.bincount(y[kept], minlength=5).tolist(), (len(kept) * torch.bincount(y) / len(y)).tolist()
    assert min(counts) >= 1
    assert all(count <= max(ceil(share - 1e-4), 1) for count, share in zip(counts, shares, strict=True))
    if min(shares) >= 1:
        assert all(count >= floor(share + 1e-4) for count, share in zip(counts, shares, strict=True))


def test_a_smaller_cap_takes_a_part_of_a_larger_one():
    y = torch.arange(400) % 4
    sets = [set(stratified_subset(y, cap).tolist()) for cap in (12, 100, 300)]
    assert sets[0] < sets[1] < sets[2]


def test_a_folder_of_images(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for shade, name in ((10, "ant"), (20, "bee"), (30, "cat"), (40, "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("L", (4, 4), shade + index).save(tmp_path / split / name / f"{index}.png")
    problem = ImageFolder(root=str(tmp_path), classes=["dog", "ant", "bee"], max_train=6).load()
    assert problem.classes == ("dog", "ant", "bee")
    shades = (problem.x_train[:, 0, 0, 0] * 255).round().int()
    assert [shade // 10 for shade in shades.tolist()] == [4, 4, 1, 1, 2, 2]
    assert problem.y_train.tolist() == [0, 0, 1, 1, 2, 2]
    source = ImageFolder(root=str(tmp_path), classes="all")
    assert source.load().classes == ("ant", "bee", "cat", "dog")
    assert source.image_shape() == (1, 4, 4)
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "cow")
    with pytest.raises(UserError, match=r"dataset.classes: cat: .*test/cat is missing: each class needs a folder"):
        source.check()


def test_an_own_source_with_names_as_labels():
    @dataclass
    class Own(Source):
        name: str = option("own", "source of the images")

        def read(self, train):
            return torch.rand(9, 2, 2), ["c", "a", "b"] * 3

    assert Own(classes="all").load().classes == ("a", "b", "c")
    assert Own(classes=["c", "a", "b"]).load().y_test.tolist() == [0, 1, 2] * 3
    with pytest.raises(UserError, match=r"dataset.minus is not set: choose one of a, b, c, or give several as dataset"):
        Own().check()


def test_a_source_that_lists_its_names_as_classes_is_told_the_new_name():
    with pytest.raises(UserError, match=r"^Old.classes is an option of every data source: rename it to label_names\.$"):

        class Old(Source):
            classes = ("cats", "dogs")


def test_each_split_must_hold_every_class():
    images, y = torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    with pytest.raises(UserError, match=r"test labels are \[0, 1\]: they must hold each of 0, \.\.\., 2"):
        Problem(images, y, images[:2], y[:2], "", "", classes=("a", "b", "c"))
