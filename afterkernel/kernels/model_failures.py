"""What a model's own code raises, as one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.samples import Samples
from afterkernel.types import Tensor


@contextlib.contextmanager
def explained(args: Any, kwargs: Any) -> Iterator[None]:
    """Turn what the model raises for these arguments into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        hint = _hint(args, kwargs)
        raise UserError(f"the model can't be run on these samples ({reason_of(error)}){hint}.") from error


def reason_of(error: BaseException) -> str:
    """The type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _hint(args: Any, kwargs: Any) -> str:
    """What may be wrong with the arguments: a tuple where one tensor is meant, whole numbers where floats are."""
    leaves = tree_leaves((args, kwargs))
    given = args[0] if len(args) == 1 else None
    if isinstance(given, Samples) and given.forward is None and isinstance(given.tree, tuple) and len(leaves) > 1:
        return "; a tuple is passed to the model as several arguments: give the samples alone, without labels"
    kinds = {leaf.dtype for leaf in leaves if isinstance(leaf, Tensor)}
    whole = [str(kind) for kind in kinds if not kind.is_floating_point and not kind.is_complex]
    if whole and len(leaves) == 1:
        return f"; the samples are of {whole[0]}: if the model takes floats, give it floats"
    return ""
