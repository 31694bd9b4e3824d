"""Hydra's own grid, run by us: checked as a whole first, finished runs skipped, failures reported."""

# No `from __future__ import annotations` here: Hydra executes plugins before they are in sys.modules.
import sys
from dataclasses import dataclass, field
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


@dataclass
class SweeperConfig:
    """Options of the sweeper: what is swept, as KEY: "value,value"."""

    _target_: str = "hydra_plugins.afterkernel_sweeper.GridSweeper"
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="afterkernel", node=SweeperConfig, provider="afterkernel")


class GridSweeper(BasicSweeper):
    """Composes and checks every job of the grid, then has what is not finished launched."""

    def __init__(self, params: dict[str, str] | None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid; ends the program with a code that is not 0 where a run failed."""
        from afterkernel.config import explain
        from afterkernel.config.overrides import check_override, check_runs, count_runs
        from afterkernel.errors import UserError
        from afterkernel.runs.worker import failure_message
        from afterkernel.sweep.composer import Composer
        from afterkernel.sweep.grid import compose_grid
        from afterkernel.sweep.run_sweep import run_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        loader, config = self.hydra_context.config_loader, self.config
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
            for override in parsed:
                check_override(override)
            check_runs(count_runs(parsed), cast(Any, OmegaConf.to_object(config.sweep)))
            (grid,) = self.split_arguments(parsed, None)
            planned_runs = compose_grid(Composer(lambda overrides: loader.load_sweep_config(config, overrides)), grid)
            first = planned_runs[0].config
            if first.sweep.dry_run:
                from afterkernel.sweep.estimate import print_plan

                print_plan(planned_runs)
                return None
            code = run_sweep(planned_runs, first.launcher, first.sweep.on_error)
        except UserError as error:
            # Not raised: Hydra would add a hint at a stack trace.
            print(f"afterkernel: {error}", file=sys.stderr)
            code = 2
        except (HydraException, OmegaConfBaseException) as error:
            print(f"afterkernel: {explain(error)}", file=sys.stderr)
            code = 2
        except OSError as error:
            print(f"afterkernel: {failure_message(error)}", file=sys.stderr)
            code = 1
        if code:
            sys.exit(code)
        return None
