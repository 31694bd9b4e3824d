"""A folder of image files, one folder a class: root/train/CLASS/* and root/test/CLASS/*."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from afterkernel.data.source import ImageShape, Source, Split, stratified_subset
from afterkernel.errors import UserError
from afterkernel.files.reading import expand_user, is_folder, read_bytes
from afterkernel.options import option
from afterkernel.types import Float, Int, Tensor

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
_GREY_FULL_SCALE = {"1": 255, "L": 255, "I;16": 65535, "I;16L": 65535, "I;16B": 65535}
_LONGEST_LABEL = 60
_UNSCALED = ("I", "F")
_COLOUR = ("P", "RGB", "RGBX", "RGBA", "LA", "PA")


@dataclass
class ImageFolder(Source):
    """Image files of one size by class; grey if each file has a single channel, else RGB.

    Pixels are divided by the largest value of their format (255, or 65535 for 16-bit grey). An orientation in EXIF is
    applied; colour profiles are not. Files with what can't be read exactly are refused by name: transparent pixels,
    several frames, CMYK and other colour spaces, 16 bits per colour channel. Files are taken in the order of their
    names; those with other suffixes, and hidden ones, are no images.
    """

    what: ClassVar[str] = "image files of your own, as root/train/CLASS/* and root/test/CLASS/*"
    name: str = option("folder", "source of the images")
    root: str = option("", "folder that holds train/CLASS/ and test/CLASS/ with image files", redact=True)
    label: str = option(
        "", "name of these images in records, tables and figures; a run with a label is the same wherever the folder is"
    )

    def class_names(self) -> list[str]:
        """Names of the folders below root/train, in alphabetical order; UserError if a folder is missing."""
        if not self.root:
            raise UserError("dataset.root is not set: give the folder that holds train/CLASS/ and test/CLASS/.")
        if not is_folder("dataset.root", self._root):
            raise UserError(f"dataset.root={self.root} is not a folder: it needs train/CLASS/ and test/CLASS/.")
        for split in ("train", "test"):
            if not is_folder("dataset.root", self._root / split):
                raise UserError(
                    f"dataset.root={self.root} holds no folder {split}/: it needs train/CLASS/ and test/CLASS/."
                )
        folders = (self._root / "train").iterdir()
        return sorted(folder.name for folder in folders if folder.is_dir() and not folder.name.startswith("."))

    def check_files(self) -> None:
        """Raise UserError for a class without a folder or without an image in either split."""
        for split in ("train", "test"):
            for option_name, class_name in self._named_classes():
                place = f"dataset.{option_name}{class_name}: {self._root / split / class_name}"
                if not is_folder("dataset.root", self._root / split / class_name):
                    raise UserError(f"{place} is missing: each class needs a folder in train/ and in test/.")
                if not self._files(split, class_name):
                    raise UserError(f"{place} holds no image: it needs files ending in {', '.join(SUFFIXES)}.")

    def image_shape(self) -> ImageShape:
        """Shape of the first image of the first class; a set of mixed channels is read as RGB."""
        image = _read_image(self._files("train", self.chosen_classes()[0])[0])
        return image.shape[0], image.shape[1], image.shape[2]

    @property
    def title(self) -> str:
        """The label, or `folder`."""
        return self.label or self.name

    @property
    def inactive(self) -> frozenset[str]:
        """With a label the path does not identify the images: records hold a hash of their pixels too."""
        return super().inactive | {"root" if self.label else "label"}

    @property
    def canonical(self) -> dict[str, Any]:
        """The one spelling of the folder: absolute, without links."""
        return {**super().canonical, "root": str(self._root.resolve())}

    def _check(self) -> None:
        from afterkernel.data.sources import SOURCES

        if self.label in SOURCES:
            others = ", ".join(SOURCES)
            raise UserError(f"dataset.label={self.label} is the name of another data set: choose none of {others}.")
        if not self.label.isprintable() or self.label != self.label.strip() or len(self.label) > _LONGEST_LABEL:
            raise UserError(
                f"dataset.label={self.label!r}: write at most {_LONGEST_LABEL} printable characters on one "
                "line, without spaces at either end."
            )
        super()._check()

    def _named_classes(self) -> list[tuple[str, str]]:
        """Each chosen class with the option that names it, as in a message."""
        names = self.chosen_classes()
        return list(zip(["classes: "] * len(names) if self.classes else ["minus=", "plus="], names, strict=True))

    @property
    def _root(self) -> Path:
        return expand_user("dataset.root", self.root)

    def _files(self, split: str, class_name: str) -> list[Path]:
        entries = sorted((self._root / split / class_name).iterdir())
        return [file for file in entries if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]

    def _splits(self) -> tuple[Split, Split]:
        # Not by `read`: no file beyond the caps is opened, and the channels of one split depend on the other's.
        train, y_train = self._chosen("train", self.max_train)
        test, y_test = self._chosen("test", self.max_test)
        x = _read_alike([*train, *test])
        return (x[: len(train)], y_train), (x[len(train) :], y_test)

    def _chosen(self, split: str, cap: int | None) -> tuple[list[Path], Int[Tensor, " n"]]:
        by_class = [self._files(split, name) for name in self.chosen_classes()]
        y = torch.cat([torch.full((len(files),), label, dtype=torch.int64) for label, files in enumerate(by_class)])
        kept, files = stratified_subset(y, cap), [file for files in by_class for file in files]
        return [files[i] for i in kept.tolist()], y[kept]


def _read_alike(files: list[Path]) -> Float[Tensor, "n c h w"]:
    """Images of one size, of one channel if every file is, else of three."""
    images: list[Tensor] = []
    for file in files:
        images.append(_read_image(file))
        if images[-1].shape[1:] != images[0].shape[1:]:
            (h, w), (first_h, first_w) = images[-1].shape[1:], images[0].shape[1:]
            raise UserError(
                f"dataset.root: {file} is {w}x{h} pixels and {files[0]} {first_w}x{first_h}: all images must have the "
                "same size."
            )
    channels = max(len(image) for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])


def _read_image(file: Path) -> Float[Tensor, "c h w"]:
    """One image, float32 in [0, 1], of one channel or three; UserError if it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(read_bytes(file))) as opened:
            _check_format(opened)
            opened.load()
            # A transposed copy keeps the mode, except of 16-bit grey in old versions of Pillow.
            image = ImageOps.exif_transpose(opened)
            if image.mode in _GREY_FULL_SCALE:
                grey = np.asarray(image.convert("L") if image.mode == "1" else image, dtype=np.float32)
                return torch.from_numpy(grey / _GREY_FULL_SCALE[image.mode])[None]
            if image.has_transparency_data:
                image = image.convert("RGBA")
            if image.mode == "RGBA" and np.asarray(image.getchannel("A")).min() < 255:
                raise ValueError("it has transparent pixels; put it on a background and save it without transparency")
            colour = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
            return torch.from_numpy(colour.transpose(2, 0, 1))
    except UserError as error:
        raise UserError(f"dataset.root: {error}") from error
    # Decoders raise errors of many types on damaged files.
    except Exception as error:
        reason = "it is not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UserError(f"dataset.root: {file} cannot be read ({reason}): replace or remove it.") from error


def _check_format(image: ImageFile) -> None:
    """Raise ValueError for a format of which Pillow would give other pixels than the file holds."""
    if image.mode in _UNSCALED:
        raise ValueError(f"pixel format {image.mode} has no largest value; save it with 8 or 16 bits")
    if image.mode not in (*_GREY_FULL_SCALE, *_COLOUR):
        raise ValueError(f"colour space {image.mode} has no exact RGB; save it as grey or RGB")
    frames: int = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"it has {frames} frames; save each as a separate file")
    # The decoder's raw mode, such as RGB;16B of a PNG, or the largest value of a PPM.
    modes: list[Any] = [part for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
    wide = any((isinstance(part, str) and ";16" in part) or (isinstance(part, int) and part > 255) for part in modes)
    if wide and image.mode in _COLOUR and image.format in ("PNG", "TIFF", "PPM"):
        raise ValueError("it has 16 bits per colour channel, of which 8 would be lost; save it with 8 bits")
