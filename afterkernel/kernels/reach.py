"""Parameters that change a model's output, and that autograd does not know of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call

from afterkernel.errors import UserError
from afterkernel.kernels.capture import uses
from afterkernel.kernels.numeric import as_real, not_repeatable
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.types import Float, Tensor

# Relative sizes of the change: an output that depends on a parameter smoothly shows both, a branch rarely does.
CHANGES = (1e-2, 1e-3)
# Relative differences of outputs, in units of their rounding, that are a change.
ROUNDINGS = 50.0
NAMED = 5


def check_reached(
    model: WorkingCopy,
    x: Batch,
    parameters: Mapping[str, Tensor],
    select: Callable[[Any, int | None], Float[Tensor, "n k"]],
) -> None:
    """Raise UserError where the outputs for x depend on parameters that receive no gradient: their share would be lost.

    Parameters that the outputs do not depend on are right without one.
    """
    outputs = select(model(x), len(x))
    _check_own(model, outputs)
    counts = uses(outputs, parameters)
    missing = [name for name, value in parameters.items() if not counts[name]]
    if missing:
        _check_repeats(model, x, outputs, select)
    if missing and _depends(model, x, outputs, parameters, missing, select):
        names = _narrowed(missing, lambda part: _depends(model, x, outputs, parameters, part, select))
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        raise UserError(
            f"the model's output depends on {listed}, but no gradient reaches {'it' if len(names) == 1 else 'them'}: "
            "used under torch.no_grad(), through .detach(), .data, .item() or numpy, or in a function that autograd "
            "does not see through; remove that, or call requires_grad_(False) on what the kernel is to leave out."
        )


def _check_own(model: WorkingCopy, outputs: Float[Tensor, "n k"]) -> None:
    """Raise UserError where the outputs depend on parameters of the user's own model, which no gradient is taken in."""
    counts = uses(outputs, model.users_parameters)
    if counts:
        raise UserError(
            f"the output depends on {next(iter(counts))} of the model itself, not of the copy that the kernel is "
            "computed with: forward has to use the model that it is given, and a module its own parts by self."
        )


@torch.no_grad()
def _check_repeats(
    model: WorkingCopy, x: Batch, outputs: Float[Tensor, "n k"], select: Callable[[Any, int | None], Tensor]
) -> None:
    """Raise UserError where the outputs change although no parameter does: that would look like a dependence."""
    change = (select(model(x), len(x)) - outputs).abs().max().item()
    if change > _threshold(outputs):
        raise not_repeatable(change)


def _threshold(outputs: Float[Tensor, "n k"]) -> float:
    return ROUNDINGS * torch.finfo(outputs.dtype).eps * outputs.detach().abs().max().item()


@torch.no_grad()
def _depends(
    model: WorkingCopy,
    x: Batch,
    outputs: Float[Tensor, "n k"],
    parameters: Mapping[str, Tensor],
    names: Sequence[str],
    select: Callable[[Any, int | None], Float[Tensor, "n k"]],
) -> bool:
    """Whether the outputs change when the named parameters do."""
    threshold = _threshold(outputs)
    for size in CHANGES:
        changed = {name: _changed(parameters[name], size) for name in names}
        moved = select(functional_call(model, changed, (x,)), len(x))
        if not (moved - outputs).abs().max().item() > threshold:
            return False
    return True


def _changed(value: Tensor, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    real = as_real(value.detach())
    noise = torch.randn(real.shape, generator=generator).to(real)
    scale = real.square().mean().sqrt()
    moved = real + size * (scale if scale > 0 else 1) * noise
    return torch.view_as_complex(moved) if value.is_complex() else moved


def _narrowed(names: list[str], depends: Callable[[Sequence[str]], bool]) -> list[str]:
    """Those of the names that the outputs depend on, by halving."""
    if len(names) == 1:
        return names
    middle = len(names) // 2
    found = [name for part in (names[:middle], names[middle:]) if depends(part) for name in _narrowed(part, depends)]
    return found or names
