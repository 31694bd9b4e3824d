"""Samples of any structure: what a model is called with, and how it is cut into batches.

A batch of samples is a tensor, or `Samples`, a pytree of tensors (torch.utils._pytree) which all have the samples as
first dimension. The engine needs of both the same: `len`, a slice or a list of indices, and a model that can be called
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import keystr, register_pytree_node, tree_flatten, tree_flatten_with_path, tree_unflatten

from afterkernel.errors import UserError
from afterkernel.kernels.casts import computed_in
from afterkernel.types import Float, Tensor

# Samples that are read twice, to see whether they are the same.
READ_TWICE = 16
# Samples whose fingerprint is taken at once.
FINGERPRINTED = 64
# A function of (model, batch), the batch with the structure of the samples.
Forward = Callable[[nn.Module, Any], Any]


class Samples:
    """A pytree whose tensors have the samples as first dimension; `None` may be among its leaves.

    `forward(model, tree)` is what a model gives for it; without, a tuple holds the positional arguments of the model,
    a mapping its keyword arguments, anything else its one argument. It is a pytree itself, of the same tensors.
    """

    def __init__(self, tree: Any, forward: Forward | None = None) -> None:
        self.tree, self.forward = tree, forward

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors, in the order of the tree."""
        return [leaf for leaf in tree_flatten(self.tree)[0] if leaf is not None]

    @property
    def device(self) -> torch.device:
        """Of the first tensor."""
        return self.tensors[0].device

    @property
    def shape(self) -> torch.Size:
        """The number of samples."""
        return torch.Size([len(self)])

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, part: slice | Sequence[int] | Tensor) -> Samples:
        if isinstance(part, Tensor):
            return self.map(lambda leaf: leaf[part.to(leaf.device)])
        return self.map(lambda leaf: leaf[part if isinstance(part, slice) else list(part)])

    def map(self, function: Callable[[Tensor], Tensor]) -> Samples:
        """The same structure with `function` of each tensor."""
        leaves, spec = tree_flatten(self.tree)
        return Samples(
            tree_unflatten([leaf if leaf is None else function(leaf) for leaf in leaves], spec), self.forward
        )

    def call(self, model: nn.Module) -> Any:
        """What the model gives for these samples."""
        if self.forward is not None:
            return self.forward(model, self.tree)
        if isinstance(self.tree, tuple):
            return model(*self.tree)
        return model(**self.tree) if isinstance(self.tree, Mapping) else model(self.tree)

    def named_tensors(self, name: str = "x") -> dict[str, Tensor]:
        """The tensors by their place in the tree, such as "x['input_ids']"."""
        paths, _ = tree_flatten_with_path(self.tree)
        return {name + keystr(path): leaf for path, leaf in paths if leaf is not None}


class Streamed(Samples):
    """Samples that are read when they are needed: a slice or a list of indices reads them, and gives a batch.

    `load` reads the samples of some indices. Raises UserError where a sample is not the same when it is read again, or
    has another shape than the first.
    """

    def __init__(self, data: Any, load: Callable[[list[int]], Batch], forward: Forward | None, name: str) -> None:
        super().__init__(data, forward)
        self._load, self._name = load, name
        self._first = load([0])
        self._kind = _kind(self._first)
        few = [i * len(self) // READ_TWICE for i in range(READ_TWICE)] if len(self) > READ_TWICE else range(len(self))
        again = zip(_leaves(self[list(few)]), _leaves(self[list(few)]), strict=True)
        if not all(torch.equal(one, other) or bool((one != one).any()) for one, other in again):
            raise UserError(
                f"{name} gives other numbers when the same sample is read again: take random augmentation out of the "
                "data set, as each sample is read several times."
            )

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the first sample."""
        return _leaves(self._first)

    def __len__(self) -> int:
        return len(self.tree)

    def __getitem__(self, part: slice | Sequence[int] | Tensor) -> Batch:  # type: ignore[override]
        index = range(len(self))[part] if isinstance(part, slice) else [int(i) for i in part]
        if len(index) == 0:
            return self._first[:0]
        with torch._C.DisableTorchFunction():  # reading is no part of the forward pass, whose calls may be recorded
            batch = self._load(list(index))
        if _kind(batch) != self._kind:
            raise UserError(
                f"{self._name} gives samples of {_described(_kind(batch))} from number {index[0]} on, and of "
                f"{_described(self._kind)} at first: pad all samples to one shape, not to the longest of a batch."
            )
        return batch

    def named_tensors(self, name: str = "x") -> dict[str, Tensor]:
        """The tensors of the first sample."""
        return named_tensors(self._first, name)


# A batch of samples, as the engine takes it.
Batch = Tensor | Samples


def _flatten(samples: Samples) -> tuple[list[Any], Any]:
    leaves, spec = tree_flatten(samples.tree)
    return [leaf for leaf in leaves if leaf is not None], (spec, [leaf is None for leaf in leaves], samples.forward)


def _unflatten(tensors: Any, context: Any) -> Samples:
    spec, absent, forward = context
    rest = iter(tensors)
    return Samples(tree_unflatten([None if none else next(rest) for none in absent], spec), forward)


register_pytree_node(Samples, _flatten, _unflatten, serialized_type_name="afterkernel.Samples")


def called(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """What a model gives for its arguments, or for one `Samples`, which knows how the model is called with it."""
    if len(args) == 1 and isinstance(args[0], Samples):
        return args[0].call(model)
    return model(*args, **kwargs)


def magnitudes(x: Batch) -> Float[Tensor, " n"]:
    """How large the numbers of each sample are, on the CPU, to find samples that are alike.

    The sum of absolute values; of several tensors each counts relative to its mean.
    """
    if isinstance(x, Samples):
        parts = [magnitudes(leaf) for leaf in x.tensors]
        return torch.stack([part / part.mean().clamp(min=torch.finfo(part.dtype).tiny) for part in parts]).sum(0)
    numbers = (x.abs() if x.is_complex() else x.double().abs()).reshape(len(x), x[0].numel())
    return numbers.sum(dim=1, dtype=torch.float64).cpu()


def placed(value: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of samples on a device, real and complex numbers in the precision of `dtype`, all others as they are."""
    value = value.detach().to(device, computed_in(value.dtype, dtype))
    return value.clone() if value.is_inference() else value


def as_batch(sample: Batch) -> Batch:
    """A sample without a sample axis, as a batch of one."""
    return sample.map(lambda leaf: leaf.unsqueeze(0)) if isinstance(sample, Samples) else sample.unsqueeze(0)


def named_tensors(x: Batch, name: str = "x") -> dict[str, Tensor]:
    """The tensors of a batch by their places."""
    return x.named_tensors(name) if isinstance(x, Samples) else {name: x}


def named_parts(x: Batch, name: str = "x") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a batch with their places, a part at a time where they are read as they are needed."""
    if not isinstance(x, Streamed):
        yield from named_tensors(x, name).items()
        return
    for start in range(0, len(x), FINGERPRINTED):
        yield from named_tensors(x[start : start + FINGERPRINTED], f"{name} from {start}").items()


def _leaves(x: Batch) -> list[Tensor]:
    return list(named_tensors(x).values())


def _kind(x: Batch) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Places, types and shapes of the tensors of a sample."""
    return [(place, leaf.dtype, tuple(leaf.shape[1:])) for place, leaf in named_tensors(x, "").items()]


def _described(kind: list[tuple[str, torch.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{place} {shape} {dtype}".strip() for place, dtype, shape in kind)
