"""Precision of products: what is called float32 is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_products() -> Iterator[None]:
    """Within the block, float32 products are float32 products: no TF32 and no bfloat16 behind them."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):  # cuDNN alone has TF32 on by default
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
