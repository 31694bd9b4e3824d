"""What W&B gets only on request: code, git, the log, and files as artifacts (logger.wandb.share=full)."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from afterkernel.records.logged_run import LoggedFile
from afterkernel.records.record import Record
from afterkernel.wandb.neutral_path import neutral_file
from afterkernel.wandb.options import REFERENCE
from afterkernel.wandb.redact import without_paths

_PACKAGE = Path(__file__).resolve().parents[1]
# Addresses of git remotes that are no local paths: URLs, and user@host:path.
_REMOTE = re.compile(r"(?:https?|ssh|git)://|[\w.-]+@[\w.-]+:")


class Console(logging.Handler):
    """Sends the lines of the log to a W&B run, without local paths."""

    def __init__(self, run: Any, local_paths: Iterable[str]) -> None:
        super().__init__(logging.INFO)
        self.run, self.local_paths = run, tuple(local_paths)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logging.getLogger("afterkernel").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; an error of W&B does not affect the run."""
        try:
            self.run.write_logs(without_paths(self.format(record), self.local_paths))
        except Exception:
            self.close()

    def close(self) -> None:
        """Send no more lines."""
        logging.getLogger("afterkernel").removeHandler(self)
        super().close()


def repository() -> dict[str, str | None]:
    """W&B's settings for the commit and the remote of this package's checkout, without passwords and local paths."""
    remote = _git("remote", "get-url", "origin")
    if _REMOTE.match(remote) is None:
        remote = ""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {"disable_git": True}  # type: ignore[dict-item]
    return {"git_remote_url": re.sub(r"//[^/@]*@", "//", remote), "git_commit": commit}


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(_PACKAGE), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def log_code(run: Any, plugins: Iterable[str]) -> None:
    """Log the Python files of this package and of plugins as an artifact."""
    import wandb

    artifact = wandb.Artifact("afterkernel-code", type="code")
    for module in ("afterkernel", *plugins):
        for folder, name, path in _files_of(module):
            artifact.add_file(neutral_file(folder, path), name=name, policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def _files_of(module: str) -> Iterator[tuple[Path, str, Path]]:
    """The Python files of an imported module or package: the folder, the name below the module's, the path."""
    loaded = sys.modules.get(module)
    if loaded is None or loaded.__file__ is None:
        return
    place, file = module.replace(".", "/"), Path(loaded.__file__)
    if file.name != "__init__.py":
        yield file.parent, f"{place}.py", file
        return
    for path in sorted(file.parent.rglob("*.py")):
        yield file.parent, f"{place}/{path.relative_to(file.parent)}", path


def log_files(run: Any, run_dir: Path, record: Record, files: Iterable[LoggedFile], storage: str) -> None:
    """Log the files of a record as artifacts, whose metadata say what they were made from.

    With `storage` "reference" W&B gets the path, the size and the checksum of each file; else the file.
    """
    import wandb

    artifacts: dict[str, Any] = {}
    for file in files:
        if file.artifact not in artifacts:
            facts = {"run": record.run_id, "step": record.step, "epoch": record.epoch, "made_from": file.made_from}
            artifacts[file.artifact] = wandb.Artifact(file.artifact, type=file.kind, metadata=facts)
        artifact, path = artifacts[file.artifact], file.path.absolute()
        if storage == REFERENCE:
            artifact.add_reference(path.as_uri(), name=path.name, checksum=True)
        else:
            artifact.add_file(neutral_file(run_dir, path), name=path.name, policy="immutable", skip_cache=True)
    for artifact in artifacts.values():
        run.log_artifact(artifact, aliases=[f"step-{record.step}"])
