"""The base class of architectures: builds a network for images of one shape from its options."""

from __future__ import annotations

import bisect
import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.models.layers import INITIALISERS
from afterkernel.options import check_bounds, option
from afterkernel.types import Float, Tensor

ImageShape = tuple[int, int, int]


class Network(nn.Module):
    """A network: images (n, c, h, w) to logits (n,) for two classes, (n, k) for k classes. `width` is its size.

    The logits are `output_scale` times the output of `layers`.
    """

    def __init__(self, layers: nn.Module, width: int) -> None:
        super().__init__()
        self.layers = layers
        self.width = width
        self.output_scale = 1.0

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n ..."]:
        """Logits of class 1 ("plus") of two classes (n,), or of each of several (n, k)."""
        logits: Tensor = self.layers(images)
        if self.output_scale != 1:
            logits = logits * self.output_scale
        return logits.squeeze(-1) if logits.dim() > 1 else logits

    @property
    def parameter_count(self) -> int:
        """The exact number of trainable parameters (the budget may count a little differently, as the paper does)."""
        return _count(self)


@dataclass
class Architecture:
    """A family of networks that differ in width; one subclass per file of this package.

    A subclass needs a `name`, its own options as fields, and `module`:

        @dataclass
        class MyNet(Architecture):
            name: str = option("my_net", "which architecture (set by arch=NAME)")
            depth: int = option(3, "number of residual blocks", at_least=1)

            def module(self, width: int, image_shape: ImageShape) -> nn.Module:
                return MyModule(image_shape[0], width, self.depth)

    The width is the smallest from `minimum_width` up whose `count` reaches the parameter budget; `arch.width` overrides
    it. A module whose size does not depend on the width is taken as it is. For several classes `self.n_outputs` is
    their number, and 1 for two classes: the size of the module's output.
    """

    # What help says of it in one line; without it, the first sentence of the docstring.
    what: ClassVar[str] = ""

    name: str = option("", "which architecture (set by arch=NAME)")
    budget: int = option(
        100_000, "number of parameters: the width is the smallest that reaches it", at_least=1, at_most=10**12
    )
    width: int | None = option(None, "width of the network; overrides the budget", at_least=1)
    init: str = option("glorot", "initialiser of the weights", choices=INITIALISERS)

    minimum_width = 1
    n_outputs = 1

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect, given the others."""
        return frozenset() if self.width is None else frozenset({"budget"})

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """The initialisers that this architecture does not have, each with the reason."""
        reason = "its layers do not have the factors of that parameterisation"
        return {"mup": reason, "meanfield": reason}

    def check(self, image_shape: ImageShape) -> None:
        """Raise UserError where no such network exists for images of this shape (channels, height, width)."""

    def module(self, width: int, image_shape: ImageShape) -> nn.Module:
        """A freshly initialised module for images (n, c, h, w): outputs (n, self.n_outputs), or (n,) for one."""
        raise TypeError(f"{type(self).__name__} does not say how its network is made")

    def count(self, width: int, image_shape: ImageShape) -> float:
        """The number of parameters as the budget counts them: here, those of the module."""
        with torch.device("meta"):
            return _count(self._module(width, image_shape))

    def choose_width(self, image_shape: ImageShape) -> int:
        """The width that the options ask for. Raises UserError if the budget is below the smallest network."""
        if self.init in self.refused_inits:
            raise UserError(
                f"arch.init={self.init} is not possible for arch={self.name}: {self.refused_inits[self.init]}."
            )
        self.check(image_shape)
        if self.width is not None:
            return self.width
        smallest = self.count(self.minimum_width, image_shape)
        most = 2 * self.minimum_width
        if self.count(most, image_shape) == smallest:
            return self.minimum_width
        if self.budget < smallest:
            shape = "x".join(map(str, image_shape))
            raise UserError(
                f"arch.budget={self.budget} is too small: {self.name} on {shape} images has at least "
                f"{smallest:.0f} parameters (width {self.minimum_width})."
            )
        while self.count(most, image_shape) < self.budget:
            most *= 2
        widths = range(self.minimum_width, most + 1)
        return widths[bisect.bisect_left(widths, True, key=lambda width: self.count(width, image_shape) >= self.budget)]

    def build(self, image_shape: ImageShape, n_outputs: int = 1) -> Network:
        """A freshly initialised network for images (channels, height, width), drawn from torch's global generator.

        `n_outputs` is 1 for two classes, otherwise the number of classes. Raises UserError where its weights would not
        fit into this machine's memory, or it does not give `n_outputs` logits.
        """
        if n_outputs != self.n_outputs:
            sized = copy.copy(self)
            sized.n_outputs = n_outputs
            return sized.build(image_shape, n_outputs)
        width = self.choose_width(image_shape)
        parameters, memory = self.count(width, image_shape), _memory_bytes()
        if 4 * parameters > memory:
            given = f"arch.budget={self.budget}" if self.width is None else f"arch.width={self.width}"
            raise UserError(
                f"{given} is too large: {self.name} of width {width} has about {parameters:.2g} parameters, which do "
                f"not fit into this machine's memory of {memory / 2**30:.3g} GiB."
            )
        module = self._module(width, image_shape)
        if not _count(module):
            raise UserError(f"arch={self.name} has no trainable parameters: a network needs some.")
        network = Network(module, width)
        # As the check of a configuration builds it. Networks of this package are tested, and the first forward pass on
        # the meta device imports for seconds.
        if torch.get_default_device().type == "meta" and not _is_shipped(type(self)):
            self._check_output(network.layers, image_shape)
        return network

    def _module(self, width: int, image_shape: ImageShape) -> nn.Module:
        made: object = self.module(width, image_shape)
        if not isinstance(made, nn.Module):
            raise UserError(f"arch={self.name} gives {type(made).__name__}: it must give a torch.nn.Module.")
        return made

    def _check_output(self, module: nn.Module, image_shape: ImageShape) -> None:
        try:
            with torch.no_grad():
                outputs = module(torch.empty(2, *image_shape))
        except RuntimeError as error:
            if "meta" in str(error):
                return  # it needs numbers, which tensors of the meta device do not have
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"arch={self.name} does not run on images of shape {image_shape}: {reason}") from error
        allowed = ((2, 1), (2,)) if self.n_outputs == 1 else ((2, self.n_outputs),)
        if not isinstance(outputs, Tensor) or outputs.shape not in allowed:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            wanted = "one logit a sample, (2, 1) or (2,)"
            if self.n_outputs > 1:
                wanted = f"one logit for each of {self.n_outputs} classes, (2, {self.n_outputs}), by self.n_outputs"
            raise UserError(
                f"arch={self.name} gives outputs of shape {shape} for 2 images: a network must give {wanted}."
            )


def _count(module: nn.Module) -> int:
    """Trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def build(architecture: type[Architecture], image_shape: ImageShape, **options: Any) -> Network:
    """Build a network from keyword options, as the library's `vgg`, `mlp` and `sum_net` do."""
    arch = architecture(**options)
    check_bounds(arch, "arch.")
    return arch.build(image_shape)


def _is_shipped(kind: type) -> bool:
    return kind.__module__.startswith("afterkernel.")
