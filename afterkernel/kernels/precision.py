"""Precision of products: float32 means float32; TF32 and bfloat16 are used only where named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from afterkernel.errors import UserError


@dataclass(frozen=True)
class Precision:
    """How gradients are collected (`dtype`), held (`held`) and multiplied; results are in `dtype`.

    float32, float64: as they are called. tf32: products of float32 numbers rounded to TensorFloat-32, where the device
    has it. tf32x3: float32 numbers split in two TF32 numbers, whose three products keep their digits (see `split`).
    bf16: gradients rounded to bfloat16, half the memory; their products are added up in float32.
    """

    name: str
    dtype: torch.dtype
    held: torch.dtype
    tf32: bool = False
    split: bool = False

    @property
    def exact(self) -> bool:
        """Whether products are those of the data type that gradients are collected in."""
        return self.held == self.dtype and not self.tf32 and not self.split


PRECISIONS = {
    "float32": Precision("float32", torch.float32, torch.float32),
    "float64": Precision("float64", torch.float64, torch.float64),
    "tf32": Precision("tf32", torch.float32, torch.float32, tf32=True),
    "tf32x3": Precision("tf32x3", torch.float32, torch.float32, split=True),
    "bf16": Precision("bf16", torch.float32, torch.bfloat16),
}


def precision(value: str | torch.dtype | Precision) -> Precision:
    """The precision of that name, or of torch.float32 or torch.float64. Raises UserError for any other."""
    if isinstance(value, Precision):
        return value
    found = PRECISIONS.get(str(value).removeprefix("torch."))
    if found is None:
        raise UserError(f"dtype={value} is not known: choose torch.float32, torch.float64, {', '.join(PRECISIONS)}.")
    return found


_split: ContextVar[bool] = ContextVar("split", default=False)


def products_are_split() -> bool:
    """Whether Gram products of float32 gradients are to be computed by three products of TF32 numbers."""
    return _split.get()


@contextmanager
def exact_products(*, tf32: bool = False, split: bool = False) -> Iterator[None]:
    """Within the block float32 products are computed in float32, not in TF32 or bfloat16, unless `tf32`.

    With `split`, those of a Gram matrix alone are computed by `split.add_split_products`; all others stay float32.
    """
    before, token = torch.get_float32_matmul_precision(), _split.set(split)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
        ):  # only cuDNN has TF32 on by default
            yield
    finally:
        _split.reset(token)
        torch.set_float32_matmul_precision(before)
