"""Find out which tensors a forward pass writes to, before it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from afterkernel.types import Tensor


class WriteRefused(BaseException):
    """A write to protected memory at the address `storage`; not an Exception, so that no model catches it."""

    def __init__(self, storage: int) -> None:
        super().__init__()
        self.storage = storage


class WriteGuard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, an operation that would write to the memory of a protected tensor raises WriteRefused."""

    def __init__(self, protected: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._protected = {address(value) for value in protected} - {0}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation unless it writes to protected memory."""
        kwargs = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            for i, argument in enumerate(schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    given = args[i] if i < len(args) else kwargs.get(argument.name)
                    for value in given if isinstance(given, (list, tuple)) else (given,):
                        if isinstance(value, Tensor) and (place := address(value)) in self._protected:
                            raise WriteRefused(place)
        return func(*args, **kwargs)


def address(tensor: Tensor) -> int:
    """Where a tensor's memory begins; 0 if it has no accessible one."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def make_private(tensors: Iterable[Tensor], storage: int) -> list[Tensor]:
    """Give the tensors that lie in that memory a copy of it, which they share as before; those that were moved."""
    moved = [tensor for tensor in tensors if address(tensor) == storage]
    with torch.no_grad():
        own = moved[0].untyped_storage().clone()  # type: ignore[no-untyped-call]
        for tensor in moved:
            place = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            tensor.data = place.set_(own, tensor.storage_offset(), tensor.shape, tensor.stride())
    return moved
