"""Samples of any structure: what a model is called with, and how it is cut into batches.

A batch of samples is a tensor, or `Samples`, a pytree of tensors (torch.utils._pytree) which all have the samples as
first dimension. The engine needs of both the same: `len`, a slice or a list of indices, and a model that can be called
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import keystr, register_pytree_node, tree_flatten, tree_flatten_with_path, tree_unflatten

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor

# What a caller may give as samples (see `samples`).
Inputs = Any
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


def samples(value: Any, forward: Forward | None = None, name: str = "x") -> Batch:
    """What a caller gives as samples, as a batch; `name` is the argument's in messages.

    A tensor stays one, unless `forward` is to be called with it. numpy arrays become tensors of the same data type.
    Raises UserError for what is no pytree of tensors that share their first dimension.
    """
    if forward is not None and not callable(forward):
        raise UserError(
            f"forward={forward!r} is a {type(forward).__name__}: give a function of (model, batch), such as "
            "lambda model, batch: model(batch)."
        )
    if isinstance(value, (Tensor, np.ndarray)):
        tensor = _tensor(value, name)
        _check_tensor(tensor, name)
        return tensor if forward is None else Samples(tensor, forward)
    tree = dict(value) if isinstance(value, Mapping) else value  # transformers' BatchEncoding is no pytree
    if forward is None and not isinstance(tree, (tuple, dict)):
        raise UserError(
            f"{name} is a {type(value).__name__}: give a tensor, a tuple of the model's positional arguments, a "
            "dict of its keyword arguments, or any pytree of tensors with forward=lambda model, batch: tensor."
        )
    paths, spec = tree_flatten_with_path(tree)
    leaves = [(name + keystr(path), leaf) for path, leaf in paths]
    converted = [leaf if leaf is None else _tensor(leaf, place) for place, leaf in leaves]
    found = {place: leaf for (place, _), leaf in zip(leaves, converted, strict=True) if leaf is not None}
    if not found:
        raise UserError(f"{name} is a {type(value).__name__} that holds no tensor, so there are no samples.")
    for place, leaf in found.items():
        _check_tensor(leaf, place)
    first, length = next((place, len(leaf)) for place, leaf in found.items())
    for place, leaf in found.items():
        if len(leaf) != length:
            raise UserError(
                f"{first} has shape {tuple(found[first].shape)} and {place} {tuple(leaf.shape)}: all tensors of "
                f"{name} have the samples as first dimension; put a constant into forward=lambda model, batch: ..."
            )
    return Samples(tree_unflatten(converted, spec), forward)


def _tensor(value: Any, place: str) -> Tensor:
    """A leaf as a tensor. Raises UserError for other types than tensors and arrays of numbers."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise UserError(f"{place} is an array of {value.dtype}: give an array of numbers.")
        plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
        try:
            return torch.from_numpy(plain if plain.flags.writeable else plain.copy()).reshape(value.shape)
        except TypeError as error:
            raise UserError(f"{place} is an array of {value.dtype}, which torch does not have: convert it.") from error
    if not isinstance(value, Tensor):
        if "[" not in place and "." not in place:
            raise UserError(
                f"{place} is a {type(value).__name__}, not a torch tensor: convert it with torch.as_tensor."
            )
        raise UserError(
            f"{place} is a {type(value).__name__}, not a tensor of samples: convert it with torch.as_tensor, or, if it "
            "is a constant, put it into forward=lambda model, batch: ..."
        )
    return value


_TO_DENSE = {False: "to_dense()", True: "to_padded_tensor(0.0)"}


def _check_tensor(value: Tensor, place: str) -> None:
    """Raise UserError where a tensor can't hold samples."""
    if value.ndim == 0:
        raise UserError(f"{place} is a single number: its first dimension must be the sample.")
    if value.is_nested or value.layout != torch.strided:
        raise UserError(f"{place} is not a dense tensor: convert it by {place}.{_TO_DENSE[value.is_nested]}.")
    if value.is_meta:
        raise UserError(f"{place} is on the device meta, which holds no numbers: give it on a real device.")


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
    """A tensor of samples on a device, floating-point numbers in `dtype`, all others as they are."""
    value = value.detach().to(device, dtype if value.is_floating_point() else value.dtype)
    return value.clone() if value.is_inference() else value


def as_batch(sample: Batch) -> Batch:
    """A sample without a sample axis, as a batch of one."""
    return sample.map(lambda leaf: leaf.unsqueeze(0)) if isinstance(sample, Samples) else sample.unsqueeze(0)


def named_tensors(x: Batch, name: str = "x") -> dict[str, Tensor]:
    """The tensors of a batch by their places."""
    return x.named_tensors(name) if isinstance(x, Samples) else {name: x}
