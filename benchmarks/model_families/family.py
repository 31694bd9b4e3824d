"""What a family is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Forward
from afterkernel.types import Tensor

# Of the number of samples: a model and its inputs and, where it is not called with these alone, `forward` of ak.ntk.
Made = tuple[nn.Module, Inputs] | tuple[nn.Module, Inputs, Forward]
Make = Callable[[int], Made]
Families = dict[str, tuple[Make, int | None]]


@dataclass(frozen=True)
class Family:
    """The package that a model comes from, how a small one and its inputs are made, and the output that is used."""

    package: str
    make: Make
    output: int | None


def parts_of(**parts: Any) -> nn.Module:
    """Modules and parameters by name, for a `forward` that uses them."""
    model = nn.Module()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def first_tensor(output: Any) -> Tensor:
    """The tensor of an output that may be a tensor, a tuple, or an object with `last_hidden_state` or `logits`."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "last_hidden_state"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    found = output[0]
    assert isinstance(found, Tensor)
    return found
