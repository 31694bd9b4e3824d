"""What a kernel matrix and labels must be, before a solver sees them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.text import a_kind
from afterkernel.types import Float, Int, Tensor

TILES = {"cpu": 256, "cuda": 4096}  # side of the tiles in which K is read: a CPU's second-level cache holds three
# Largest difference of K_ij and K_ji, relative to the largest entry, that rounding of the dtype explains.
ASYMMETRY = {torch.float32: 1e-5, torch.float64: 1e-10}
# Sizes of the largest entry at which neither the entries nor sums of their products leave the range of the dtype.
RANGE = {torch.float32: (2e-38, 3.4e38), torch.float64: (1e-290, 1e290)}


def check_kernel(K: Tensor | np.ndarray) -> Float[Tensor, "n n"]:
    """K as a contiguous tensor, or UserError if it can't be the kernel matrix of some samples with themselves."""
    K = as_floating(K, "K")
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise UserError(f"K has shape {tuple(K.shape)}: the training kernel must be square, (n, n).")
    if len(K) < 2:
        raise UserError(f"K has shape {tuple(K.shape)}: a classifier needs at least two samples.")
    largest, difference = _extremes(K)
    if not (np.isfinite(largest) and np.isfinite(difference)):
        raise UserError("K holds NaN or infinity: every entry must be finite.")
    allowed = ASYMMETRY[K.dtype]
    if difference > allowed * largest:
        raise UserError(
            f"K is not symmetric: K_ij and K_ji differ by up to {difference / largest:.1e} of the largest entry, "
            f"where {allowed:.0e} is allowed for {str(K.dtype).removeprefix('torch.')}."
        )
    lowest, highest = float(K.diagonal().min()), float(K.diagonal().max())
    if lowest < 0:
        raise UserError(f"K has the negative diagonal entry {lowest:.3g}: a kernel is positive semi-definite.")
    if largest > highest * (1 + allowed):
        raise UserError(
            f"K has an entry of size {largest:.3g} but a diagonal of at most {highest:.3g}: "
            "a kernel is positive semi-definite, so its largest entry is on the diagonal."
        )
    if highest == 0:
        raise UserError("K is zero everywhere: every embedding is the zero vector.")
    smallest, most = RANGE[K.dtype]
    if not smallest <= highest <= most:
        raise UserError(
            f"K has the largest entry {highest:.3g}: scale K so that it lies between {smallest:.0e} and {most:.0e}."
        )
    return K if K.is_contiguous() else K.T.contiguous()


def check_labels(y: Tensor | np.ndarray, K: Float[Tensor, "n n"], *, both_classes: bool = True) -> Float[Tensor, " n"]:
    """Labels {0, 1} as {-1, +1}, float64 on K's device, or UserError; also for a single class if `both_classes`."""
    labels = as_tensor(y, "y")
    if labels.is_complex():
        raise UserError("y is complex: labels must be 0 and 1.")
    if labels.shape != K.shape[:1]:
        raise UserError(f"y has shape {tuple(labels.shape)}: K has {len(K)} samples, so y must have shape ({len(K)},).")
    found = torch.unique(labels).tolist()
    if any(value not in (0, 1) for value in found):
        raise UserError(f"y holds the labels {', '.join(map(str, found[:5]))}: labels must be 0 and 1.")
    if both_classes and len(found) == 1:
        raise UserError(f"y holds only the class {int(found[0])}: a classifier needs both classes, 0 and 1.")
    return labels.to(device=K.device, dtype=torch.float64) * 2 - 1


def check_start(start: Any, K: Float[Tensor, "n n"]) -> Int[Tensor, " k"]:
    """The samples that a solver may start from, sorted, each once, on K's device; or UserError."""
    try:
        found = torch.as_tensor(start)
    except (TypeError, ValueError, RuntimeError):
        raise UserError("start must be a list of indices of training samples, such as support_.") from None
    if found.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device=K.device)
    if found.ndim != 1 or found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        kind = str(found.dtype).removeprefix("torch.")
        raise UserError(
            f"start has shape {tuple(found.shape)} and dtype {kind}: it must be a list of integers, the indices of "
            "training samples, such as support_."
        )
    indices: Tensor = torch.unique(found.to(device=K.device, dtype=torch.int64))
    first, last = int(indices[0]), int(indices[-1])
    if first < 0 or last >= len(K):
        wrong = first if first < 0 else last
        raise UserError(f"start holds {wrong}: with {len(K)} training samples indices go from 0 to {len(K) - 1}.")
    return indices


def _native(given: np.ndarray, name: str) -> np.ndarray:
    """A NumPy array as torch takes it, copied only where its bytes or strides are not torch's; or UserError."""
    if isinstance(given, np.ma.MaskedArray) and bool(np.ma.getmaskarray(given).any()):
        raise UserError(f"{name} has masked entries: every entry must be given.")
    if not given.dtype.isnative or any(stride < 0 for stride in given.strides):
        return np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("="))
    return given


def as_floating(K: Tensor | np.ndarray, name: str) -> Tensor:
    """K as a tensor of float32 or float64 that shares its memory where it can, or UserError."""
    with warnings.catch_warnings():
        # K is only read, so that a memory map opened for reading will do
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        K = as_tensor(K, name).detach()
    if K.dtype not in ASYMMETRY:
        raise UserError(f"{name} has dtype {str(K.dtype).removeprefix('torch.')}: it must be float32 or float64.")
    return K


def as_tensor(value: object, name: str) -> Tensor:
    """A dense tensor with numbers that shares the memory of `value` where it can, or UserError."""
    if isinstance(value, np.ndarray):
        value = _native(value, name)
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} is {a_kind(value)} that holds no numbers: give a tensor or an array.") from error
    if found.layout != torch.strided or found.is_meta:
        raise UserError(f"{name} is not a dense tensor with numbers: give {name}.to_dense(), on a real device.")
    return found


def _extremes(K: Float[Tensor, "n n"]) -> tuple[float, float]:
    """The largest |K_ij| and the largest |K_ij - K_ji|, tile by tile; NaN or infinite where K is not finite."""
    tile = TILES.get(K.device.type, TILES["cuda"])
    entries: list[Tensor] = []
    apart: list[Tensor] = []
    for top in range(0, len(K), tile):
        for left in range(top, len(K), tile):
            upper, lower = K[top : top + tile, left : left + tile], K[left : left + tile, top : top + tile].T
            entries += torch.aminmax(upper)
            apart += torch.aminmax(upper - lower)
    return float(torch.stack(entries).abs().max()), float(torch.stack(apart).abs().max())
