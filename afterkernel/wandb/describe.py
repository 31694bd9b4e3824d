"""The description of a W&B run: notes with a glossary, and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afterkernel.kernel_kinds import describe
from afterkernel.records.glossary import declared_terms, markdown
from afterkernel.text import classes_in_words

_LONGEST_TAG = 64


def notes(config: Mapping[str, Any]) -> str:
    """In Markdown: what was trained and measured, and the meaning and unit of every metric."""
    return f"{_what(config)}\n\n{_glossary()}"


def tags(config: Mapping[str, Any]) -> list[str]:
    """The data set with its classes, the architecture, and the claims of the sweep."""
    claims = [str(name).upper() for name in _part(config, "sweep").get("claims", [])]
    dataset = _part(config, "dataset")
    pair = f"{dataset.get('minus', '')}/{dataset.get('plus', '')}"
    classes = f"{len(_classes(dataset))} classes" if _classes(dataset) else pair
    found = [f"{dataset.get('name', '')} {classes}", str(_part(config, "arch").get("name", "")), *claims]
    return [tag[:_LONGEST_TAG] for tag in dict.fromkeys(found) if tag]


def _what(config: Mapping[str, Any]) -> str:
    arch, training = _part(config, "arch"), _part(config, "training")
    dataset = _part(config, "dataset")
    words = classes_in_words(str(dataset.get("minus", "")), str(dataset.get("plus", "")), _classes(dataset))
    data = f"{dataset.get('name', '')}, {words}"
    details = f"learning rate {training.get('lr')}, seed {config.get('seed')}"
    return (
        f"A network of arch={arch.get('name')} on {data} ({details}), one run of a sweep of afterkernel. Kernels were "
        "computed and evaluated at several epochs of its training. The x-axis of all metrics is `epoch`; epoch 0 is "
        f"the initialisation. {_kernels(config)} `network/...` is of the network itself. The summary is of the last "
        "snapshot. Definitions: "
        "P. M. Long, [Properties of the After Kernel](https://arxiv.org/abs/2105.10585)."
    )


def _kernels(config: Mapping[str, Any]) -> str:
    kinds = [describe(str(name)) for name in _part(config, "kernel").get("names", [])]
    kinds.sort(key=lambda kind: kind.order)
    return " ".join(f"`{kind.name}/...` is of {kind.definition}." for kind in kinds)


def _glossary() -> str:
    return markdown(term for term in declared_terms() if term.topic not in ("run", "note"))


def _classes(dataset: Mapping[str, Any]) -> list[str]:
    return list(map(str, dataset.get("classes") or []))


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}
