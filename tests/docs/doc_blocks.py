"""The code blocks of README.md and docs/, and the words that a shell passes to each command of a shell block."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Pages that people write; those of docs/results are generated from records, and hold no code.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = ("sh", "bash", "zsh")
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*$")
# What SLURM sets in a batch script.
JOB = {"SLURM_SUBMIT_DIR": ".", "SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "16"}
# Not found in an empty PATH, each command writes its words to RECORD, every one followed by a NUL.
STUBS = """
record() { printf '%s\\0' "$#" "$@" >>"$RECORD"; }
command_not_found_handle() { record "$@"; }
command_not_found_handler() { record "$@"; }
cd() { record cd "$@"; }
export() { record export "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of code: where it is, its language, its text, and why it is not run, if it is not."""

    place: str
    language: str
    text: str
    reason: str

    @property
    def page(self) -> str:
        return self.place.partition(":")[0]


def blocks() -> list[Block]:
    """All blocks of all pages, and the commands in the headers of sweep files."""
    found = [block for page in PAGES for block in _fenced(page)]
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := re.match(r"#   (?=make|python)(.*)", line):
                found.append(Block(f"sweeps/{path.name}:{number}", "sh", match[1] + "\n", ""))
    return found


def _fenced(page: Path) -> list[Block]:
    found, name, lines = [], page.relative_to(ROOT).as_posix(), page.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        fence = re.match(r"( *)(`{3,})(\w*)", line)
        if start is None and fence:
            start, indent, marks, language = number, len(fence[1]), fence[2], fence[3]
        elif start is not None and line.strip() == marks:
            reason = NOT_RUN.search(lines[start - 1]) if start else None
            text = "".join(f"{each[indent:]}\n" for each in lines[start + 1 : number])
            found.append(Block(f"{name}:{start + 1}", language, text, reason[1] if reason else ""))
            start = None
    assert start is None, f"{name}:{start} opens a block and does not close it"
    return found


def shell(name: str) -> str | None:
    """The path of a shell; None if it is not installed."""
    return shutil.which(name)


def syntax_error(program: str, text: str) -> str:
    """What `bash -n` or `zsh -n` says of a script; empty if it is right."""
    done = subprocess.run([program, "-n"], input=text, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr


def commands(program: str, text: str, folder: Path) -> list[list[str]]:
    """The words of every command of a script, as this shell passes them; none of the commands is run.

    A pattern that matches no file is an error, as by default in zsh.
    """
    record = folder / "record"
    record.unlink(missing_ok=True)
    (folder / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv" / "bin" / "activate").touch()
    (folder / ".config" / "fish" / "conf.d").mkdir(parents=True, exist_ok=True)
    strict = ["-O", "failglob"] if Path(program).name == "bash" else ["-f"]
    done = subprocess.run(
        [program, *strict, "-eu", "-c", STUBS + text],
        cwd=folder,
        env=JOB | {"PATH": "/nonexistent", "RECORD": str(record), "HOME": str(folder), "LANG": os.environ["LANG"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    words = iter(record.read_text().split("\0")[:-1] if record.exists() else [])
    return [[next(words) for _ in range(int(count))] for count in words]
