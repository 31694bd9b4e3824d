"""Which options keep runs apart: all that affect results, as their declarations say, except what is averaged over.

The same rule groups the runs of the report, of the claims and of the W&B dashboard.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from afterkernel.records.record import Record

RATE, AUGMENT, PLUGINS = "training.lr", "training.augment", "plugins"
# Options that affect results and yet keep no runs apart: results are averaged over seeds, every snapshot and every
# kernel has rows of its own, and where a run stops, or is looked at, does not change its path.
AVERAGED = {"seed", "snapshot.epochs", "snapshot.losses", "kernel.names", "training.loss_target", "training.max_steps"}
# training.augment as runs have stored it that knew one augmentation alone.
_AUGMENTATIONS = {"false": "none", "true": "rotation_shift"}
_as_json = json.JSONEncoder(sort_keys=True).encode
# Options by dotted name, each as JSON.
Options = dict[str, str]


def flatten(tree: Any, prefix: str = "") -> Options:
    """The leaves of nested mappings by dotted name, each as JSON."""
    if isinstance(tree, dict) and tree:
        found: Options = {}
        for name, value in tree.items():
            found |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
        return found
    text = tree if isinstance(tree, str) else _as_json(tree)
    return {prefix: _AUGMENTATIONS.get(text, text) if prefix == AUGMENT else text}


def flatten_all(trees: Sequence[dict[str, Any]]) -> list[Options]:
    """Each tree flattened; equal ones once, since the snapshots of a run have one configuration."""
    texts = [_as_json(tree) for tree in trees]
    different = dict(zip(texts, trees, strict=True))
    flat = dict(zip(different, complete([flatten(tree) for tree in different.values()]), strict=True))
    return [flat[text] for text in texts]


def complete(configs: Sequence[Options]) -> list[Options]:
    """The options with their defaults for those that only some runs have: the others were made before they existed."""
    groups: dict[frozenset[tuple[str, str]], list[Options]] = defaultdict(list)
    kind_of = [
        frozenset(item for item in config.items() if item[0].endswith(".name") and item[0] != "sweep.name")
        for config in configs
    ]
    for kinds, config in zip(kind_of, configs, strict=True):
        groups[kinds].append(config)
    lacking = {
        kinds: set().union(*group) for kinds, group in groups.items() if len({frozenset(each) for each in group}) > 1
    }
    added = {kinds: _defaults(dict(kinds), names) for kinds, names in lacking.items()}
    return [added.get(kinds, {}) | config for kinds, config in zip(kind_of, configs, strict=True)]


def _defaults(kinds: Options, names: Collection[str]) -> Options:
    """The defaults of those of the named options that affect results, for the kinds chosen by `GROUP.name`."""
    from afterkernel.config.schema import Config
    from afterkernel.options import walk

    declared = walk(Config(**_sections(kinds)))
    values = {name: value for name, field, value in declared if name in names and field.metadata["affects_results"]}
    return {name: text for name, value in values.items() for text in flatten({name: value}).values()}


def _sections(config: Options) -> dict[str, Any]:
    """The sections of the kinds that a configuration has chosen, with their defaults; those that are known here."""
    # It imports torch, for which a report of runs that differ in nothing else should not wait.
    from afterkernel.config.schema import KINDS

    chosen = ((group, kinds, config.get(f"{group}.name", "")) for group, kinds in KINDS.items())
    return {group: kinds[name]() for group, kinds, name in chosen if name in kinds}


def differing(trees: Sequence[Options]) -> dict[str, list[str]]:
    """The values of each leaf, in order, where the flattened trees differ; a leaf that a tree lacks counts as ''."""
    names = sorted({name for tree in trees for name in tree})
    values = {name: list(dict.fromkeys(tree.get(name, "") for tree in trees)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def separating(configs: Sequence[Options], ignored: Collection[str] = ()) -> list[str]:
    """The options that differ between these configurations and keep their runs apart, without the `ignored` ones.

    Two plugins may give one name to different classes, so runs with different plugins are kept apart. A plugin can't
    take a name of this package, so runs without plugins need not be.
    """
    varying = differing(configs)
    names = [name for name in varying if name not in AVERAGED and name not in ignored and name != PLUGINS]
    several = len(set(varying.get(PLUGINS, [])) - {"", "[]"}) > 1
    return [*(_affecting(names, configs) if names else []), *([PLUGINS] if several else [])]


def _affecting(names: Iterable[str], configs: Iterable[Options]) -> list[str]:
    """Those options that affect results. An undeclared option, such as a plugin's, does if its section can."""
    from afterkernel.config.schema import KINDS, Config
    from afterkernel.options import walk

    affects: dict[str, bool] = defaultdict(bool)
    for chosen in {tuple(config.get(f"{group}.name", "") for group in KINDS) for config in configs}:
        names_of_kinds = {f"{group}.name": name for group, name in zip(KINDS, chosen, strict=True)}
        for name, field, _ in walk(Config(**_sections(names_of_kinds))):
            affects[name] |= field.metadata["affects_results"]
    inert = {name.split(".")[0] for name in affects} - {name.split(".")[0] for name, does in affects.items() if does}
    return [name for name in names if affects.get(name, name.split(".")[0] not in inert)]


def evaluation_groups(records: Iterable[Record]) -> dict[str, str]:
    """By evaluation id the group of evaluations that agree in all that keeps runs apart: the first id of the group."""
    configs = {record.evaluation_id: record.config for record in records}
    if len(configs) == 1:
        return {evaluation: evaluation for evaluation in configs}
    from afterkernel.config.identity import EVALUATION_SECTIONS

    parts = {
        name: {key: config[key] for key in EVALUATION_SECTIONS if key in config} for name, config in configs.items()
    }
    with_plugins = [part | {PLUGINS: configs[name].get(PLUGINS, [])} for name, part in parts.items()]
    options = dict(zip(parts, flatten_all(with_plugins), strict=True))
    apart = separating(list(options.values()))
    first: dict[str, str] = {}
    groups = {}
    for name in sorted(options):
        key = json.dumps([options[name].get(option) for option in apart]) if parts[name] else name
        groups[name] = first.setdefault(key, name)
    return groups
