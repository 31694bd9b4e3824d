"""docs/errors.md from the error cases: `python tests/errors/error_page.py` writes it."""

from __future__ import annotations

from pathlib import Path

import command_errors as words
import data_errors as data
import file_errors as files
import path_errors as paths
import sweep_errors as sweeps
import value_errors as values
import written_errors as written
from error_case import ErrorCase

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"

ERROR_CASES: dict[str, list[ErrorCase]] = {
    "Commands": words.COMMANDS,
    "Options": words.OPTIONS,
    "Values as they are written": written.WRITTEN,
    "Names": written.NAMES,
    "Numbers": values.NUMBERS,
    "Lists": values.LISTS,
    "Texts": values.TEXTS,
    "References": values.REFERENCES,
    "Code, and Hydra's own settings": values.CODE,
    "Deleted and chosen": values.DELETED,
    "Suggestions": values.SUGGESTIONS,
    "Kinds": words.GROUPS,
    "Options that do not fit together": words.PAIRS,
    "Places and devices": words.PLACES,
    "Grids": values.GRIDS,
    "Sweeps": sweeps.SWEEPS,
    "What a sweep file may hold": sweeps.SWEEP_FILES,
    "Paths": paths.PATHS,
    "Named pipes": paths.PIPES,
    "Images": paths.IMAGES,
    "Folders of images": data.FOLDERS,
    "MNIST and CIFAR-10": data.SETS,
    "Runs": files.RUNS,
    "Snapshots": files.SNAPSHOTS,
    "Runs again": files.RESUMED,
    "Tiles of Gram matrices": files.TILES,
    "Results": files.RESULTS,
}

HEAD = """# Error messages

A wrong option, file or argument gets one sentence, before any long work starts, and exit code 2. Files that are damaged,
altered, written by a later version or made by another network are reported and left untouched. Nothing that is loaded
can run code. Each row is a test (`tests/errors`); `...` stands for what varies. The page is written by
`python tests/errors/error_page.py`.
"""


def page() -> str:
    """The text of docs/errors.md."""
    parts = [HEAD]
    for heading, cases in ERROR_CASES.items():
        parts.append(
            f"\n## {heading}\n\n| cause | arguments of `python -m afterkernel` | message |\n| --- | --- | --- |\n"
        )
        parts += [f"| {each.done} | `{_cell(each.words)}` | {_cell(each.sentence)} |\n" for each in cases]
    return "".join(parts)


def _cell(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode().replace("|", "\\|").replace("\n", "\\n")
    return text if len(text) <= 400 else f"{text[:100]}..."


if __name__ == "__main__":
    DOCS.write_text(page())
