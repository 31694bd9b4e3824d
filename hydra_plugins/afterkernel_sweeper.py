"""Hydra's own sweeper, but for one thing: the whole grid is checked before its first job starts."""

# No `from __future__ import annotations` here: Hydra executes plugins before they are in sys.modules.
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


@dataclass
class SweeperConfig:
    """Options of the sweeper, those of Hydra's basic one."""

    _target_: str = "hydra_plugins.afterkernel_sweeper.CheckingSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="afterkernel", node=SweeperConfig, provider="afterkernel")


class CheckingSweeper(BasicSweeper):
    """Composes and checks every job of the grid, then launches them."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose and check each job, and reject two that would be one run."""
        from afterkernel.config import explain, run_id, typed
        from afterkernel.errors import UserError

        assert self.hydra_context is not None
        assert self.config is not None
        seen: dict[str, Sequence[str]] = {}
        for overrides in batch:
            try:
                loader = self.hydra_context.config_loader
                identity = run_id(typed(loader.load_sweep_config(self.config, list(overrides))))
            except UserError as error:
                _stop(f"{_told(overrides)}: {error}")
            except (HydraException, OmegaConfBaseException) as error:
                _stop(f"{_told(overrides)}: {explain(error)}")
            if identity in seen:
                _stop(f"{_told(seen[identity])} and {_told(overrides)} are one run: take one of them out.")
            seen[identity] = overrides


def _told(overrides: Sequence[str]) -> str:
    return f"job {' '.join(overrides)}"


def _stop(sentence: str) -> NoReturn:
    """End before the first job, without Hydra's hint at a stack trace."""
    print(f"afterkernel: {sentence}", file=sys.stderr)
    sys.exit(2)
