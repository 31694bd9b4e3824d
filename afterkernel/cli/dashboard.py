"""dashboard DIR: the report for W&B: a workspace, a report, a run with the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.cli import A_FILE, RESULTS, CommandParser, folder_argument
from afterkernel.cli import wandb_sync as sync
from afterkernel.dashboard import remote
from afterkernel.errors import UserError
from afterkernel.records.files import check_directory, output_folder, write_atomic
from afterkernel.records.store import is_exported
from afterkernel.report.page import WrittenReport, write_report
from afterkernel.wandb.account import check_server, is_wandb_name, reason

if TYPE_CHECKING:  # it imports torch, which would delay help and errors
    from afterkernel.dashboard.inputs import DashboardInputs

GROUP = RESULTS

FOLDER = "dashboard"


def main(argv: Sequence[str]) -> int:
    """`dashboard DIR`: build the dashboard of a sweep in DIR/dashboard, and with --upload save it on W&B too.

    Raises UserError if DIR is not a sweep or a package is missing, and with --upload if there is no account, no
    network, or the server refuses.
    """
    parser = CommandParser("dashboard", "Build the W&B dashboard of a sweep.", "dashboard runs/demo --upload")
    parser.add_argument("directory", type=folder_argument, metavar="DIR", help=f"the folder of one sweep, or {A_FILE}")
    parser.add_argument(
        "--upload", action="store_true", help="save it on W&B, which needs an account; by default only on disk"
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
    if not is_exported(options.directory):
        check_directory(options.directory)
    from afterkernel.dashboard.inputs import read

    inputs = read(options.directory, options.project, options.entity)
    folder = output_folder(options.directory, FOLDER)
    if options.upload:
        check_server("dashboard --upload")
        remote.saved_urls(folder)
    try:
        return _build(inputs, folder, upload=options.upload)
    except OSError as error:
        raise UserError(f"{folder}: the dashboard can't be written there ({error.strerror}).") from error


def _build(inputs: DashboardInputs, folder: Path, *, upload: bool) -> int:
    from afterkernel.dashboard import wandb_report
    from afterkernel.dashboard import workspace as workspaces

    entity = (inputs.entity or remote.default_entity()) if upload else (inputs.entity or "")
    written = write_report(inputs.records, inputs.runs, folder / "report" / "index.html", f"runs/{inputs.sweep}")
    workspace = workspaces.workspace(inputs, written.findings, entity)
    report = wandb_report.wandb_report(inputs, written.findings, entity, online=False)
    for name, spec in (("workspace", workspaces.spec(workspace)), ("report", wandb_report.spec(report))):
        _write(folder / f"{name}.json", {"project": inputs.project, "entity": inputs.entity, **spec})
        print(folder / f"{name}.json")
    logged = _log(inputs, written, folder)
    print(logged)
    if upload:
        fault = sync.upload(logged)
        if fault is not None:
            raise UserError(f"{logged} is not uploaded ({fault}): dashboard --upload tries again.")
        urls = remote.save(
            *(folder, entity, inputs.project, workspace),
            lambda: wandb_report.wandb_report(inputs, written.findings, entity, online=True),
        )
        for url in urls.values():
            print(url)
    _warn_of_missing_runs(inputs, folder.parent, upload=upload and folder.name == FOLDER)
    return 0


def _log(inputs: DashboardInputs, written: WrittenReport, folder: Path) -> Path:
    from afterkernel.dashboard import report_run

    try:
        return report_run.log(inputs, written, folder)
    except OSError:
        raise
    # The library's errors may be of any type.
    except Exception as error:
        raise UserError(f"W&B did not accept the report's figures and tables ({reason(error)}).") from error


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _check_name(option: str, name: str | None) -> None:
    if name is not None and not is_wandb_name(name):
        raise UserError(f"--{option}={name} is not a valid W&B name: leave out / \\ # ? % :.")


def _warn_of_missing_runs(inputs: DashboardInputs, directory: Path, *, upload: bool) -> None:
    """Warn about runs that are missing from the panels: those never logged to W&B, and those not uploaded yet."""
    if inputs.n_not_logged:
        runs = f"{fmt.plural(inputs.n_not_logged, 'run')} had logger.wandb.mode=disabled"
        print(f"afterkernel: {runs}: the dashboard's panels lack them.", file=sys.stderr)
    if upload:
        try:
            waiting = sum(bool(sync.unsynced(runs)) for runs in sync.offline_runs(directory))
        except UserError:
            waiting = 0
        if waiting:
            print(
                f"afterkernel: {waiting} W&B runs are not uploaded: wandb-sync {directory} uploads them.",
                file=sys.stderr,
            )
