"""Whether W&B can be reached: an account, a network."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request

from afterkernel.errors import UserError

_PROBE_S = 10.0


def reason(error: BaseException) -> str:
    """An error's message on one line, or its type if it has none."""
    text = " ".join(str(error).split())
    return re.sub(r"\.$", "", text) or type(error).__name__


def is_wandb_name(name: str) -> bool:
    """Whether this is a valid name of a W&B project, user or team."""
    return bool(name.strip()) and len(name) <= 128 and not set(name) & set("/\\#?%:")


def check_server(command: str) -> None:
    """Raise UserError if there is no account or no network; `command` is what the user should run again."""
    if not knows_account():
        raise UserError("no W&B account is known here: run `wandb login`, or set WANDB_API_KEY.")
    address = server()
    if (fault := unreachable(address)) is not None:
        raise UserError(f"{address} can't be reached ({fault}): run {command} where there is a network.")


def disable_error_reports() -> None:
    """Keep W&B's client from reporting its own errors to its maker, unless the environment says otherwise.

    Their tracebacks name local paths, and offline runs send them too. To be called before wandb is imported.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def knows_account() -> bool:
    """Whether the environment or `wandb login` gives an API key; the server is not asked whether it is valid."""
    from requests.utils import get_netrc_auth

    named = any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
    return named or get_netrc_auth(server()) is not None


def server() -> str:
    """The address of the W&B server: from WANDB_BASE_URL or W&B's settings, else the public one."""
    disable_error_reports()
    import wandb

    return str(wandb.setup().settings.base_url)


def unreachable(address: str) -> str | None:
    """Why a server does not answer; None if it does, even with an error. W&B itself would retry for hours."""
    try:
        urllib.request.urlopen(address, timeout=_PROBE_S).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return str(error.reason) if isinstance(error, urllib.error.URLError) else reason(error)
    return None
