"""The Lightning callback that saves snapshots, and decides when training ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from afterkernel.errors import UserError
from afterkernel.text import epochs
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.loss_checks import Check, LossChecks, copied_state, nearer
from afterkernel.training.metrics import measure
from afterkernel.training.module import Classifier
from afterkernel.training.options import Snapshots
from afterkernel.training.snapshot import Ending, Snapshot, TrainingEnd
from afterkernel.types import Tensor

log = logging.getLogger(__name__)


class SaveSnapshots(pl.Callback):
    """Saves the network at initialisation, after the chosen epochs, at the chosen losses, and at the end of training.

    Training ends after its epochs or steps, at its loss target, or when a loss is not finite; if nothing was saved
    then, the `initial` weights are.
    """

    def __init__(
        self,
        run_dir: Path,
        snapshots: Snapshots,
        execution: Execution,
        timer: Timer,
        initial: dict[str, Tensor],
    ) -> None:
        self.run_dir, self.execution, self.timer = run_dir, execution, timer
        self.rule, self.losses = snapshots.rule(), sorted(snapshots.losses, reverse=True)
        self.steps: set[int] | None = None
        self.reached: dict[float, int] = {}
        self._ended_by: TrainingEnd = "epochs"
        self._initial = initial
        self._checks: LossChecks | None = None
        self._before: Check | None = None

    def ending(self) -> Ending:
        """How training ended."""
        missed = [loss for loss in self.losses if loss not in self.reached]
        return Ending(self._ended_by, sorted(cast(set[int], self.steps)), missed, self.timer.time_elapsed())

    def state_dict(self) -> dict[str, Any]:
        """The steps of the snapshots so far, and those at which losses were reached."""
        return {"steps": sorted(self.steps or ()), "reached": dict(self.reached)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with these."""
        self.steps, self.reached = set(state_dict["steps"]), dict(state_dict["reached"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the initialised network, unless training resumes; check the loss for the first time."""
        module, step = cast(Classifier, pl_module), trainer.global_step
        if self.steps is None:  # training starts, or resumes from a checkpoint of an earlier version
            self.steps = {at for at in self._on_disk() if at <= step} if step else set()
        if step == 0 and self.rule.due(epoch=0) and not self._save(module, step):
            raise UserError(f"the loss of the initial network is not finite ({module.measure().train_loss}).")
        if self.losses or module.options.loss_target is not None:
            self._checks = LossChecks(module.options, module.problem, self.execution.seed, module.steps_an_epoch)
            self._remember(module, self._checks, Check(step, None))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: object) -> None:
        """Check the loss, save what is due, and end training."""
        module, step = cast(Classifier, pl_module), trainer.global_step
        ended_by = self._after_step(module, step, float(outputs["cross_entropy"]))
        if ended_by is not None:
            self._ended_by = ended_by
            trainer.should_stop = True

    def _after_step(self, module: Classifier, step: int, batch_loss: float) -> TrainingEnd | None:
        """How training ends at this step; None if it continues."""
        if not math.isfinite(batch_loss):
            return self._diverged(module, step, batch_loss)
        now: Check | None = None
        if self._checks is not None and self._checks.is_due(step):
            now = self._checks.check(module.function, step, max(self._wanted(module)))
            if now.loss is not None and not math.isfinite(now.loss):
                return self._diverged(module, step, now.loss)
            kept, final = self._kept(module, self._checks, now)
            if not all(self._save(module, check.step, check.state) for check in kept):
                return self._diverged(module, step, math.nan)
            if final is not None:
                return "loss_target"
        epoch, within = divmod(step, module.steps_an_epoch)
        due = within == 0 and self.rule.due(epoch=epoch)
        ends = self._ends(module, step)
        if (due or ends is not None) and not self._save(module, step):
            return self._diverged(module, step, math.nan)
        if self._checks is not None and now is not None:
            self._remember(module, self._checks, now)
        return ends

    def _ends(self, module: Classifier, step: int) -> TrainingEnd | None:
        if step == module.options.epochs * module.steps_an_epoch:
            return "epochs"
        return "steps" if step == module.options.max_steps else None

    def _wanted(self, module: Classifier) -> list[float]:
        """The losses that are still looked for."""
        target = module.options.loss_target
        return [loss for loss in self.losses if loss not in self.reached] + ([] if target is None else [target])

    def _kept(self, module: Classifier, checks: LossChecks, now: Check) -> tuple[list[Check], Check | None]:
        """The checks whose weights are saved for the losses that are reached now, and the one that ends training."""
        reached = [loss for loss in self._wanted(module) if now.loss is not None and now.loss <= loss]
        if reached and self._before is not None and self._before.loss is None:
            with _weights(module, self._before.state):
                self._before = replace(self._before, loss=checks.loss(module.function))
        target = module.options.loss_target
        final = nearer(self._before, now, target) if target is not None and target in reached else None
        kept = {final.step: final} if final is not None else {}
        for loss in self.losses:
            if loss in reached and loss not in self.reached:
                check = nearer(self._before, now, loss)
                if final is None or check.step <= final.step:
                    self.reached[loss] = check.step
                    kept[check.step] = check
        return [kept[step] for step in sorted(kept)], final

    def _remember(self, module: Classifier, checks: LossChecks, now: Check) -> None:
        """Keep the weights of this check for the next one, while anything is still looked for."""
        self._before = None
        if not self._wanted(module):
            self._checks = None
        elif not checks.paper:
            self._before = replace(now, state=copied_state(module.network))

    def _save(self, module: Classifier, step: int, state: dict[str, Tensor] | None = None) -> bool:
        """Save the present weights, or these; False, and nothing is saved, if their loss is not finite."""
        steps = cast(set[int], self.steps)
        if step in steps:
            return True
        with _weights(module, state):
            measured = module.measure() if state is None else _measured(module, step)
            if not math.isfinite(measured.train_loss):
                return False
            facts = replace(measured, wall_s_train=self.timer.time_elapsed(), run=self.execution.identity)
            self.execution.check_cancelled()
            snapshot.save(self.run_dir, facts, module.network)
        steps.add(step)
        log.info(
            "epoch %s: training loss %.4g, training error %.2f %%, test error %.2f %%; snapshot saved",
            epochs(measured.epoch),
            measured.train_loss,
            100 * measured.net_train_error,
            100 * measured.net_test_error,
        )
        return True

    def _diverged(self, module: Classifier, step: int, loss: float) -> TrainingEnd:
        if not self.steps and not self._save(module, 0, self._initial):
            raise UserError("the loss of the initial network is not finite.")
        log.warning(
            "training diverged in epoch %d (the loss is %s): training.lr=%g is too large for this network and data; "
            "the run ends with its last snapshot before, that of step %d",
            (step - 1) // module.steps_an_epoch + 1,
            loss,
            module.options.lr,
            max(cast(set[int], self.steps)),
        )
        return "diverged"

    def _on_disk(self) -> set[int]:
        found = (snapshot.read(path) for path in snapshot.paths(self.run_dir))
        return {facts.step for facts in found if facts.run == self.execution.identity}


def _measured(module: Classifier, step: int) -> Snapshot:
    return measure(module.function, module.problem, epoch=step / module.steps_an_epoch, step=step)


@contextmanager
def _weights(module: Classifier, state: dict[str, Tensor] | None) -> Iterator[None]:
    """Give the network these weights within the block."""
    if state is None:
        yield
        return
    present = copied_state(module.network)
    module.network.load_state_dict(state)
    try:
        yield
    finally:
        module.network.load_state_dict(present)
