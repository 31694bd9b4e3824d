"""What a caller gives as samples: tensors, numpy arrays, trees of them, data sets and data loaders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_unflatten
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, default_collate

from afterkernel.errors import UserError
from afterkernel.kernels.samples import Batch, Forward, Samples, Streamed
from afterkernel.text import a_kind
from afterkernel.types import Tensor

# What a caller may give as samples (see `samples`).
Inputs = Any
# Entries of a dict of samples that are no input of the model.
LABELS = ("label", "labels")


def samples(value: Any, forward: Forward | None = None, name: str = "x") -> Batch:
    """What a caller gives as samples, as a batch; `name` is the argument's in messages.

    A tensor stays one, unless `forward` is to be called with it. numpy arrays become tensors of the same data type.
    Data sets and loaders are read when their samples are needed. Raises UserError for what is no pytree of tensors that
    share their first dimension, and for data without an order of their own.
    """
    if forward is not None and not callable(forward):
        raise UserError(
            f"forward={forward!r} is {a_kind(forward)}: give a function of (model, batch), such as "
            "lambda model, batch: model(batch)."
        )
    if isinstance(value, (Dataset, DataLoader)):
        return _streamed(value, forward, name)
    if isinstance(value, (Tensor, np.ndarray)):
        tensor = _tensor(value, name)
        _check_tensor(tensor, name)
        return tensor if forward is None else Samples(tensor, forward)
    tree = dict(value) if isinstance(value, Mapping) else value  # transformers' BatchEncoding is no pytree
    if forward is None and not isinstance(tree, (tuple, dict)):
        raise UserError(
            f"{name} is {a_kind(value)}: give a tensor, a tuple of the model's positional arguments, a "
            "dict of its keyword arguments, or any pytree of tensors with forward=lambda model, batch: tensor."
        )
    paths, spec = tree_flatten_with_path(tree)
    leaves = [(name + keystr(path), leaf) for path, leaf in paths]
    converted = [leaf if leaf is None else _tensor(leaf, place) for place, leaf in leaves]
    found = {place: leaf for (place, _), leaf in zip(leaves, converted, strict=True) if leaf is not None}
    if not found:
        raise UserError(f"{name} is {a_kind(value)} that holds no tensor, so there are no samples.")
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
            raise UserError(f"{place} is {a_kind(value)}, not a torch tensor: convert it with torch.as_tensor.")
        raise UserError(
            f"{place} is {a_kind(value)}, not a tensor of samples: convert it with torch.as_tensor, or, if it "
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


def _streamed(data: Dataset[Any] | DataLoader[Any], forward: Forward | None, name: str) -> Streamed:
    """Samples that are read in the order of a data set, in chunks of the engine's choice."""
    collate: Any = default_collate
    dataset: Any = data
    if isinstance(data, DataLoader):
        _check_loader(data, name)
        collate, dataset = data.collate_fn, data.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise UserError(
            f"{name} is {a_kind(dataset)}, whose samples have no number: they are read several times and in "
            "parts, so give a map-style Dataset, with __getitem__ and __len__."
        )
    if len(dataset) == 0:
        raise UserError(f"{name} is {a_kind(dataset)} without samples: a kernel needs at least one sample.")

    def load(index: list[int]) -> Batch:
        try:
            items = dataset.__getitems__(index) if hasattr(dataset, "__getitems__") else [dataset[i] for i in index]
            batch = collate(items)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{name} can't be read at sample {index[0]} ({type(error).__name__}: {reason}): its items must become "
                "tensors by torch.utils.data.default_collate, or by the collate_fn of a DataLoader."
            ) from error
        found = samples(batch if forward is not None else _without_labels(batch, name), forward, name)
        if len(found) != len(index):
            raise UserError(f"{name} gives {len(found)} samples for {len(index)} items: one item is one sample.")
        return found

    return Streamed(dataset, load, forward, name)


def _check_loader(loader: DataLoader[Any], name: str) -> None:
    """Raise UserError where a loader would give other samples than its data set, or in another order."""
    if isinstance(loader.dataset, IterableDataset):
        return
    if loader.batch_sampler is None:
        raise UserError(f"{name} is a DataLoader without batches (batch_size=None): give its dataset as {name}.")
    sampler = getattr(loader.batch_sampler, "sampler", loader.batch_sampler)
    size: Any = loader.dataset
    if type(sampler) is not SequentialSampler or len(sampler) != len(size):
        raise UserError(
            f"{name} is a DataLoader with a {type(sampler).__name__}, so that row i of the kernel would not be sample "
            "i: give a DataLoader with shuffle=False, or a torch.utils.data.Subset in the order that is wanted."
        )
    if loader.drop_last and loader.batch_size and len(size) % loader.batch_size:
        raise UserError(
            f"{name} is a DataLoader that drops the last {len(size) % loader.batch_size} of {len(size)} samples: give "
            "drop_last=False, or a Dataset of the samples that are wanted."
        )


def _without_labels(batch: Any, name: str) -> Any:
    """What a model is called with, of a batch with labels: the first of (input, label), a dict without its labels."""
    if isinstance(batch, Mapping):
        return {key: value for key, value in batch.items() if key not in LABELS}
    if not isinstance(batch, (tuple, list)):
        return batch
    if len(batch) == 1:
        return batch[0]
    if len(batch) == 2 and _is_label(batch[1]):
        return batch[0]
    raise UserError(
        f"the items of {name} are {len(batch)} parts that are not (input, label) with a number as label: "
        "say what the model is called with by forward=lambda model, batch: model(batch[0])."
    )


def _is_label(value: Any) -> bool:
    """Whether it is one number, or one text, per sample."""
    return value.ndim == 1 if isinstance(value, (Tensor, np.ndarray)) else isinstance(value[0], (str, int, float))
