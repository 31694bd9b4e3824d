"""Gradients that are not finite stop the run, and name the layer and the sample."""

from __future__ import annotations

import torch

from afterkernel.errors import UserError
from afterkernel.kernels.terms import Block
from afterkernel.types import Tensor


class FiniteCheck:
    """Tests blocks as they are collected; on a GPU the answers are looked at together: no tile waits for one."""

    def __init__(self, device: torch.device) -> None:
        self._at_once = device.type != "cuda"
        self._pending: list[tuple[Tensor, list[str], int, str]] = []

    def add(self, block: Block, start: int, what: str) -> None:
        """Test a block whose first sample is number `start` of the `what` samples."""
        names = list(block.layers)
        flags = torch.stack([torch.stack([t.finite() for t in terms]).all(dim=0) for terms in block.layers.values()])
        self._pending.append((flags, names, start, what))
        if self._at_once:
            self.settle()

    def settle(self) -> None:
        """Raise UserError for the first sample whose gradient is not finite."""
        pending, self._pending = self._pending, []
        for flags, names, start, what in pending:
            if not bool(flags.all()):
                layer, sample = (int(i) for i in torch.nonzero(~flags.T)[0].flip(0))
                raise UserError(
                    f"the embedding of {what} sample {start + sample} is not finite in layer {names[layer]}: the "
                    "network has diverged or its input is not finite; train with a smaller learning rate."
                )
