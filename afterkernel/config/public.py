"""Records without local paths, as they leave this machine: on dashboards, and in exported files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from afterkernel.config.catalogue import every_option
from afterkernel.config.schema import public
from afterkernel.records.record import Record
from afterkernel.wandb.redact import without_paths


def public_record(record: Record, local_paths: Iterable[str] = ()) -> Record:
    """A record without local paths in its options, its command and its warnings."""
    provenance, local_paths = dict(record.provenance), list(local_paths)
    if "command" in provenance:
        provenance["command"] = public_command(provenance["command"])
    kernels = tuple(
        dataclasses.replace(kernel, warnings=tuple(without_paths(text, local_paths) for text in kernel.warnings))
        for kernel in record.kernels
    )
    return dataclasses.replace(record, config=public(record.config), provenance=provenance, kernels=kernels)


def public_command(command: str | Sequence[str]) -> str:
    """A command without local paths: values of private options are PATH, other paths are cut to their last part."""
    private = [name for name, fields in every_option().items() if any(field.metadata["redact"] for field in fields)]
    names = "|".join(re.escape(name) for name in private)
    text = command if isinstance(command, str) else " ".join(map(str, command))
    # A value may contain spaces: it ends where the next option begins.
    text = re.sub(rf"(?<!\S)([+~]*(?:{names}))=.*?(?=\s[+~]*[\w./@]+=|\s--?\w|$)", r"\1=PATH", text)
    return " ".join(without_paths(word) for word in text.split(" "))
