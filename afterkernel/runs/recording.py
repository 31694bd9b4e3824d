"""What the callbacks of Lightning and of transformers share: a recorder that is asked at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from afterkernel.errors import UserError
from afterkernel.runs.recorder import Recorder
from afterkernel.text import a_kind


class Recording:
    """One training that a callback records.

    `monitor` names the logged training loss that the recorder's `losses` are compared with; with `end` the end of
    training is recorded too. `network` picks the module whose kernels are computed from the one that is trained.
    """

    def __init__(
        self, recorder: Any, monitor: str | None, end: bool, network: Callable[[Any], nn.Module] | None
    ) -> None:
        if not isinstance(recorder, Recorder):
            raise UserError(f"the first argument is {a_kind(recorder)}, not a Recorder: give ak.Recorder(...).")
        if not recorder.rule and not end:
            raise UserError(
                "nothing is chosen: give the Recorder steps=, epochs= or losses=, or the callback end=True."
            )
        if recorder.rule.losses and monitor is None:
            raise UserError(
                "the Recorder has losses=, and monitor= does not name a loss: give the name under which it is logged, "
                'such as monitor="train_loss".'
            )
        self.recorder: Recorder = recorder
        self.monitor, self.end, self.network = monitor, end, network
        self._step: int | None = None

    def check(
        self, model: Any, step: int, epoch: float | None, loss: float | None = None, *, write: bool = True
    ) -> None:
        """Record the model if it is due; without `write`, only take note that training has come here."""
        due = self.recorder.rule.due(step=step, epoch=epoch, loss=loss)
        if due and write and step != self._step:
            self._record(model, step, epoch, final=False)

    def finish(self, model: Any, step: int, epoch: float | None) -> None:
        """Record the end of training, or mark the record of this step as the end."""
        if self.end or step == self._step:
            self._record(model, step, epoch, final=True)

    def loss(self, logged: Mapping[str, Any]) -> float | None:
        """The monitored loss. UserError if it is not among the logged metrics."""
        if self.monitor is None or not self.recorder.rule.losses:
            return None
        if self.monitor not in logged:
            raise UserError(
                f"monitor={self.monitor!r} is not logged: name one of {', '.join(logged) or 'your metrics'}."
            )
        return float(logged[self.monitor])

    def _record(self, model: Any, step: int, epoch: float | None, *, final: bool) -> None:
        network = model if self.network is None else self.network(model)
        self.recorder.record(network, step=step, epoch=epoch, final=final)
        self._step = step
