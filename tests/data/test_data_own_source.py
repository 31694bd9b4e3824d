"""A user's own data: a subclass of Source with its options and `read`, from arrays, an .npz file or a torch Dataset."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from afterkernel.data import Source
from afterkernel.errors import UserError
from afterkernel.options import option

IMAGES = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2) * 5
LABELS = np.arange(12) % 3


@dataclass
class Scans(Source):
    name: str = option("scans", "source of the images")
    path: str = option("", "file with x_train, y_train, x_test and y_test", redact=True)

    def read(self, train):
        arrays, split = np.load(self.path), "train" if train else "test"
        return arrays[f"x_{split}"], arrays[f"y_{split}"]


def own(found, **options):
    """A source that returns the given arrays."""

    @dataclass
    class Own(Source):
        name: str = option("own", "source of the images")

        def read(self, train):
            return found

    return Own(**{"minus": "0", "plus": "2"} | options)


def test_an_npz_file(tmp_path):
    path = tmp_path / "scans.npz"
    np.savez(path, x_train=IMAGES[:9], y_train=LABELS[:9], x_test=IMAGES[9:], y_test=LABELS[9:])
    source = Scans(path=str(path), minus="2", plus="0", max_train=4)
    source.check()
    assert (source.class_names(), source.image_shape()) == (["0", "1", "2"], (1, 2, 2))
    problem = source.load()
    assert problem.x_test.shape == (2, 1, 2, 2)
    torch.testing.assert_close(problem.x_test[:, 0], torch.from_numpy(IMAGES[[9, 11]]).float() / 255)
    assert problem.y_test.tolist() == [1, 0]
    assert (len(problem.x_train), problem.x_train.dtype) == (4, torch.float32)
    with pytest.raises(UserError, match=r"dataset.plus=3 is not a class of scans: choose one of 0, 1, 2"):
        Scans(path=str(path), minus="2", plus="3").check()
    with pytest.raises(UserError, match=r"dataset: .*nowhere.npz can't be read \(No such file"):
        Scans(path=str(tmp_path / "nowhere.npz"), minus="0", plus="1").check()


def test_a_torch_dataset_of_pairs_and_labels_that_are_names():
    images = torch.rand(12, 3, 2, 2)
    problem = own(TensorDataset(images, torch.from_numpy(LABELS))).load()
    assert torch.equal(problem.x_train, images[torch.from_numpy(LABELS) != 1])
    names = [("cat", "ant", "bee")[label] for label in LABELS]
    source = own((images.double(), names), minus="cat", plus="bee")
    assert source.class_names() == ["ant", "bee", "cat"]
    assert source.load().fingerprint == problem.fingerprint
    assert own((images, LABELS[:, None].astype(float))).class_names() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((IMAGES / 50, LABELS), r"dataset=own has pixels that are not in \[0, 1\]"),
        ((IMAGES / np.nan, LABELS), r"dataset=own has pixels that are not in \[0, 1\]"),
        ((IMAGES.astype(np.int64), LABELS), r"gives images of shape \(12, 1, 2, 2\) of int64: they must be"),
        ((IMAGES.reshape(12, 4), LABELS), r"gives images of shape \(12, 4\) of uint8: they must be \(n, c, h, w\)"),
        ((IMAGES, LABELS[:5]), "gives 12 images and 5 labels"),
        ((IMAGES[:0], LABELS[:0]), "dataset=own has no image in its training split"),
        (None, "dataset=own reads NoneType: it must give images and labels, or a torch Dataset"),
        ((IMAGES,), "dataset=own reads tuple: it must give images and labels"),
        ([], "dataset=own reads list: it must give"),
    ],
)
def test_images_that_can_not_be_used_are_refused(found, message):
    with pytest.raises(UserError, match=message):
        own(found).load()
