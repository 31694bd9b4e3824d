"""docs/mistakes.md from the list of mistakes: `python tests/mistakes/mistake_table.py` writes it."""

from __future__ import annotations

from pathlib import Path

import mistake_files as files
import mistake_words as words
from mistake import Mistake

DOCS = Path(__file__).parents[2] / "docs" / "mistakes.md"

MISTAKES: dict[str, list[Mistake]] = {
    "Commands": words.COMMANDS,
    "Options": words.OPTIONS,
    "Kinds": words.GROUPS,
    "Options that do not fit together": words.PAIRS,
    "Places and devices": words.PLACES,
    "Sweeps": files.SWEEPS,
    "Folders of images": files.FOLDERS,
    "MNIST and CIFAR-10": files.SETS,
    "Runs": files.RUNS,
    "Snapshots": files.SNAPSHOTS,
    "Runs again": files.RESUMED,
    "Tiles of Gram matrices": files.TILES,
    "Results": files.RESULTS,
}

HEAD = """# Mistakes, and what is said of them

A mistake gets one sentence, before any long work starts, and an exit code that is not 0. What is damaged, altered, of a
later version or of another network is told and left as it is; nothing that is loaded can run code. Each row is a test
(`tests/mistakes`); `...` stands for what varies. `python tests/mistakes/mistake_table.py` writes this page from them.
"""


def page() -> str:
    """The text of docs/mistakes.md."""
    parts = [HEAD]
    for heading, mistakes in MISTAKES.items():
        parts.append(
            f"\n## {heading}\n\n| what was done | words behind `python -m afterkernel` | answer |\n| --- | --- | --- |\n"
        )
        parts += [f"| {each.done} | `{_cell(each.words)}` | {_cell(each.sentence)} |\n" for each in mistakes]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCS.write_text(page())
