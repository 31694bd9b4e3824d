"""A callback for the Trainer of Hugging Face transformers that records kernels during any training."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from afterkernel.errors import UserError
from afterkernel.runs.recorded_model import check_single_process
from afterkernel.runs.recording import Recording

if importlib.util.find_spec("transformers") is None:
    raise UserError(
        "TransformersKernelSnapshot needs transformers, which is not installed: pip install transformers accelerate."
    )

from transformers import TrainerCallback

log = logging.getLogger(__name__)


class TransformersKernelSnapshot(TrainerCallback):
    """Records the kernels of a model at the steps, epochs and losses of a `Recorder`, and at the end.

    `monitor` names the logged loss that is compared with the recorder's `losses` whenever the Trainer logs it: "loss"
    is the mean over the last steps. `network` picks the module whose kernels are computed, by default the trained
    model; the recorder's `forward` turns its output into one or two logits, by default its `logits`. The training is
    not changed. Raises UserError for trainings of several processes, and as `Recorder.record` does.
    """

    def __init__(
        self,
        recorder: Any,
        *,
        monitor: str = "loss",
        end: bool = True,
        network: Callable[[Any], nn.Module] | None = None,
    ) -> None:
        self._recording = Recording(recorder, monitor, end, network)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Record the initialisation, if it is due."""
        check_single_process()
        self._check(state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Record after a step or a fraction of an epoch, if it is due."""
        self._check(state, model)

    def on_log(
        self, args: Any, state: Any, control: Any, model: Any = None, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Record at a loss, if it is due."""
        if self._recording.monitor in (logs or {}):
            self._check(state, model, self._recording.loss(logs or {}))

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Record the end of training."""
        if args.load_best_model_at_end:
            log.warning("the end is not recorded: load_best_model_at_end has replaced the weights of the last step")
        else:
            self._recording.finish(model, state.global_step, state.epoch)

    def _check(self, state: Any, model: Any, loss: float | None = None) -> None:
        epoch = 0.0 if state.global_step == 0 else state.epoch
        self._recording.check(model, state.global_step, epoch, loss)
