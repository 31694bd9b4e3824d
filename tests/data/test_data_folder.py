import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from afterkernel.config.identity import deciding
from afterkernel.data.sources.folder import ImageFolder
from afterkernel.errors import UserError


def save(root, path, pixels, mode=None):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(file)


def grey(value, h=4, w=6):
    return np.full((h, w), value, dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """Classes ant and bee, 3 + 2 grey images of 6x4 for training, 1 + 1 for testing."""
    for path, value in {
        "train/ant/0.png": 10,
        "train/ant/1.png": 20,
        "train/ant/2.png": 30,
        "train/bee/a.PNG": 40,
        "train/bee/b.bmp": 50,
        "test/ant/x.png": 60,
        "test/bee/x.png": 255,
    }.items():
        save(tmp_path, path, grey(value))
    return tmp_path


def folder(root, minus="ant", plus="bee", **options):
    return ImageFolder(root=str(root), minus=minus, plus=plus, **options)


def test_grey_images_by_class_in_the_order_of_their_names(root):
    problem = folder(root).load()
    assert problem.image_shape == (1, 4, 6)
    assert problem.x_train.dtype == torch.float32
    assert (problem.x_train[:, 0, 0, 0] * 255).round().tolist() == [10, 20, 30, 40, 50]
    assert problem.y_train.tolist() == [0, 0, 0, 1, 1]
    assert (problem.x_test[:, 0, 3, 5] * 255).round().tolist() == [60, 255]
    assert problem.x_test.max() == 1
    assert folder(root, "bee", "ant").load().y_test.tolist() == [0, 1]


def test_one_colour_image_makes_all_rgb(root):
    colour = np.zeros((4, 6, 3), dtype=np.uint8)
    colour[1, 2] = [255, 51, 0]
    save(root, "test/bee/y.png", colour)
    problem = folder(root).load()
    assert problem.image_shape == (3, 4, 6)
    assert torch.allclose(problem.x_test[2, :, 1, 2], torch.tensor([1, 0.2, 0]))
    assert torch.equal(problem.x_train[0, 0], problem.x_train[0, 2])
    assert torch.allclose(problem.x_train[0], torch.tensor(10 / 255))


def test_pixel_formats_are_scaled_by_their_largest_value(root):
    save(root, "train/bee/c.png", np.full((4, 6), 65535 // 5, dtype=np.uint16))
    save(root, "train/bee/d.png", grey(255), "1")
    values = folder(root).load().x_train[:, 0, 0, 0]
    assert values[-2:].tolist() == pytest.approx([0.2, 1])
    save(root, "train/bee/e.png", np.dstack([np.full((4, 6, 3), 51, dtype=np.uint8), grey(255)]))
    assert folder(root).load().x_train[-1].unique().tolist() == pytest.approx([0.2])


def test_caps_read_only_what_they_keep(root):
    kept = (folder(root, max_train=2).load().x_train[:, 0, 0, 0] * 255).round().tolist()
    assert len(kept) == 2
    for name, value in {"ant/0.png": 10, "ant/1.png": 20, "ant/2.png": 30, "bee/a.PNG": 40, "bee/b.bmp": 50}.items():
        if value not in kept:
            (root / "train" / name).write_bytes(b"damaged")
    assert folder(root, max_train=2).load().y_train.tolist() == [0, 1]
    with pytest.raises(UserError, match="cannot be read"):
        folder(root).load()


def test_other_files_are_no_images(root):
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (root / "train/ant" / name).write_text("no image")
    assert len(folder(root).load().x_train) == 5


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_file_is_named(root, damage):
    noise = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
    save(root, "train/bee/c.png", noise)
    whole = (root / "train/bee/c.png").read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"this is not an image"}[damage]
    (root / "train/bee/c.png").write_bytes(content)
    folder(root).check()
    with pytest.raises(UserError, match=r"dataset.root: .*train/bee/c.png cannot be read"):
        folder(root).load()


def test_floating_point_images_are_refused(root):
    save(root, "train/bee/c.tif", np.zeros((4, 6), dtype=np.float32))
    with pytest.raises(UserError, match=r"c.tif cannot be read .pixel format F has no largest value"):
        folder(root).load()


def test_images_of_different_sizes_are_named(root):
    save(root, "test/bee/z.png", grey(1, 4, 5))
    with pytest.raises(UserError, match=r"test/bee/z.png is 5x4 pixels and .*train/ant/0.png 6x4: all images"):
        folder(root).load()


def test_check_reports_what_is_missing(root, tmp_path):
    with pytest.raises(UserError, match=r"dataset.root is not set"):
        ImageFolder(minus="ant", plus="bee").check()
    with pytest.raises(UserError, match=r"dataset.root=.*absent is not a folder: it needs train/CLASS/"):
        folder(tmp_path / "absent").check()
    with pytest.raises(UserError, match=r"dataset.plus=be is not a class of folder \(did you mean bee\?\).*ant, bee\."):
        folder(root, plus="be").check()
    with pytest.raises(UserError, match=r"dataset.minus is not set: choose one of ant, bee"):
        ImageFolder(root=str(root)).check()
    (root / "train/cat").mkdir()
    with pytest.raises(UserError, match=r"dataset.plus=cat: .*train/cat holds no image"):
        folder(root, plus="cat").check()
    save(root, "train/cat/0.png", grey(1))
    with pytest.raises(UserError, match=r"dataset.minus=cat: .*test/cat is missing"):
        folder(root, minus="cat", plus="ant").check()
    (root / "test").rename(root / "held-out")
    with pytest.raises(UserError, match="holds no folder test/"):
        folder(root).check()


def test_an_orientation_in_exif_is_applied(root):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a turn
    Image.fromarray(pixels).save(root / "train/bee/c.png", exif=exif)
    read = (folder(root).load().x_train[-1, 0] * 255).round()
    assert torch.equal(read, torch.from_numpy(np.rot90(pixels, 2).copy()).float())
    exif[0x0112] = 6  # a quarter turn: 6x4 pixels on disk are 4x6 to the eye
    Image.fromarray(pixels).save(root / "train/bee/c.png", exif=exif)
    with pytest.raises(UserError, match=r"c.png is 4x6 pixels and .* 6x4"):
        folder(root).load()


def test_palettes_and_opaque_alpha_are_read_as_their_colours(root):
    colour = np.zeros((4, 6, 3), dtype=np.uint8)
    colour[1, 2] = [255, 51, 0]
    image = Image.fromarray(colour)
    image.quantize(4).save(root / "train/bee/c.png")
    image.quantize(4).save(root / "train/bee/d.gif")
    image.convert("RGBA").save(root / "train/bee/e.png")
    x = folder(root).load().x_train
    expected = torch.from_numpy(colour).permute(2, 0, 1) / 255
    assert all(torch.allclose(image, expected) for image in x[-3:])


def test_hidden_folders_are_no_classes(root):
    (root / "train/.cache").mkdir()
    assert folder(root).class_names() == ["ant", "bee"]


def test_a_label_names_the_data_set_and_makes_runs_independent_of_the_folders_path(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "place"
    shutil.copytree(root, other)
    assert folder(root).title == "folder"
    assert folder(root, label="JPEG copy").title == "JPEG copy"
    assert deciding(folder(root)) != deciding(folder(other))
    assert "label" not in deciding(folder(root))
    assert deciding(folder(root, label="one")) == deciding(folder(other, label="one"))
    assert deciding(folder(root, label="one")) != deciding(folder(root, label="two"))


@pytest.mark.parametrize("label", ["two\nlines", " spaces ", "x" * 61])
def test_a_label_is_one_short_line(root, label):
    with pytest.raises(UserError, match=r"dataset.label=.* at most 60 printable characters on one line"):
        folder(root, label=label).check()


def test_a_label_is_no_name_of_another_data_set(root):
    with pytest.raises(UserError, match=r"dataset.label=cifar10 is the name of another data set"):
        folder(root, label="cifar10").check()
