"""Errors in paths: links, pipes, names too long; and images of other kinds."""

import os
import struct

import numpy as np
from data_errors import FOLDER, MNIST, RAW, images, mnist
from error_case import ErrorCase
from PIL import Image

M = ErrorCase
HERE = "sweeps/mine.yaml"


def link(target, name):
    return lambda at: (at.folder / name).symlink_to(target)


def pipe(path):
    def setup(at):
        (at.folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(at.folder / path)

    return setup


LONG = "a" * 300

# fmt: off
PATHS = [
    M("a folder whose name is too long", f"output_dir={LONG}", "output_dir=aaa...: ...aaa... can't be used (File name too long); name another folder."),
    M("a path that is too long", f"output_dir={'/'.join(['abc'] * 1500)}", "output_dir=abc/abc/... is too long: the path of a run must have less than 3840 bytes."),
    M("a link to itself as output folder", "output_dir=loop", "output_dir=loop: ...loop can't be used (Too many levels of symbolic links); name another folder.", link("loop", "loop")),
    M("a broken link as output folder", "output_dir=gone/x", "output_dir=gone/x: ...gone is a broken link; remove it, or name another folder.", link("nowhere", "gone")),
    M("a sweep's folder that is a file", "seed=0", "output_dir=runs: ...runs/default is not a folder that can be written to; name another.", lambda at: at.write("runs/default")),
    M("the home of an unknown user", "\"output_dir='~nobody-here/x'\"", "output_dir=~nobody-here/x: there is no such user here; write the folder's path in full."),
    M("a link to itself for a sweep", "--multirun seed=0,1 output_dir=loop", "job seed=0: output_dir=loop: ...loop can't be used (Too many levels of symbolic links); name another folder.", link("loop", "loop")),
    M("a link to itself as data folder", "dataset=mnist dataset.root=loop", "dataset.root: loop can't be used (Too many levels of symbolic links).", link("loop", "loop")),
    M("a broken link as data folder", "dataset=mnist dataset.root=gone", "dataset.root: gone is a broken link: remove or replace it.", link("nowhere", "gone")),
    M("data at a path that is too long", f"dataset=cifar10 dataset.root={LONG}", "dataset.root: aaa... can't be used (File name too long)."),
    M("images in the home of an unknown user", "dataset=folder \"dataset.root='~nobody-here'\"", "dataset.root=~nobody-here: there is no such user here; write the path in full."),
    M("a sweep file that links to itself", "+sweep=mine", f"{HERE} can't be read as YAML: Too many levels of symbolic links.", lambda at: ((at.folder / "sweeps").mkdir(), link("mine.yaml", HERE)(at))),
    M("results at a path that is too long", f"results {LONG}", "aaa... can't be used (File name too long): name another file or folder.", small=False),
    M("the status of a path that is too long", f"status {LONG}", "aaa... can't be used (File name too long): name another file or folder.", small=False),
]

PIPES = [
    M("a pipe for results", "output_dir=pipe", "output_dir=pipe: ...pipe is not a folder that can be written to; name another.", pipe("pipe")),
    M("a pipe for a sweep file", "+sweep=mine", f"{HERE} is a named pipe, where a regular file is expected.", pipe(HERE)),
    M("a pipe for the data sets' folder", "dataset=mnist dataset.root=pipe", "dataset.root: pipe is a named pipe, where a directory is expected.", pipe("pipe")),
    M("a pipe for a file of MNIST", "dataset=mnist", f"dataset.root: {RAW}/train-images-idx3-ubyte is a named pipe, where a regular file is expected.", pipe(f"{RAW}/train-images-idx3-ubyte")),
    M("a pipe for an image", FOLDER, "dataset.root: .../images/train/cats/9.png is a named pipe, where a regular file is expected.", images(pipe("images/train/cats/9.png"))),
    M("a pipe for a configuration", "evaluate run", "run/config.yaml is not a configuration of this version: run/config.yaml is a named pipe, where a regular file is expected.", pipe("run/config.yaml"), small=False),
    M("a pipe for a report's folder", "report pipe", "pipe is not a directory (the current folder is ...): name a run, a sweep, or the folder of all sweeps.", pipe("pipe"), small=False),
    M("a pipe for a snapshot's weights", "evaluate run", "run/snapshots/step=2.pt is a named pipe, where a regular file is expected.", lambda at: (at.run(), (at.folder / "run/snapshots/step=2.pt").unlink(), pipe("run/snapshots/step=2.pt")(at)), small=False),
    M("a configuration that refers to a secret", "evaluate run", "run/config.yaml is not a configuration of this version: it contains references (${oc.env:HOME}): write plain values instead.", lambda at: (at.run(), (at.folder / "run/config.yaml").write_text((at.folder / "run/config.yaml").read_text().replace("output_dir: runs", "output_dir: ${oc.env:HOME}"))), small=False),
    M("several values for an evaluation", "evaluate run kernel.dtype=float32,float64", "kernel.dtype=float32,float64: evaluate takes one value for each option: give one of them.", lambda at: at.run(), small=False),
]
# fmt: on


def picture(make):
    def change(at):
        make(at.folder / "images/train/cats/9.png")

    return images(change)


def transparent(file):
    Image.new("RGBA", (9, 9), (255, 0, 0, 128)).save(file)


def transparent_palette(file):
    Image.new("RGB", (9, 9), (9, 9, 9)).quantize(4).save(file, transparency=0)


def frames(file):
    first, *more = (Image.new("L", (9, 9), level) for level in (0, 128, 255))
    first.save(file.with_suffix(".gif"), save_all=True, append_images=more)


def cmyk(file):
    Image.new("CMYK", (9, 9)).save(file.with_suffix(".jpg"))


def wide_colour(file):
    """A PNG of 16 bits per colour channel, which Pillow itself does not write."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(9 * 6) for _ in range(9))
    head = struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def whole_numbers(file):
    Image.fromarray(np.zeros((9, 9), dtype=np.int32)).save(file.with_suffix(".tif"))


def label(value):
    def change(at):
        file = at.folder / RAW / "train-labels-idx1-ubyte"
        file.write_bytes(file.read_bytes()[:-1] + bytes([value]))

    return mnist(change)


CAT = "dataset.root: .../images/train/cats/9"

# fmt: off
IMAGES = [
    M("an image with transparent pixels", FOLDER, f"{CAT}.png cannot be read (it has transparent pixels; put it on a background and save it without transparency): replace or remove it.", picture(transparent)),
    M("an image with a transparent colour", FOLDER, f"{CAT}.png cannot be read (it has transparent pixels; put it on a background and save it without transparency): replace or remove it.", picture(transparent_palette)),
    M("an animated image", FOLDER, f"{CAT}.gif cannot be read (it has 3 frames; save each as a separate file): replace or remove it.", picture(frames)),
    M("a CMYK image", FOLDER, f"{CAT}.jpg cannot be read (colour space CMYK has no exact RGB; save it as grey or RGB): replace or remove it.", picture(cmyk)),
    M("an image of 16 bits per colour", FOLDER, f"{CAT}.png cannot be read (it has 16 bits per colour channel, of which 8 would be lost; save it with 8 bits): replace or remove it.", picture(wide_colour)),
    M("an image of 32-bit whole numbers", FOLDER, f"{CAT}.tif cannot be read (pixel format I has no largest value; save it with 8 or 16 bits): replace or remove it.", picture(whole_numbers)),
    M("a folder named like an image", FOLDER, f"{CAT}.png is a directory, where a regular file is expected.", picture(lambda file: file.mkdir())),
    M("an MNIST label above 9", MNIST, f"dataset.root=data: {RAW}/train-labels-idx1-ubyte is damaged (it contains the label 200, but digits are 0 to 9): replace it with the official file.", label(200)),
]
# fmt: on
