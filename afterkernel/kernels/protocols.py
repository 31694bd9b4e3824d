"""What Gram matrices and measures need of an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from afterkernel.kernels.plan import LayerPlan
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.terms import Block
from afterkernel.types import Float, Tensor


@runtime_checkable
class BlockSource(Protocol):
    """A map from samples (n, ...) to their embeddings, held layer by layer."""

    def block(self, x: Batch, out: Block | None = None) -> Block:
        """The embeddings of samples x, written to `out` if given."""
        ...


@runtime_checkable
class Embedding(BlockSource, Protocol):
    """A network's embedding: what Gram matrices are planned and computed with, in `dtype` on `device`."""

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The same, or of one batch x the embeddings of only `rows`."""
        ...

    @property
    def model(self) -> nn.Module:
        """The working copy of the network."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the embedding's numbers."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the embedding is computed."""
        ...

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix per sample."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What the embedding depends on, apart from weights and samples."""
        ...

    @property
    def work_bytes(self) -> int:
        """Bytes that computing a batch takes in addition to the embeddings."""
        ...

    @property
    def samples_at_once(self) -> int:
        """Samples that are embedded in one batch; more are cut into such batches."""
        ...

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Look at a few samples, and choose how each layer is held; `paired` as samples meet all others, or one."""
        ...

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The embeddings written out as rows, in an order of the engine's own."""
        ...
