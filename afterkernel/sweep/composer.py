"""Composes the runs of a grid quickly: Hydra reads its files once per choice of config groups, not once per run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from afterkernel.config.catalogue import every_option


class Composer:
    """Composes a run from its overrides, as `load` does; 240 runs with 48 choices of groups in a fifth of the time.

    `load` is called without the overrides that only set an option; Hydra's own function then sets these on a copy of
    its result. Raises what `load` raises.
    """

    def __init__(self, load: Callable[[list[str]], DictConfig]) -> None:
        self._load = load
        self._options = every_option()
        self._composed: dict[tuple[str | None, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one run."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [override for override in parsed if self._sets_an_option(override)]
        rest = [override for override in parsed if not self._sets_an_option(override)]
        if any("." in override.key_or_group for override in rest):
            # It adds or deletes an option, or is an option of Hydra: the order may matter.
            return self._load(list(overrides))
        key = tuple(override.input_line for override in rest)
        if key not in self._composed:
            self._composed[key] = self._load([line for line in key if line is not None])
        config = copy.deepcopy(self._composed[key])
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config

    def _sets_an_option(self, override: Override) -> bool:
        changes = override.is_add() or override.is_force_add() or override.is_delete()
        return not changes and override.key_or_group in self._options
