"""The whole configuration as dataclasses: the one source of defaults, types, bounds and help.

Sections that come in kinds (dataset, arch, svm) are dataclasses that also do the work that they describe; the kinds
are found by walking their packages.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from afterkernel import plugins
from afterkernel.claims import CLAIMS
from afterkernel.config.catalogue import every_option
from afterkernel.config.identity import Identity, identify
from afterkernel.config.kernel_options import Kernel
from afterkernel.data import SOURCES, Source
from afterkernel.errors import MissingPluginError, UserError
from afterkernel.kernel_kinds import KINDS as KERNEL_KINDS
from afterkernel.launchers import LAUNCHERS, Launcher
from afterkernel.loggers.options import Logger
from afterkernel.measures import MEASURES, Measures, measure_options
from afterkernel.models import ARCHITECTURES, Architecture
from afterkernel.options import option
from afterkernel.plugins import Registry
from afterkernel.svm import BACKENDS, Backend
from afterkernel.training.options import Snapshots, Trainer, Training


@dataclasses.dataclass
class Sweep:
    """Options of a sweep."""

    name: str = option(
        "default", "name of the folder, and of the W&B group, that holds the runs", affects_results=False
    )
    on_error: str = option(
        "continue",
        "after a failed run, continue with the others or stop",
        choices=("continue", "stop"),
        affects_results=False,
    )
    claims: list[str] = option(
        [], "claims that the report judges; all by default", choices=CLAIMS, affects_results=False
    )
    also: list[str] = option(
        [],
        'further grids of the same sweep, each as options that replace those of its grid, such as "arch=vgg seed=0,1"',
        affects_results=False,
    )
    max_runs: int = option(10_000, "maximum number of runs of a sweep", at_least=1, affects_results=False)
    recorded: str | None = option(
        None,
        "a file of records, as results --export writes it: runs whose last snapshot it has count as finished",
        affects_results=False,
        redact=True,
    )
    dry_run: bool = option(
        False, "print the table of runs with their estimated cost, without running them", affects_results=False
    )


@dataclasses.dataclass
class Config:
    """The configuration of a run; each config group fills the section of its name.

    It is not changed once it is composed and checked; `dataclasses.replace` makes another one.
    """

    dataset: Source = option(Source, "data set, classes, number of images")
    arch: Architecture = option(Architecture, "architecture of the network, size, initialisation")
    training: Training = option(Training, "optimiser, learning rate, end of training, augmentation")
    snapshot: Snapshots = option(Snapshots, "when the network is saved, and its kernels computed")
    kernel: Kernel = option(Kernel, "which kernels are computed, precision, memory")
    svm: Backend = option(Backend, "solver of the hard-margin SVM")
    measure: Measures = option(measure_options, "what is measured of each kernel")
    logger: Logger = option(Logger, "services and files that get the numbers of a run")
    trainer: Trainer = option(Trainer, "device, threads, checkpoints of training")
    launcher: Launcher = option(Launcher, "where the runs of a sweep are computed")
    sweep: Sweep = option(Sweep, "name, claims and limits of a sweep")
    plugins: list[str] = option(
        [],
        "Python modules that define more architectures, data sources, kernels, measures, SVM backends, claims or "
        "launchers, such as [my_lab.nets]; imported first",
        affects_results=False,
        unordered=True,
    )
    seed: int = option(
        0, "seed of initialisation, order of images, augmentation and label noise", at_least=0, at_most=2**31 - 1
    )
    keep: list[str] = option(
        ["checkpoint"],
        "what to keep of each snapshot in addition to its record: weights (checkpoint), Gram matrices "
        "(gram, in RUN_ID/kernels)",
        choices=("gram", "checkpoint"),
        affects_results=False,
    )
    output_dir: str = option(
        "runs", "folder for results; a run writes to SWEEP/RUN_ID below it", affects_results=False, redact=True
    )
    force: bool = option(False, "start over even if a run with these options is finished", affects_results=False)

    @functools.cached_property
    def identity(self) -> Identity:
        """The hashes that name the run, its snapshots and their evaluation; computed once."""
        return identify(self)


KINDS: dict[str, Registry[type[Any]]] = {
    "dataset": SOURCES,
    "arch": ARCHITECTURES,
    "svm": BACKENDS,
    "launcher": LAUNCHERS,
}
# Everything that a plugin can define.
_REGISTRIES: list[Registry[Any]] = [*KINDS.values(), KERNEL_KINDS, MEASURES, CLAIMS]


def load_plugins(names: Iterable[str], *, announce: bool = False) -> None:
    """Import plugins, after which what they define can be chosen; with `announce` each is named on stderr first.

    Raises UserError for one that can't be imported, or that defines nothing.
    """
    names = list(names)
    plugins.load(names, announce=announce)
    measure_options()  # refuses two measures with one option
    for name in names:
        if not any(plugins.defining(kind) == name for registry in _REGISTRIES for kind in registry.classes()):
            bases = ", ".join(registry.base.__name__ for registry in _REGISTRIES)
            raise UserError(
                f"plugins=[{name}] defines nothing: it must define, or import from its own modules, a subclass of "
                f"{bases} that has a name."
            )


def register() -> None:
    """Put the schema where Hydra finds it: base_config, and every kind as a choice of its group."""
    _register(tuple(plugins.loaded()))


@functools.cache
def _register(_: tuple[str, ...]) -> None:
    store = ConfigStore.instance()
    store.store(name="base_config", node=Config, provider="afterkernel")
    for group, kinds in KINDS.items():
        for name, kind in kinds.items():
            store.store(group=group, name=name, node=kind, provider="afterkernel")
    for name in MEASURES:
        store.store(group="measure", name=name, node={"names": [name]}, provider="afterkernel")


def config_from_dict(plain: Any) -> Config:
    """A typed configuration from plain data as `config_to_dict` gives it.

    Raises UserError for a kind that is missing or unknown, an unknown option, or a value of the wrong type, and
    MissingPluginError where it names a plugin that is not loaded.
    """
    if not isinstance(plain, dict):
        raise UserError("it does not map option names to values.")
    if (text := _reference(plain)) is not None:
        raise UserError(f"it contains references ({text}): write plain values instead.")
    from afterkernel.config.written import check_all_written  # it looks up the options of this schema

    if missing := [str(name) for name in plain.get("plugins") or [] if name not in plugins.loaded()]:
        raise MissingPluginError(
            f"it needs plugins, code that is imported only if you ask for it: add plugins=[{','.join(missing)}] to the "
            "command."
        )
    check_all_written(plain)
    schema = OmegaConf.structured(Config)
    for group, kinds in KINDS.items():
        section = plain.get(group)
        if not isinstance(section, dict):
            raise UserError(f"{group} is missing or not a section: write its options below it, each as name: value.")
        name = section.get("name")
        if not isinstance(name, str) or name not in kinds:
            raise UserError(f"{group}.name={name} is not known: choose one of {', '.join(kinds)}.")
        OmegaConf.update(schema, group, kinds[name], merge=False)
    try:
        config = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except OmegaConfBaseException as error:
        from afterkernel.config.explanations import explain  # its sentences name the options of this schema

        raise UserError(explain(error)) from error
    if not isinstance(config, Config):
        raise TypeError(f"not a configuration: {type(config).__name__}")
    return config


def _reference(node: Any) -> str | None:
    """The first string in plain data that OmegaConf would resolve."""
    if isinstance(node, str):
        return node if "${" in node else None
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for item in items if (found := _reference(item)) is not None), None)


def config_to_dict(config: Config) -> dict[str, Any]:
    """A configuration as plain data: dictionaries, lists, strings, numbers."""
    return dataclasses.asdict(config)


def public(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain data as `config_to_dict` gives it, without private options and without keys that are not options."""
    shown = {name for name, fields in every_option().items() if not any(field.metadata["redact"] for field in fields)}
    return _only(shown, plain, "")


def _only(names: set[str], node: dict[str, Any], prefix: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in names:
            kept[key] = value
        elif isinstance(value, dict):
            kept[key] = _only(names, value, f"{name}.")
    return kept
