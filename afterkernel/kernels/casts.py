"""Data types that a model names in its code, when it is computed in another than its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from afterkernel.types import Tensor


def computed_in(kind: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """The type that a tensor is computed in: complex numbers stay complex, whole numbers stay as they are."""
    if kind.is_complex:
        return torch.complex128 if dtype == torch.float64 else torch.complex64
    return dtype if kind.is_floating_point else kind


@contextlib.contextmanager
def redirect_dtype(own: torch.dtype, dtype: torch.dtype) -> Iterator[None]:
    """Within the context, code that names the model's `own` data type gets `dtype`, in which the model is computed.

    `x.float()`, `x.to(torch.float32)` and `torch.zeros(n, dtype=torch.float32)` then give float64 in a float32 model
    that is computed in float64, `torch.zeros(n)` does too, and a float32 constant that meets a float64 number is
    converted.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _CastMode(own, dtype):
            yield
    finally:
        torch.set_default_dtype(before)


class _CastMode(TorchFunctionMode):
    def __init__(self, own: torch.dtype, dtype: torch.dtype) -> None:
        super().__init__()
        self._types = {own: dtype}
        if own.itemsize >= 4:
            self._types[computed_in(torch.complex64, own)] = computed_in(torch.complex64, dtype)
        self._methods = {_NAMED[kind]: to for kind, to in self._types.items() if kind in _NAMED}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function with data types replaced."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in self._methods and len(args) == 1 and isinstance(args[0], Tensor):
            return args[0].to(self._methods[name])
        if name not in ("view", "__get__", "__set__"):  # view(dtype) reads the bits as another type
            args, kwargs = tree_map(self._type, args), tree_map(self._type, kwargs)
            kinds = {leaf.dtype for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            if any(own in kinds and to in kinds for own, to in self._types.items()):
                # What is written to has to stay the same tensor.
                kept = 1 if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" else 0
                args = (*args[:kept], *tree_map(self._converted, args[kept:]))
                kwargs = {
                    key: value if key == "out" else tree_map(self._converted, value) for key, value in kwargs.items()
                }
        return func(*args, **kwargs)

    def _type(self, leaf: Any) -> Any:
        return self._types.get(leaf, leaf) if isinstance(leaf, torch.dtype) else leaf

    def _converted(self, leaf: Any) -> Any:
        return leaf.to(self._types[leaf.dtype]) if isinstance(leaf, Tensor) and leaf.dtype in self._types else leaf


_NAMED: Mapping[torch.dtype, str] = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "half",
    torch.bfloat16: "bfloat16",
    torch.complex64: "cfloat",
    torch.complex128: "cdouble",
}
