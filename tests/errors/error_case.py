"""What an error case is, and the folder in which it is set up."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from afterkernel.__main__ import main

# The smallest run; options that a case names itself are left out.
SMALL = [
    *("arch=mlp", "arch.width=5", "training.epochs=1", "snapshot.epochs=[0]", "measure.num_images=5"),
    *("kernel.names=[ntk]", "trainer.threads=1", "logger=none"),
]
TINY_DATA = ["dataset.max_train=40", "dataset.max_test=20"]


@dataclass
class Workshop:
    """The folder in which an error is caused, with helpers to set it up."""

    folder: Path
    patch: pytest.MonkeyPatch
    finished: Path
    stopped: Path

    def run(self, name: str = "run") -> Path:
        """A finished run with two snapshots."""
        return Path(shutil.copytree(self.finished, self.folder / name))

    def run_with_tiles(self, name: str = "run") -> Path:
        """A run that was stopped within the Gram matrix of its first snapshot."""
        self.patch.setattr("afterkernel.runs.evaluate.LONG_MULTIPLICATIONS", 0)
        return Path(shutil.copytree(self.stopped, self.folder / name))

    def write(self, path: str, content: str | bytes = "") -> Path:
        """A file in the folder."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file


@dataclass(frozen=True)
class ErrorCase:
    """The cause, the arguments of the command line, and the expected message; "..." matches anything.

    `small` appends the options of the smallest run, so that an undetected error costs little time.
    """

    done: str
    words: str
    sentence: str
    setup: Callable[[Workshop], object] | None = None
    small: bool = True

    @property
    def name(self) -> str:
        return re.sub(r"\W+", "-", self.done).strip("-")[:90]

    def fits(self, sentence: str) -> bool:
        parts = (re.escape(part) for part in self.sentence.split("..."))
        return re.fullmatch(".*".join(parts), sentence) is not None


def answer(words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the program, run in this process."""
    threads, root = torch.get_num_threads(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        torch.set_num_threads(threads)
        for handler in set(root.handlers) - set(handlers):  # a handler of Hydra, whose stream ends with the test
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    out, err = capfd.readouterr()
    return code, out, err


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, except those of Hydra and of locks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {".hydra", "locks"} & set(path.parts) and path.suffix != ".log":
            with contextlib.suppress(OSError):
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found
