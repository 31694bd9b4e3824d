"""Saving on a W&B server: a sweep's workspace and report are created once, then updated."""

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
    """The default user or team of the W&B account. Raises UserError if the server names none."""
    import wandb

    entity = _request(lambda: wandb.Api().default_entity)
    if not entity:
        raise UserError("W&B has no default entity for this account: give one with --entity.")
    return str(entity)


def save(folder: Path, entity: str, project: str, workspace: Any, report: Callable[[], Any]) -> dict[str, str]:
    """Save both and return their URLs by name. Views that were saved for this project before are updated.

    `report` builds the report, which may need the server. Raises UserError if the server refuses.
    """
    before = saved_urls(folder).get(f"{entity}/{project}", {})
    urls = {}
    for name, act in (
        ("workspace", lambda: _save(workspace, before.get("workspace"), "_internal_name", "_internal_id")),
        ("report", lambda: _save(report(), before.get("report"), "id")),
    ):
        urls[name] = _request(act)
        known = saved_urls(folder)
        known.setdefault(f"{entity}/{project}", {}).update(urls)
        write_atomic(folder / FILE, json.dumps(known, indent=2, sort_keys=True) + "\n")
    return urls


def _save(view: Any, url: str | None, *ids: str) -> str:
    """Save a view, as the one at `url` unless that was deleted; returns its URL. `ids` are the attributes to copy."""
    if url is not None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            saved = type(view).from_url(url)
            for name in ids:
                setattr(view, name, getattr(saved, name))
    view.save()
    return str(view.url)


def _request(act: Callable[[], Any]) -> Any:
    try:
        # The library prints its URLs on standard error; we print them on standard output.
        with contextlib.redirect_stderr(io.StringIO()):
            return act()
    # Network, account, permissions and server errors each have an exception of their own.
    except Exception as error:
        raise UserError(f"W&B did not accept the dashboard ({reason(error)}); its files are on disk.") from error


def saved_urls(folder: Path) -> dict[str, dict[str, str]]:
    """The URLs of saved views, by ENTITY/PROJECT and name. Raises UserError if the file is damaged."""
    try:
        found = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FILE} can't be read ({reason(error)}): remove it to save new views.") from error
    if not isinstance(found, dict) or not all(isinstance(urls, dict) for urls in found.values()):
        raise UserError(f"{folder / FILE} holds no URLs by project: remove it to save new views.")
    return found
