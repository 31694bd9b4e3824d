"""The base class of sources that torchvision downloads and reads."""

from __future__ import annotations

import contextlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import torch

from afterkernel.data.source import Source
from afterkernel.errors import UserError
from afterkernel.files.reading import expand_user, is_file, is_folder
from afterkernel.options import option

# What torchvision raises for a failed download, a truncated file or a wrong checksum.
_FAILURES = (OSError, RuntimeError, ValueError, AssertionError, EOFError, HTTPException, tarfile.TarError, zlib.error)


@dataclass
class TorchvisionSource(Source):
    """A data set of torchvision with official splits; only the images of the chosen classes are kept."""

    root: str = option("data", "folder of the data sets, in torchvision's layout", affects_results=False, redact=True)
    download: bool = option(True, "download missing files into root", affects_results=False)

    folder: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()

    def check_files(self) -> None:
        """Raise UserError for a file that is missing and is not to be downloaded, or is not a regular file."""
        is_folder("dataset.root", expand_user("dataset.root", self.root))
        missing = [file for file in self.files if not is_file("dataset.root", self._folder / file)]
        if missing and not self.download:
            raise UserError(
                f"dataset.root={self.root}: {self._folder} has no {missing[0]}: put {', '.join(self.files)} there, "
                "or set dataset.download=true."
            )

    def _check_contents(self) -> None:
        """Raise UserError for a file with the wrong content, before torchvision opens any."""

    @property
    def _folder(self) -> Path:
        return expand_user("dataset.root", self.root) / self.folder

    def _dataset(self, root: Path, train: bool) -> Any:
        """The torchvision data set, with `data` (n, h, w[, c]) in uint8 and `targets` (n)."""
        raise TypeError(f"{type(self).__name__} does not name its torchvision data set")

    def read(self, train: bool) -> tuple[Any, Any]:
        """Images (n, h, w) or (n, c, h, w) in uint8, and labels."""
        root = expand_user("dataset.root", self.root)
        try:
            if self.download:
                root.mkdir(parents=True, exist_ok=True)
            with _one_process_at_a_time(root) if self.download else contextlib.nullcontext():
                if train:
                    self._check_contents()
                dataset = self._dataset(root, train)
        except UserError:
            raise
        except _FAILURES as error:
            reason = " ".join(str(error).split())
            tried = "downloaded or read" if self.download else "read"
            raise UserError(
                f"dataset.root={self.root}: {self.name} could not be {tried} ({type(error).__name__}: {reason}): "
                f"put {', '.join(self.files)} in {self._folder}."
            ) from error
        pixels = torch.as_tensor(dataset.data)
        return pixels.permute(0, 3, 1, 2) if pixels.dim() == 4 else pixels, dataset.targets


@contextlib.contextmanager
def _one_process_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, since the jobs of a sweep must not write the same download at once."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems do not support locks on folders; then jobs may download at the same time.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
