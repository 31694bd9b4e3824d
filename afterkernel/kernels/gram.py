"""Gram matrices in bounded memory: blocks of rows held, chunks of columns streamed past them.

The matrix is exact: every entry is the inner product of two whole embeddings, multiplied in the embedding's data type
(TF32 and reduced-precision accumulation are switched off), tiles of a symmetric matrix once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.plan import Plan, plan
from afterkernel.kernels.precision import exact_products
from afterkernel.progress import progress
from afterkernel.types import Float, Tensor

DEFAULT_BUDGET_BYTES = 2 * 1024**3
ROWS_TESTED_AT_ONCE = 64


def ntk(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Float[Tensor, "n m"]:
    """The empirical neural tangent kernel of a model: K_ij = <d f(x_i) / d theta, d f(y_j) / d theta>.

    For a trained model this is the after kernel (arXiv 2105.10585, section 2). theta are all trainable parameters, f is
    the model's one output a sample in evaluation mode.

    Args:
        model: any torch.nn.Module with one output a sample; it is not changed.
        x: n inputs (n, ...).
        y: m inputs (m, ...), or None for x against itself, which computes each tile once.
        dtype: torch.float32 or torch.float64, of gradients, products and result.
        device: where to compute and where the result is; the model's own by default.
        budget_bytes: bound on the embeddings held at once.

    Returns:
        The Gram matrix (n, m).

    Raises:
        UserError: several outputs a sample, no trainable parameter, empty input, budget below two embeddings, or a
            gradient that is not finite.
    """
    return _kernel("ntk", model, x, y, dtype, device, budget_bytes)


def conjugate_kernel(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Float[Tensor, "n m"]:
    """The conjugate kernel of a model: inner products of the inputs of its last linear layer, in evaluation mode.

    Arguments, result and errors are those of `ntk`; the model needs a torch.nn.Linear layer. The last one is the one
    that the forward pass calls last. Source: arXiv 2105.10585, section 2.
    """
    return _kernel("conjugate", model, x, y, dtype, device, budget_bytes)


def _kernel(
    name: str,
    model: nn.Module,
    x: Tensor,
    y: Tensor | None,
    dtype: torch.dtype,
    device: str | torch.device | None,
    budget_bytes: int,
) -> Tensor:
    if dtype not in (torch.float32, torch.float64):
        raise UserError(f"dtype={dtype} is not exact enough: choose torch.float32 or torch.float64.")
    if device is None:
        first = next(model.parameters(), None)
        device = first.device if first is not None else x.device
    phi = embedding(model, name, dtype=dtype, device=device)
    if y is None:
        return gram(phi, x, budget_bytes=budget_bytes)
    return cross_gram(phi, x, y, budget_bytes=budget_bytes)


def gram(phi: Embedding, x: Tensor, *, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> Float[Tensor, "n n"]:
    """The Gram matrix of x with itself, exactly symmetric."""
    return train_test_grams(phi, x, None, budget_bytes=budget_bytes)[0]


def cross_gram(
    phi: Embedding, x: Tensor, y: Tensor, *, budget_bytes: int = DEFAULT_BUDGET_BYTES
) -> Float[Tensor, "n m"]:
    """The Gram matrix of x (rows) with y (columns)."""
    _check_inputs(x, y)
    steps = plan(len(y), len(x), _size(phi, y), phi.dtype.itemsize, budget_bytes, symmetric=False)
    K = torch.empty(len(x), len(y), dtype=phi.dtype, device=phi.device)
    with exact_products(), progress("Gram matrix", steps.multiplications) as advance:
        for block in _slices(0, len(y), steps.rows_per_block):
            rows = _embed(phi, y, block)
            for chunk in _slices(0, len(x), steps.columns_per_chunk):
                torch.matmul(_embed(phi, x, chunk), rows.T, out=K[chunk, block])
                advance(len(rows) * (chunk.stop - chunk.start) * steps.size)
            del rows  # before the next block is embedded: the budget holds one
    return K


def train_test_grams(
    phi: Embedding, train: Tensor, test: Tensor | None, *, budget_bytes: int = DEFAULT_BUDGET_BYTES
) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"]]:
    """The Gram matrices train x train (symmetric) and test x train in one pass over blocks of training samples.

    Without `test` the second has no rows. Raises UserError as `ntk` does.
    """
    test = train[:0] if test is None else test
    _check_inputs(train)
    n, m = len(train), len(test)
    steps = plan(n, m, _size(phi, train), phi.dtype.itemsize, budget_bytes)
    K = torch.empty(n, n, dtype=phi.dtype, device=phi.device)
    K_test = torch.empty(m, n, dtype=phi.dtype, device=phi.device)
    with exact_products(), progress("Gram matrices", steps.multiplications) as advance:
        for block in _slices(0, n, steps.rows_per_block):
            rows = _embed(phi, train, block)
            for tile in _slices(0, len(rows), steps.columns_per_chunk):
                below = slice(block.start + tile.start, block.stop)
                here = slice(block.start + tile.start, block.start + tile.stop)
                product = rows[tile.start :] @ rows[tile].T
                _set_symmetric(K, below, here, product)
                advance(product.numel() * steps.size)
            for chunk in _slices(block.stop, n, steps.columns_per_chunk):
                product = _embed(phi, train, chunk) @ rows.T
                _set_symmetric(K, chunk, block, product)
                advance(product.numel() * steps.size)
            for chunk in _slices(0, m, steps.columns_per_chunk):
                product = _embed(phi, test, chunk) @ rows.T
                K_test[chunk, block] = product
                advance(product.numel() * steps.size)
            del rows  # before the next block is embedded: the budget holds one
    return K, K_test


def train_test_plan(phi: Embedding, train: Tensor, test: Tensor, budget_bytes: int) -> Plan:
    """The plan that `train_test_grams` will follow."""
    return plan(len(train), len(test), _size(phi, train), phi.dtype.itemsize, budget_bytes)


def _set_symmetric(K: Tensor, rows: slice, columns: slice, tile: Tensor) -> None:
    """Write a tile on or below the diagonal and its mirror image; the diagonal's own tile keeps its lower half."""
    K[columns, rows] = tile.T
    K[rows, columns] = tile
    side = columns.stop - columns.start
    if rows.start == columns.start:
        lower = tile[:side].tril()
        K[columns, columns] = lower + lower.tril(-1).T


def _embed(phi: Embedding, x: Tensor, part: slice) -> Tensor:
    rows = phi(x[part])
    # A few rows at a time: the test makes copies of what it tests.
    for start in range(0, len(rows), ROWS_TESTED_AT_ONCE):
        finite = torch.isfinite(rows[start : start + ROWS_TESTED_AT_ONCE]).all(dim=1)
        if not finite.all():
            sample = part.start + start + int(torch.nonzero(~finite)[0])
            raise UserError(
                f"the embedding of sample {sample} is not finite: the network has diverged or its input is not "
                "finite; train with a smaller learning rate."
            )
    return rows


def _size(phi: Embedding, x: Tensor) -> int:
    """The embedding's dimension, shown by one sample (layers may see fewer features than the widest of them)."""
    return int(phi(x[:1]).shape[1])


def _check_inputs(*inputs: Tensor) -> None:
    for x in inputs:
        if x.ndim < 1 or len(x) == 0:
            raise UserError(f"a kernel needs at least one sample, and the input has shape {tuple(x.shape)}.")


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
