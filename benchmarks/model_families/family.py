"""What a family is, and the wrapper that makes one tensor of what a model gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from afterkernel.types import Tensor

Make = Callable[[int], tuple[nn.Module, Tensor]]  # of the number of samples
Families = dict[str, tuple[Make, int | None]]


@dataclass(frozen=True)
class Family:
    """The package that a model comes from, how a small one and its inputs are made, and the output that is used."""

    package: str
    make: Make
    output: int | None


class Wrapped(nn.Module):
    """A model called in a way of its own; `parts` are further modules that `call` uses."""

    def __init__(self, call: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


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
