"""Errors in data sets: folders of images, MNIST and CIFAR-10."""

import os
import shutil
import struct
from urllib.error import URLError

from error_case import ErrorCase
from PIL import Image

M = ErrorCase


def picture(at, path, size=(9, 9), mode="L"):
    file = at.write(path)
    Image.new(mode, size).save(file)
    return file


def images(change=lambda at: None):
    def setup(at):
        for split in ("train", "test"):
            for name in ("cats", "dogs"):
                for index in range(2):
                    picture(at, f"images/{split}/{name}/{index}.png")
        change(at)

    return setup


def cut(path, keep):
    def change(at):
        file = at.folder / path
        file.write_bytes(file.read_bytes()[:keep])

    return change


FOLDER = "dataset=folder dataset.root=images dataset.minus=cats dataset.plus=dogs"

# fmt: off
FOLDERS = [
    M("no folder named", "dataset=folder", "dataset.root is not set: give the folder that holds train/CLASS/ and test/CLASS/."),
    M("an image folder that does not exist", "dataset=folder dataset.root=nope", "dataset.root=nope is not a folder: it needs train/CLASS/ and test/CLASS/."),
    M("a label with spaces at its ends", FOLDER + " \"dataset.label=' a '\"", "dataset.label=' a ': write at most 60 printable characters on one line, without spaces at either end.", images()),
    M("the name of another data set as a label", FOLDER + " dataset.label=mnist", "dataset.label=mnist is the name of another data set: choose none of cifar10, digits, folder, mnist.", images()),
    M("no test images", FOLDER, "dataset.root=images holds no folder test/: it needs train/CLASS/ and test/CLASS/.", images(lambda at: shutil.rmtree(at.folder / "images/test"))),
    M("a class that has no folder", FOLDER, "dataset.plus=dogs is not a class of folder: choose one of cats.", images(lambda at: shutil.rmtree(at.folder / "images/train/dogs"))),
    M("a class without a test image", FOLDER, "dataset.plus=dogs: images/test/dogs holds no image: it needs files ending in .png, .jpg, .jpeg, .bmp, .gif, .pgm, .ppm, .tif, .tiff, .webp.", images(lambda at: [(at.folder / f"images/test/dogs/{i}.png").unlink() for i in range(2)])),
    M("images of different sizes", FOLDER, "dataset.root: .../images/train/dogs/1.png is 8x9 pixels and ...images/train/cats/0.png 9x9: all images must have the same size.", images(lambda at: picture(at, "images/train/dogs/1.png", (8, 9)))),
    M("a truncated image", FOLDER, "dataset.root: .../images/test/dogs/1.png cannot be read (...): replace or remove it.", images(cut("images/test/dogs/1.png", 40))),
    M("a text file named like an image", FOLDER, "dataset.root: ...images/train/cats/0.png cannot be read (it is not an image): replace or remove it.", images(lambda at: at.write("images/train/cats/0.png", "hello"))),
    M("an image whose pixels have no largest value", FOLDER, "dataset.root: .../images/train/cats/9.tiff cannot be read (pixel format F has no largest value; save it with 8 or 16 bits): replace or remove it.", images(lambda at: picture(at, "images/train/cats/9.tiff", mode="F"))),
]
# fmt: on


def mnist(change=lambda at: None, count=8, labels=8, magic=0x803, side=28):
    def setup(at):
        for split in ("train", "t10k"):
            header = struct.pack(">4I", magic, count, side, side)
            at.write(f"data/MNIST/raw/{split}-images-idx3-ubyte", header + bytes(count * side * side))
            at.write(
                f"data/MNIST/raw/{split}-labels-idx1-ubyte",
                struct.pack(">2I", 0x801, labels) + b"\3\10" * (labels // 2),
            )
        change(at)

    return setup


def without_network(at):
    def fail(*_, **__):
        raise URLError("no route to host")

    at.patch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    at.patch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)


class Payload:
    """An object that runs a command when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def pickled(at):
    import pickle

    return pickle.dumps(Payload(at.folder / "EXECUTED"))


def malicious_batch(at):
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        at.write(f"data/cifar-10-batches-py/{name}", pickled(at))


RAW = "data/MNIST/raw"
MNIST = "dataset=mnist dataset.download=false"
CIFAR10 = "dataset=cifar10 dataset.download=false"
PUBLISHED = "is not the file that CIFAR-10's authors published (its MD5 differs): replace it, or remove it and set dataset.download=true."

# fmt: off
SETS = [
    M("MNIST that is missing and not downloaded", MNIST, "dataset.root=data: data/MNIST/raw has no train-images-idx3-ubyte: put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte there, or set dataset.download=true."),
    M("MNIST without its labels", MNIST, "dataset.root=data: data/MNIST/raw has no train-labels-idx1-ubyte: put ... there, or set dataset.download=true.", mnist(lambda at: (at.folder / RAW / "train-labels-idx1-ubyte").unlink())),
    M("truncated MNIST", MNIST, f"dataset.root=data: {RAW}/train-images-idx3-ubyte is damaged (it is 100 bytes long, but its header specifies 6288): replace it with the official file.", mnist(cut(f"{RAW}/train-images-idx3-ubyte", 100))),
    M("MNIST that is empty", MNIST, f"dataset.root=data: {RAW}/t10k-labels-idx1-ubyte is damaged (it does not start like an IDX file of labels): replace it with the official file.", mnist(cut(f"{RAW}/t10k-labels-idx1-ubyte", 0))),
    M("a different file in place of MNIST", MNIST, f"dataset.root=data: {RAW}/train-images-idx3-ubyte is damaged (it does not start like an IDX file of images): replace it with the official file.", mnist(magic=0x1234)),
    M("MNIST files with images of another size", MNIST, f"dataset.root=data: {RAW}/train-images-idx3-ubyte is damaged (its images are 20x20 pixels, not 28x28): replace it with the official file.", mnist(side=20)),
    M("MNIST with fewer labels than images", MNIST, "dataset.root=data: train-images-idx3-ubyte holds 8 images and train-labels-idx1-ubyte 6 labels: replace both with the official files.", mnist(labels=6)),
    M("damaged MNIST although dataset.download is true", "dataset=mnist", f"dataset.root=data: {RAW}/train-images-idx3-ubyte is damaged (it is 100 bytes long, but its header specifies 6288): replace it with the official file.", mnist(cut(f"{RAW}/train-images-idx3-ubyte", 100))),
    M("MNIST downloaded without a network", "dataset=mnist", "dataset.root=data: mnist could not be downloaded or read (RuntimeError: Error downloading train-images-idx3-ubyte.gz: ...): put train-images-idx3-ubyte, ... in data/MNIST/raw.", without_network),
    M("CIFAR-10 that is missing and not downloaded", CIFAR10, "dataset.root=data: data/cifar-10-batches-py has no data_batch_1: put data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch, batches.meta there, or set dataset.download=true."),
    M("CIFAR-10 downloaded without a network", "dataset=cifar10", "dataset.root=data: cifar10 could not be downloaded or read (URLError: <urlopen error no route to host>): put data_batch_1, ... in data/cifar-10-batches-py.", without_network),
    M("CIFAR-10 altered, so that opening it would run a command", CIFAR10, f"dataset.root=data: data/cifar-10-batches-py/data_batch_1 {PUBLISHED}", malicious_batch),
    M("altered CIFAR-10 although dataset.download is true", "dataset=cifar10", f"dataset.root=data: data/cifar-10-batches-py/data_batch_1 {PUBLISHED}", malicious_batch),
    M("a file in place of the data sets' folder", "dataset=mnist dataset.root=notes.txt", "dataset.root: notes.txt is a file, where a directory is expected.", lambda at: at.write("notes.txt")),
]
# fmt: on
