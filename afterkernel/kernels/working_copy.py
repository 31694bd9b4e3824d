"""The copy of a user's model that every kernel is computed with.

It shares the weights' memory where data type and device fit, is in evaluation mode, and computes in one data type:
floating-point numbers in `dtype`, complex ones in the complex type of the same precision, whole numbers as they are.
Each forward pass starts from the same state, and changes nothing of the user's: weights, buffers, attributes, random
numbers, inputs. Hooks of the user's do not fire, except forward hooks without which the model would compute something
else (`torch.nn.utils.weight_norm` and `spectral_norm` are such; see `hooks`). Before its first use it is compared with
the model in the model's own data type, on its own device.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from afterkernel.errors import NotFiniteError, PrecisionWarning, UserError
from afterkernel.kernels.capture import uses
from afterkernel.kernels.casts import computed_in, redirect_dtype
from afterkernel.kernels.hooks import Hook, forward_hooks, install, needed_hooks
from afterkernel.kernels.isolation import OneLayout, PrivateRandomness, isolated
from afterkernel.kernels.model_failures import explained, reason_of
from afterkernel.kernels.module_copy import ModuleCopier, check_copyable, named_tensors
from afterkernel.kernels.numeric import coarsest, digits, largest_difference, not_repeatable, number_tensors, overflows
from afterkernel.kernels.samples import called
from afterkernel.kernels.writes import WriteGuard, WriteRefused, make_private
from afterkernel.types import Tensor

CHECKED_SAMPLES = 3
# Differences between outputs of the copy and of the model, relative to the largest, that need no closer look.
OUTPUT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
HALF_TOLERANCE = 5e-2
NOISE_FACTOR = 30  # with a closer look: as many times the difference that rounding the model's weights makes
# Containers of more entries are compared by their length.
COMPARED_ENTRIES = 4096


class WorkingCopy(nn.Module):
    """The copy of a model in `dtype` on `device`; parameters and buffers are named as in the model.

    Raises UserError for parameters without values, and when first called, or by `check`, where the copy does not
    compute what the model does. Warns (PrecisionWarning) of trained parameters held in less than float32.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        check_copyable(model)
        # Kept from torch's registration of modules: they are no parts of this one.
        self.__dict__["_model"] = model
        self.__dict__["_copy"] = copy = _Copy(model, dtype, torch.device(device))
        # Shared, so that code that replaces a parameter here replaces it there (torch.func.functional_call does).
        for held in ("_parameters", "_buffers", "_modules"):
            self.__dict__[held] = getattr(copy.inner, held)
        self.training = False
        self._checked = False
        self.coarse_parameters = {
            name: value.dtype
            for name, value in model.named_parameters()
            if value.requires_grad and value.is_floating_point() and value.dtype.itemsize < 4
        }
        if self.coarse_parameters:
            name, kind = next(iter(self.coarse_parameters.items()))
            warnings.warn(
                f"the model holds {len(self.coarse_parameters)} of its parameters in less than float32 ({name} is "
                f"{kind}): the kernel is computed in {dtype}, from these values.",
                PrecisionWarning,
                stacklevel=2,
            )

    @property
    def inner(self) -> nn.Module:
        """The copied module itself, of the class of the user's."""
        found: nn.Module = self.__dict__["_copy"].inner
        return found

    @property
    def users_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the model that was copied."""
        return dict(self.__dict__["_model"].named_parameters())

    def all_tensors(self) -> dict[str, Tensor]:
        """Parameters, all buffers and other tensor attributes, by name."""
        return {name: value.detach() for name, value in named_tensors(self.inner)}

    def train(self, mode: bool = True) -> WorkingCopy:
        """Does nothing: the copy stays in evaluation mode."""
        del mode
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output; hooks of all modules do not fire for this one either."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output."""
        if not self._checked and torch._C._functorch.maybe_current_level() is None:
            self.check(*args, **kwargs)
        output = self.__dict__["_copy"].run(args, kwargs)
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            return output
        return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, output)

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Compare with the user's model on the first samples of a batch; the arguments are the model's.

        Raises UserError where the model can't be run, or where the copy does not give the model's outputs.
        """
        if self._checked:
            return
        few = tree_map(_few, (args, kwargs))
        _check(self.__dict__["_model"], self.__dict__["_copy"], *few)
        self._checked = True


class _Copy:
    """A copy of a model in a data type on a device, and how it is run; without these as the model itself is."""

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None, device: torch.device | None = None) -> None:
        self.own_dtype, self.own_device = _dtype_and_device(model)
        # "cuda" is "cuda:0": a tensor knows its number.
        place = self.own_device if device is None else torch.empty(0, device=device).device
        self.dtype, self.device = dtype or self.own_dtype, place
        self._convert = dtype is not None
        self.converts = False
        with torch.inference_mode(False), torch.no_grad():
            self.copier = ModuleCopier(self._cast)
            self.inner: nn.Module = self.copier(model)
        self.sample_shape: torch.Size | None = None
        self.casts: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
        self._randomness = PrivateRandomness(self.device)
        self._private: set[int] = set()
        self._written: list[tuple[dict[str, Any], str, Tensor]] = []
        self._remember()

    def _cast(self, tensor: Tensor) -> Tensor:
        # What was made in inference mode can't be part of a graph; a copy can.
        value = (tensor.clone() if tensor.is_inference() else tensor).detach()
        if not self._convert:
            return value
        cast = value.to(self.device, computed_in(value.dtype, self.dtype))
        self.converts |= cast is not value
        return cast

    @property
    def shared(self) -> list[Tensor]:
        """Tensors that may lie in the user's memory."""
        return [value for value in self.copier.tensors if id(value) not in self._private]

    def _remember(self) -> None:
        """Take the state of now as the one from which each forward pass starts."""
        # Parameters are replaced by torch.func.functional_call, which puts them back itself.
        parameters = {id(module.__dict__["_parameters"]) for module in self.copier.modules}
        self._attributes = [(module.__dict__, dict(module.__dict__)) for module in self.copier.modules]
        self._containers = [(held, held.copy()) for held in self.copier.changeable if id(held) not in parameters]

    def _reset(self) -> None:
        """Undo what a forward pass changed; this also frees activations that the model keeps."""
        for now, before in [*self._attributes, *self._containers]:
            if _same(now, before):
                continue
            now.clear()
            if isinstance(now, (list, deque)):
                now.extend(before)
            else:
                now.update(before)
        for held, name, value in self._written:
            # Not in place: the graph of this forward pass may hold the tensor.
            held[name] = value.clone()

    def make_private(self, storage: int) -> None:
        """Give tensors that the forward pass writes to their own memory; all but parameters are reset after it."""
        moved = {id(tensor) for tensor in make_private(self.copier.tensors, storage)}
        self._private |= moved
        for module in self.copier.modules:
            for held in (module._buffers, module.__dict__):
                for name, value in list(held.items()):
                    if id(value) in moved:
                        self._written.append((held, name, value.clone()))

    def run(self, args: Any, kwargs: Any) -> Any:
        """The output, with its graph."""
        with (
            self._randomness(),
            isolated(self.device, moved=self.device != self.own_device),
            self.casts(),
            OneLayout() if _samples(args, kwargs) == 1 else contextlib.nullcontext(),
        ):
            # A forward pass may write to its input.
            args, kwargs = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
            try:
                output = called(self.inner, args, kwargs)
            finally:
                self._reset()
        return self._unsqueezed(output, args, kwargs)

    def _unsqueezed(self, output: Any, args: Any, kwargs: Any) -> Any:
        """The output of a single sample in the shape that it has in a batch, where `squeeze()` removed that."""
        shape = self.sample_shape
        if shape is None or not isinstance(output, Tensor) or output.shape == (1, *shape):
            return output
        return output.reshape(1, *shape) if _samples(args, kwargs) == 1 and output.numel() == shape.numel() else output

    def run_guarded(self, args: Any, kwargs: Any) -> Any:
        """The output of a first run, which finds out what the forward pass writes to."""
        while True:
            try:
                with WriteGuard(self.shared):
                    return self.run(args, kwargs)
            except WriteRefused as refused:
                self.make_private(refused.storage)


def _check(model: nn.Module, copy: _Copy, args: Any, kwargs: Any) -> None:
    """Choose the hooks, find out what is written to, and compare the copy with the model."""
    own = _Copy(model)
    own_args, own_kwargs = tree_map(_mover(own.dtype, own.device), (args, kwargs))
    hooks = forward_hooks(model)
    if hooks:

        def run(chosen: Sequence[Hook], watched: bool) -> Any:
            install(chosen, own.copier, watched=watched)
            own._remember()
            return _footprint(own.run_guarded(own_args, own_kwargs), own.inner)

        with explained(own_args, own_kwargs):
            hooks = needed_hooks(hooks, run)
        for part in (own, copy):
            install(hooks, part.copier)
            part._remember()
    output = _first_run(own, own_args, own_kwargs, copy, args, kwargs)
    if any(not bool(torch.isfinite(leaf).all()) for leaf in number_tensors(output)):
        bad = [name for name, value in own.inner.named_parameters() if not bool(torch.isfinite(value).all())]
        if bad:
            raise NotFiniteError(
                f"parameter {bad[0]} of the model holds numbers that are not finite ({len(bad)} parameters do), and so "
                "does its output: the training has diverged, or the weights are damaged."
            )
    if copy.converts:
        _compare(own, own_args, own_kwargs, copy, output)
    copy.sample_shape = _sample_shape(copy, output, args, kwargs)


def _first_run(own: _Copy, own_args: Any, own_kwargs: Any, copy: _Copy, args: Any, kwargs: Any) -> Any:
    """The copy's output; where it fails, once more with the data types that its code names replaced."""
    try:
        return copy.run_guarded(args, kwargs)
    except UserError:
        raise
    except Exception as error:
        if not copy.converts:
            with explained(args, kwargs):
                raise
        with explained(own_args, own_kwargs):
            own.run_guarded(own_args, own_kwargs)
        copy.casts = lambda: redirect_dtype(own.dtype, copy.dtype)
        try:
            return copy.run_guarded(args, kwargs)
        except Exception:
            reason = reason_of(error)
        raise UserError(
            f"the model runs in {own.dtype} on {own.device} but not in {copy.dtype} on {copy.device} ({reason}): its "
            f"code or its parts are made for one data type or device; give dtype={own.dtype} and "
            f"device={str(own.device)!r}, or convert the model yourself."
        ) from error


def _compare(own: _Copy, own_args: Any, own_kwargs: Any, copy: _Copy, output: Any) -> None:
    """Raise UserError where the copy's output is not that of the model, by more than rounding explains."""
    try:
        expected = own.run_guarded(own_args, own_kwargs)
    except Exception as error:
        if own.dtype.itemsize < 4:  # half precision is not implemented everywhere
            return
        raise UserError(
            f"the model runs in {copy.dtype} on {copy.device} but not in its own {own.dtype} on {own.device} "
            f"({reason_of(error)}), so the two can't be compared: convert the model yourself."
        ) from error
    kind = min(own.dtype, copy.dtype, coarsest(expected, own.dtype), coarsest(output, copy.dtype), key=digits)
    found = largest_difference(output, expected)
    tolerance = OUTPUT_TOLERANCE.get(kind, HALF_TOLERANCE)
    if found > tolerance:
        noise = largest_difference(_rounded_anew(own, kind, own_args, own_kwargs), expected)
        tolerance = max(tolerance, NOISE_FACTOR * noise)
    if not found <= tolerance:
        repeated = largest_difference(own.run_guarded(own_args, own_kwargs), expected)
        if not repeated <= OUTPUT_TOLERANCE.get(kind, HALF_TOLERANCE):
            raise not_repeatable(repeated)
        if overflows(output) and not overflows(expected):
            raise UserError(f"the model's outputs overflow in {copy.dtype}: give dtype=torch.float64.")
        raise UserError(
            f"the model's outputs in {copy.dtype} on {copy.device} differ from its own in {own.dtype} on {own.device} "
            f"by {found:.1e} of the largest, more than rounding explains ({tolerance:.0e}): a part of it depends on "
            f"its data type or device; give dtype={own.dtype} and device={str(own.device)!r}, or convert the model "
            "yourself."
        )


def _rounded_anew(own: _Copy, kind: torch.dtype, args: Any, kwargs: Any) -> Any:
    """The output with every parameter changed in its last digits."""
    generator = torch.Generator().manual_seed(0)
    eps = torch.finfo(kind).eps
    changed = {}
    for name, value in own.inner.named_parameters():
        if value.is_floating_point() or value.is_complex():
            noise = torch.rand(value.shape, generator=generator) * 2 - 1
            changed[name] = (value.detach() * (1 + eps * noise.to(value.device))).to(value.dtype)
    facade = nn.Module()
    for held in ("_parameters", "_buffers", "_modules"):
        facade.__dict__[held] = getattr(own.inner, held)
    facade.forward = lambda: own.run(args, kwargs)
    return functional_call(facade, changed, ())


def _footprint(output: Any, module: nn.Module) -> tuple[bytes, ...]:
    """Numbers of an output and the parameters that it reaches, to compare."""
    numbers = number_tensors(output)
    named = dict(module.named_parameters())
    reached = {name for leaf in numbers for name, count in uses(leaf, named).items() if count}
    values = [leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for leaf in numbers]
    return (*values, repr(sorted(reached)).encode())


def _sample_shape(copy: _Copy, output: Any, args: Any, kwargs: Any) -> torch.Size | None:
    """The shape of one sample's output in a batch of several; None where there is none, or no such batch."""
    n = _samples(args, kwargs)
    if n == 1:
        twice = tree_map(lambda leaf: torch.cat([leaf, leaf]) if _is_batch(leaf) else leaf, (args, kwargs))
        try:
            output, n = copy.run(*twice), 2
        except Exception:
            return None
    return output.shape[1:] if isinstance(output, Tensor) and output.ndim and len(output) == n else None


def _is_batch(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def _samples(args: Any, kwargs: Any) -> int:
    return next((len(leaf) for leaf in tree_leaves((args, kwargs)) if _is_batch(leaf)), 0)


def _few(leaf: Any) -> Any:
    return leaf[:CHECKED_SAMPLES].detach() if _is_batch(leaf) else leaf


def _mover(dtype: torch.dtype, device: torch.device) -> Callable[[Any], Any]:
    return lambda leaf: leaf.to(device, computed_in(leaf.dtype, dtype)) if isinstance(leaf, Tensor) else leaf


def _dtype_and_device(model: nn.Module) -> tuple[torch.dtype, torch.device]:
    """The floating-point type of most of a model's numbers, and the device of its first tensor."""
    tensors = [*model.parameters(), *model.buffers()]
    counts: dict[torch.dtype, int] = {}
    for value in tensors:
        if value.is_floating_point() or value.is_complex():
            real = value.dtype if value.is_floating_point() else value.dtype.to_real()
            counts[real] = counts.get(real, 0) + value.numel()
    dtype = max(counts, key=lambda kind: counts[kind]) if counts else torch.get_default_dtype()
    return dtype, tensors[0].device if tensors else torch.device("cpu")


def _same(now: Any, before: Any) -> bool:
    """Whether a container holds the same objects."""
    if len(now) != len(before):
        return False
    if len(now) > COMPARED_ENTRIES:
        return True
    if isinstance(now, set):
        return bool(now == before)
    if isinstance(now, Mapping):
        return all(map(is_, now, before)) and all(map(is_, now.values(), before.values()))
    return all(map(is_, now, before))
