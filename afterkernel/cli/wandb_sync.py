"""wandb-sync DIR: upload what W&B wrote offline."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import afterkernel
from afterkernel.cli import CommandParser, folder_argument
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.records.files import REPLACED, check_directory
from afterkernel.text import natural_key, plural
from afterkernel.wandb.account import check_server
from afterkernel.wandb.neutral_path import neutral_path

_LIMIT_S = 600.0


def main(argv: Sequence[str]) -> int:
    """`wandb-sync DIR`: upload the offline W&B runs below a directory; returns 1 if an upload failed.

    Runs of one folder are uploaded in the order in which they were made, so that the last one, which is complete,
    counts. Raises UserError if there is no offline run, no account or no network.
    """
    parser = CommandParser("wandb-sync", "Upload offline W&B runs.", "wandb-sync runs/demo")
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help="a run, a sweep, or the folder of all sweeps"
    )
    folders = offline_runs(parser.parse_args(argv).directory)
    waiting = [folder for runs in folders for folder in unsynced(runs)]
    if not waiting:
        print(f"nothing to upload: all {sum(map(len, folders))} W&B runs are synced or have a later one that is")
        return 0
    check_server("wandb-sync")
    failed = 0
    for runs in folders:
        for folder in unsynced(runs):
            fault = upload(folder)
            print(f"{folder}: {'uploaded' if fault is None else f'NOT uploaded: {fault}'}", flush=True)
            if fault is not None:
                # Later ones wait: the next call must upload them in order.
                failed += 1
                break
    if failed:
        runs_wanted = plural(len(folders), "run")
        print(f"afterkernel: {failed} of {runs_wanted} not uploaded; wandb-sync tries again.", file=sys.stderr)
    return ExitCode.FAILED if failed else ExitCode.DONE


def offline_runs(directory: Path) -> list[list[Path]]:
    """The offline W&B runs below a directory, grouped by folder and id, oldest first. Raises UserError if none."""
    check_directory(directory)
    found: dict[tuple[Path, str], list[Path]] = {}
    for folder in sorted(directory.rglob("wandb/offline-run-*"), key=lambda path: natural_key(str(path))):
        if REPLACED in folder.relative_to(directory).parts:
            continue
        for file in folder.glob("*.wandb"):
            found.setdefault((folder.parent, file.name), []).append(folder)
    if not found:
        raise UserError(f"{directory} holds no offline W&B run: there is no wandb/offline-run-* below it.")
    return list(found.values())


def unsynced(runs: Sequence[Path]) -> list[Path]:
    """Of the W&B runs of one id, oldest first, those after the last synced one, which supersedes the older ones."""
    last = max((index for index, folder in enumerate(runs) if _is_synced(folder)), default=-1)
    return list(runs[last + 1 :])


def upload(folder: Path) -> str | None:
    """Upload one offline W&B run; returns why it failed, or None.

    The exit code of `wandb sync` is 0 even if it failed; the mark file that it leaves is reliable.
    """
    # Files of artifacts are named by these links, which a restart of the machine removes.
    for place in (folder.parents[1], Path(afterkernel.__file__).parent):
        with contextlib.suppress(OSError):
            neutral_path(place)
    command = [sys.executable, "-m", "wandb", "sync", str(folder.absolute())]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    with tempfile.TemporaryDirectory() as logs:
        environment |= {"WANDB_MODE": "online", "WANDB_DIR": logs}
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return f"it took more than {_LIMIT_S:.0f} s"
    if _is_synced(folder):
        return None
    return _fault(done.stdout + done.stderr)


def _is_synced(folder: Path) -> bool:
    return any(folder.glob("*.wandb.synced"))


def _fault(output: str) -> str:
    """The most informative line of the output of `wandb sync`."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).removeprefix("wandb:").strip() for line in output.splitlines()]
    lines = [line for line in plain if not re.search(r"error logs at|<no message>|\.wandb$", line)]
    errors = [line for line in lines if re.search(r"error|failed|denied|not auth|invalid", line, re.IGNORECASE)]
    # W&B prints "<no message>" if the server refuses the key.
    return errors[-1] if errors else "W&B gives no reason; is the API key valid, and may it write to the project?"
