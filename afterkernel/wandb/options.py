"""The options logger.wandb, and what they make of the environment."""

from __future__ import annotations

import dataclasses
import importlib.util
import os

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.wandb.account import is_wandb_name, knows_account

# From the least that is sent to the most.
_MODES = ("disabled", "offline", "online")
FULL = "full"
UPLOAD, REFERENCE = "upload", "reference"


@dataclasses.dataclass
class Wandb:
    """Weights & Biases."""

    mode: str = option(
        "disabled",
        "offline needs no account; online uploads during the run; disabled logs nothing; WANDB_MODE can only "
        "restrict it; logger=wandb sets it to offline",
        choices=("offline", "online", "disabled"),
        affects_results=False,
    )
    project: str = option("afterkernel", "W&B project of the runs", affects_results=False)
    entity: str | None = option(
        None, "user or team that owns the project; your default one by default", affects_results=False
    )
    share: str = option(
        "results",
        "results sends numbers and options; full also sends code, git, console and artifacts (by upload, unless "
        "logger.wandb.artifacts=reference)",
        choices=("results", FULL),
        affects_results=False,
    )
    code: bool = option(
        False, "send the Python files of afterkernel and of the plugins of the run", affects_results=False
    )
    git: bool = option(
        False, "send the commit of afterkernel and the address of its remote repository", affects_results=False
    )
    console: bool = option(False, "send the log of the run, without local paths", affects_results=False)
    artifacts: str = option(
        "none",
        "send what keep= keeps, and the records, as W&B artifacts: upload sends the files; reference sends their local "
        "paths and checksums only",
        choices=("none", UPLOAD, REFERENCE),
        affects_results=False,
    )

    def effective_mode(self) -> str:
        """Whichever of `mode` and the environment's WANDB_MODE sends less: disabled, offline, then online.

        Raises UserError for a WANDB_MODE that is none of these.
        """
        variable = os.environ.get("WANDB_MODE", "")
        wanted = {"": self.mode, "dryrun": "offline", "run": "online"}.get(variable.lower(), variable.lower())
        if wanted not in _MODES:
            raise UserError(f"WANDB_MODE={variable} is not known: set it to online, offline or disabled, or unset it.")
        return min(self.mode, wanted, key=_MODES.index)

    def shared(self) -> Wandb:
        """The options with code, git, console and artifacts as `share` sets them."""
        if self.share != FULL:
            return self
        artifacts = UPLOAD if self.artifacts == "none" else self.artifacts
        return dataclasses.replace(self, code=True, git=True, console=True, artifacts=artifacts)

    def check(self) -> None:
        """Raise UserError for a name that W&B does not take, and without the package or the account that it needs."""
        mode = self.effective_mode()
        if mode == "disabled":
            return
        for name in ("project", "entity"):
            value = getattr(self, name)
            if value is not None and not is_wandb_name(value):
                raise UserError(f"logger.wandb.{name}={value} is not a valid W&B name: leave out / \\ # ? % :.")
        if importlib.util.find_spec("wandb") is None:
            raise UserError("logger.wandb.mode: wandb is not installed; install it, or use logger.wandb.mode=disabled.")
        if mode == "online" and not knows_account():
            raise UserError(
                "logger.wandb.mode=online: no W&B account is known here; run `wandb login`, set WANDB_API_KEY, "
                "or use logger.wandb.mode=offline."
            )
