"""When a training is saved: the one rule of configured runs, of `afterkernel.Recorder` and of its callbacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from afterkernel.errors import UserError


class SnapshotRule:
    """Chooses snapshots by steps, by epochs, and by training losses, from checks that come in the order of training.

    A step or an epoch is due at the first check at or after it, and a loss at the first check at or below it. Of a
    training that continues, the first check is due only at exactly a chosen step or epoch, since what came before is
    not known; `reached` gives the step at which each loss was reached before. Steps and epochs count from 0, the
    initialisation. Raises UserError for a number that training can't reach.
    """

    def __init__(
        self,
        *,
        steps: Any = (),
        epochs: Any = (),
        losses: Any = (),
        reached: Mapping[float, int] | None = None,
    ) -> None:
        self.steps = _numbers("steps", steps, whole=True)
        self.epochs = _numbers("epochs", epochs)
        self.losses = _numbers("losses", losses)
        self.reached = dict(reached or {})
        # The last two checks of steps and of epochs: what lies between them is due at the second.
        self._checked: dict[str, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        """Whether anything is chosen."""
        return bool(self.steps or self.epochs or self.losses)

    def due(self, *, step: int | None = None, epoch: float | None = None, loss: float | None = None) -> bool:
        """Whether the network is to be saved now, after `step` steps and `epoch` epochs, at this training loss.

        What is not given is not checked. A check that is repeated at the same step has the same answer.
        """
        found = [self._passed("step", self.steps, step), self._passed("epoch", self.epochs, epoch)]
        if loss is not None:
            found.append(self._reached(float(loss), step))
        return any(found)

    def until(self, last: float) -> list[float]:
        """The epochs of all snapshots of a training that is checked every epoch and saved at its end, `last`."""
        return sorted({epoch for epoch in self.epochs if epoch < last} | {last})

    def losses_reached_at(self, step: int) -> list[float]:
        """The chosen losses that were reached at a step."""
        return [loss for loss in self.losses if self.reached.get(loss) == step]

    def _passed(self, kind: str, chosen: tuple[float, ...], now: float | None) -> bool:
        if now is None:
            return False
        before, last = self._checked.get(kind, (math.inf, math.inf))
        if now > last:
            before = last
        elif now < last:  # training starts, continues, or starts again
            before = math.nextafter(now, -math.inf)
        self._checked[kind] = before, now
        return any(before < one <= now for one in chosen)

    def _reached(self, loss: float, step: int | None) -> bool:
        now = math.inf if step is None else step
        fresh = [one for one in self.losses if loss <= one and self.reached.get(one, math.inf) >= now]
        self.reached |= dict.fromkeys(fresh, -1 if step is None else step)
        return bool(fresh)


def _numbers(name: str, given: Any, *, whole: bool = False) -> tuple[float, ...]:
    kind = "whole numbers" if whole else "numbers"
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise UserError(f"{name}={given!r} is not a list of {kind}: give one, such as {name}=[0, 1, 10].")
    values = list(given)
    for value in values:
        right = isinstance(value, int) or (not whole and isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not right or value < 0:
            raise UserError(f"{name}={values} holds {value!r}: give {kind} of at least 0.")
    return tuple(sorted(set(values)))
