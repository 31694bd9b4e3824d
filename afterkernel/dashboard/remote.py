"""Views on a W&B server: a sweep's workspace and report are saved once, and updated from there on."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afterkernel.errors import UserError
from afterkernel.records.files import write_atomic
from afterkernel.wandb.account import reason

FILE = "saved.json"


def default_entity() -> str:
    """The user or team to which W&B takes what names none. UserError where the server does not say."""
    import wandb

    entity = _answered(lambda: wandb.Api().default_entity)
    if not entity:
        raise UserError("W&B names no default entity for this account: give one with --entity.")
    return str(entity)


def save(folder: Path, entity: str, project: str, workspace: Any, report: Callable[[], Any]) -> dict[str, str]:
    """Save both, updating the views that `folder` remembers for this project, and return their URLs by name.

    `report` builds the report, which may ask the server. UserError where the server does not do it.
    """
    before = remembered(folder).get(f"{entity}/{project}", {})
    urls = {}
    for name, act in (
        ("workspace", lambda: _workspace(workspace, before.get("workspace"))),
        ("report", lambda: _report(report(), before.get("report"))),
    ):
        urls[name] = _answered(act)
        _remember(folder, entity, project, urls)
    return urls


def _workspace(made: Any, url: str | None) -> str:
    if url is not None:
        known = _or_none(lambda: type(made).from_url(url))
        if known is not None:
            made._internal_name, made._internal_id = known._internal_name, known._internal_id
    made.save()
    return str(made.url)


def _report(made: Any, url: str | None) -> str:
    if url is not None:
        known = _or_none(lambda: type(made).from_url(url))
        if known is not None:
            made.id = known.id
    made.save()
    return str(made.url)


def _or_none(load: Callable[[], Any]) -> Any:
    """What was saved before; None if it was deleted since."""
    try:
        return load()
    except (ValueError, TypeError, KeyError):
        return None


def _answered(act: Callable[[], Any]) -> Any:
    try:
        # The library tells its URLs on standard error, and we tell them on standard output.
        with contextlib.redirect_stderr(io.StringIO()):
            return act()
    # Transport, the account, the rights, the server's own mistakes: each has an exception of its own.
    except Exception as error:
        raise UserError(f"W&B did not take the dashboard ({reason(error)}); what is built lies on disk.") from error


def remembered(folder: Path) -> dict[str, dict[str, str]]:
    """The URLs of what was saved before, by ENTITY/PROJECT and name. UserError where the file is damaged."""
    try:
        found = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FILE} can't be read ({reason(error)}): remove it to save new views.") from error
    if not isinstance(found, dict) or not all(isinstance(urls, dict) for urls in found.values()):
        raise UserError(f"{folder / FILE} holds no URLs by project: remove it to save new views.")
    return found


def _remember(folder: Path, entity: str, project: str, urls: dict[str, str]) -> None:
    known = remembered(folder)
    known.setdefault(f"{entity}/{project}", {}).update(urls)
    write_atomic(folder / FILE, json.dumps(known, indent=2, sort_keys=True) + "\n")
