"""dashboard DIR: the same for W&B: a workspace, a report, a run with the figures."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.cli import CommandParser, folder_argument
from afterkernel.cli import wandb_sync as sync
from afterkernel.dashboard import remote as saved
from afterkernel.errors import UserError
from afterkernel.records.files import check_directory, write_atomic
from afterkernel.report.page import Made, make
from afterkernel.wandb.account import check_server, is_wandb_name, reason

if TYPE_CHECKING:  # it imports torch, for which help and a wrong path must not wait
    from afterkernel.dashboard.inputs import Material

FOLDER = "dashboard"


def main(argv: Sequence[str]) -> int:
    """`dashboard DIR`: build the dashboard of a sweep in DIR/dashboard, and with --upload save it on W&B too.

    UserError for what is not a sweep, a missing package, and, to upload, no account, no network or a server that
    does not take it.
    """
    parser = CommandParser("dashboard", "Build the W&B dashboard of a sweep.", "dashboard runs/demo --upload")
    parser.add_argument("directory", type=folder_argument, metavar="DIR", help="the folder of one sweep")
    parser.add_argument(
        "--upload", action="store_true", help="save it on W&B, which needs an account; else on disk alone"
    )
    parser.add_argument("--project", help="W&B project; that of the runs by default")
    parser.add_argument(
        "--entity", help="user or team that owns the project; that of the runs, or your own, by default"
    )
    options = parser.parse_args(argv)
    if find_spec("wandb_workspaces") is None:
        raise UserError("dashboard needs wandb-workspaces: pip install 'afterkernel[dashboard]'.")
    for name in ("project", "entity"):
        _check_name(name, getattr(options, name))
    check_directory(options.directory)
    from afterkernel.dashboard.inputs import read

    material = read(options.directory, options.project, options.entity)
    if options.upload:
        # W&B's own telemetry says on standard error what the key, or the network, fails it in.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        check_server("dashboard --upload")
        saved.remembered(options.directory / FOLDER)
    folder = options.directory / FOLDER
    try:
        return _build(material, folder, upload=options.upload)
    except OSError as error:
        raise UserError(f"{folder}: the dashboard can't be written there ({error.strerror}).") from error


def _build(material: Material, folder: Path, *, upload: bool) -> int:
    from afterkernel.dashboard import wandb_report as story
    from afterkernel.dashboard import workspace

    entity = (material.entity or saved.default_entity()) if upload else (material.entity or "")
    made = make(material.records, material.runs, folder / "report" / "index.html", f"runs/{material.sweep}")
    board = workspace.workspace(material, made.findings, entity)
    tale = story.report(material, made.findings, entity, online=False)
    for name, spec in (("workspace", workspace.spec(board)), ("report", story.spec(tale))):
        _write(folder / f"{name}.json", {"project": material.project, "entity": material.entity, **spec})
        print(folder / f"{name}.json")
    logged = _logged(material, made, folder)
    print(logged)
    if upload:
        fault = sync.upload(logged)
        if fault is not None:
            raise UserError(f"{logged} is not uploaded ({fault}): dashboard --upload tries again.")
        urls = saved.save(
            *(folder, entity, material.project, board),
            lambda: story.report(material, made.findings, entity, online=True),
        )
        for url in urls.values():
            print(url)
    _say_what_lacks(material, folder.parent, upload=upload)
    return 0


def _logged(material: Material, made: Made, folder: Path) -> Path:
    from afterkernel.dashboard import report_run

    try:
        return report_run.log(material, made, folder)
    except OSError:
        raise
    # The library is silenced, so its errors may be of any type.
    except Exception as error:
        raise UserError(f"W&B does not take the report's figures and tables ({reason(error)}).") from error


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _check_name(option: str, name: str | None) -> None:
    if name is not None and not is_wandb_name(name):
        raise UserError(f"--{option}={name} is not a valid W&B name: leave out / \\ # ? % :.")


def _say_what_lacks(material: Material, directory: Path, *, upload: bool) -> None:
    """What keeps the panels empty: runs that were never logged to W&B, and runs that are not uploaded yet."""
    if material.n_silent:
        silent = f"{fmt.plural(material.n_silent, 'run')} had logger.wandb.mode=disabled"
        print(f"afterkernel: {silent}: the dashboard's panels lack them.", file=sys.stderr)
    if upload:
        try:
            waiting = sum(bool(sync.unsynced(runs)) for runs in sync.offline_runs(directory))
        except UserError:
            waiting = 0
        if waiting:
            print(f"afterkernel: {waiting} W&B runs wait here: wandb-sync {directory} uploads them.", file=sys.stderr)
