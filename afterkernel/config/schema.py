"""The whole configuration as dataclasses: the one source of defaults, types, bounds and help.

Sections that come in kinds (dataset, arch, svm) are dataclasses that also do the work that they describe; the kinds
are found by walking their packages.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from afterkernel.data import SOURCES, Source
from afterkernel.discovery import members
from afterkernel.kernels.options import Kernel
from afterkernel.logger.wandb import Logger
from afterkernel.measures import AllMeasures, Measures
from afterkernel.models import Architecture
from afterkernel.options import option, walk
from afterkernel.svm import BACKENDS, Backend
from afterkernel.training.options import Snapshots, Trainer, Training


@dataclasses.dataclass
class Sweep:
    """What ties runs together."""

    name: str = option("default", "name of the folder, and of the W&B group, that holds the runs", decides=False)


@dataclasses.dataclass
class Config:
    """Everything that a run is told; the sections that come in kinds are filled by their config group."""

    dataset: Source = option(Source, "data set and pair of classes")
    arch: Architecture = option(Architecture, "architecture")
    training: Training = option(Training, "training")
    snapshot: Snapshots = option(Snapshots, "snapshots")
    kernel: Kernel = option(Kernel, "kernels")
    svm: Backend = option(Backend, "hard-margin SVM")
    measure: Measures = option(AllMeasures, "measures of kernels")
    logger: Logger = option(Logger, "mirrors")
    trainer: Trainer = option(Trainer, "where the work runs")
    sweep: Sweep = option(Sweep, "sweep")
    seed: int = option(0, "seed of initialisation, order of images and augmentation", at_least=0, at_most=2**31 - 1)
    output_dir: str = option("runs", "folder below which results go, as SWEEP/RUN_ID", decides=False)
    force: bool = option(False, "run again where a finished run of the same identity lies", decides=False)


KINDS: dict[str, dict[str, type[Any]]] = {
    "dataset": SOURCES,
    "arch": members("afterkernel.models", Architecture),
    "svm": BACKENDS,
}


def option_types() -> dict[str, str]:
    """The type of every option, of all kinds, by dotted name, as it is written in its dataclass."""
    sections = [("", Config())]
    sections += [(f"{group}.", kind()) for group, kinds in KINDS.items() for kind in kinds.values()]
    return {name: str(field.type) for prefix, section in sections for name, field, _ in walk(section, prefix)}


def register() -> None:
    """Put the schema where Hydra finds it: base_config, and base_KIND in each group of kinds."""
    store = ConfigStore.instance()
    store.store(name="base_config", node=Config, provider="afterkernel")
    for group, kinds in KINDS.items():
        for name, kind in kinds.items():
            store.store(group=group, name=f"base_{name}", node=kind, provider="afterkernel")


def from_plain(plain: dict[str, Any]) -> Config:
    """A typed configuration from plain data as `to_plain` gives it; raises what OmegaConf raises on a mismatch."""
    schema = OmegaConf.structured(Config)
    for group, kinds in KINDS.items():
        OmegaConf.update(schema, group, kinds[plain[group]["name"]], merge=False)
    config = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    if not isinstance(config, Config):
        raise TypeError(f"not a configuration: {type(config).__name__}")
    return config


def to_plain(config: Config) -> dict[str, Any]:
    """A configuration as plain data: dictionaries, lists, strings, numbers."""
    return dataclasses.asdict(config)
