"""The description of a W&B run for a reader who opens it alone: notes with a glossary, and tags."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from afterkernel.kernel_kinds import describe
from afterkernel.records.glossary import OPTIONAL, TERMS, markdown

_LONGEST_TAG = 64


def notes(config: Mapping[str, Any]) -> str:
    """In Markdown: what was trained and measured, and what every metric means, in which unit."""
    return f"{_what(config)}\n\n{_glossary()}"


def tags(config: Mapping[str, Any]) -> list[str]:
    """Data set with its pair of classes, architecture, the claims that the sweep is to answer."""
    claims = [str(name).upper() for name in _part(config, "sweep").get("claims", [])]
    found = [_data(config, "{name} {minus}/{plus}"), str(_part(config, "arch").get("name", "")), *claims]
    return [tag[:_LONGEST_TAG] for tag in dict.fromkeys(found) if tag]


def _what(config: Mapping[str, Any]) -> str:
    arch, training = _part(config, "arch"), _part(config, "training")
    data = _data(config, "{name}, {minus} against {plus}")
    details = f"learning rate {training.get('lr')}, seed {config.get('seed')}"
    return (
        f"A network of arch={arch.get('name')} on {data} ({details}), one job of a sweep of afterkernel. It was saved "
        "at several epochs, and kernels of each snapshot were computed and judged. The x-axis of all metrics is "
        f"`epoch`; epoch 0 is the initialisation. {_kernels(config)} `network/...` is of the network itself. "
        "The summary is that of the last snapshot. Definitions: "
        "P. M. Long, [Properties of the After Kernel](https://arxiv.org/abs/2105.10585)."
    )


def _kernels(config: Mapping[str, Any]) -> str:
    kinds = [describe(str(name)) for name in _part(config, "kernel").get("names", [])]
    kinds.sort(key=lambda kind: kind.order)
    return " ".join(f"`{kind.name}/...` is of {kind.definition}." for kind in kinds)


@functools.cache
def _glossary() -> str:
    return markdown(term for term in [*TERMS, *OPTIONAL] if term.topic not in ("run", "note"))


def _data(config: Mapping[str, Any], pattern: str) -> str:
    dataset = _part(config, "dataset")
    return pattern.format(**{name: dataset.get(name, "") for name in ("name", "minus", "plus")})


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}
