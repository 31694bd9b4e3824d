"""The help text, generated from the schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from afterkernel.config.schema import KINDS, Config
from afterkernel.measures import Measures
from afterkernel.options import walk


def help_text(usage: str) -> str:
    """The usage, then every option with its default and one line of help."""
    lines = [
        usage.strip(),
        "",
        "Options, as name=value (defaults shown; each choice of a group has its own options):",
    ]
    for field in dataclasses.fields(Config):
        section = getattr(Config(), field.name)
        if field.name in KINDS:
            kinds = KINDS[field.name]
            lines += ["", f"{field.name}={'|'.join(kinds)}    {field.metadata['help']}"]
            for name, kind in kinds.items():
                lines.append(f"  with {field.name}={name}:")
                lines += _rows(walk(kind(), f"{field.name}."), skip=f"{field.name}.name", indent="    ")
        elif dataclasses.is_dataclass(section):
            lines += ["", *_rows(walk(section, f"{field.name}."))]
            if isinstance(section, Measures):
                lines += _measures(section)
        else:
            lines += _rows([(field.name, field, section)])
    lines += [
        "",
        "Sweep with commas: --multirun arch=vgg,mlp training.lr=0.03,0.1; or +sweep=NAME takes sweeps/NAME.yaml.",
        "experiment=NAME uses a file of conf/experiment. Hydra's own flags (--cfg job, --info) work too.",
        "plugins=[MODULE] adds networks, data sets, kernels, measures, SVM backends and claims of your own;",
        "--config-dir DIR adds your own choices DIR/GROUP/NAME.yaml and sweeps DIR/sweeps/NAME.yaml.",
    ]
    return "\n".join(lines)


def _measures(section: Measures) -> list[str]:
    """Each measure with its cost."""
    lines = ["  of measure.names (n images, p numbers per embedding):"]
    for name, kind in section.kinds().items():
        lines += [f"    {name:<18} {kind.what}", f"    {'':<18} cost: {kind.cost}"]
    return lines


def _rows(
    options: Iterator[tuple[str, Any, Any]] | list[tuple[str, Any, Any]], skip: str = "", indent: str = "  "
) -> list[str]:
    rows = []
    for name, field, value in options:
        if name != skip:
            text = field.metadata["help"]
            if field.metadata["choices"]:
                text += f" ({', '.join(field.metadata['choices'])})"
            rows.append(f"{indent}{f'{name}={_shown(value)}':<44} {text}")
    return rows


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
