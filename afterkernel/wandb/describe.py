"""The description of a W&B run: notes and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afterkernel.kernel_kinds import describe
from afterkernel.text import classes_in_words

_LONGEST_TAG = 64


def notes(config: Mapping[str, Any]) -> str:
    """In a few lines of Markdown: what was trained, what the prefixes of metrics mean, and where all are defined."""
    arch, training, dataset = _part(config, "arch"), _part(config, "training"), _part(config, "dataset")
    words = classes_in_words(str(dataset.get("minus", "")), str(dataset.get("plus", "")), _classes(dataset))
    return (
        f"arch={arch.get('name')} on {_title(dataset)}, {words}; learning rate {training.get('lr')}, seed "
        f"{config.get('seed')}. {_kernels(config)}\n\n"
        "All metrics are against `epoch`; 0 is the initialisation. The summary is of the last snapshot. Every metric "
        "is defined in docs/definitions.md of afterkernel; the source is P. M. Long, [Properties of the After Kernel]"
        "(https://arxiv.org/abs/2105.10585)."
    )


def tags(config: Mapping[str, Any]) -> list[str]:
    """The data set with its classes, the architecture, and the claims of the sweep."""
    claims = [str(name).upper() for name in _part(config, "sweep").get("claims", [])]
    dataset = _part(config, "dataset")
    pair = f"{dataset.get('minus', '')}/{dataset.get('plus', '')}"
    classes = f"{len(_classes(dataset))} classes" if _classes(dataset) else pair
    found = [f"{_title(dataset)} {classes}", str(_part(config, "arch").get("name", "")), *claims]
    return [tag[:_LONGEST_TAG] for tag in dict.fromkeys(found) if tag]


def _kernels(config: Mapping[str, Any]) -> str:
    kinds = [describe(str(name)) for name in _part(config, "kernel").get("names", [])]
    kinds.sort(key=lambda kind: kind.order)
    return " ".join(f"`{kind.name}/...` is of {kind.definition}." for kind in kinds)


def _title(dataset: Mapping[str, Any]) -> str:
    return str(dataset.get("label") or dataset.get("name", ""))


def _classes(dataset: Mapping[str, Any]) -> list[str]:
    return list(map(str, dataset.get("classes") or []))


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}
