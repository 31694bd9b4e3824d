"""Records of any training loop: the kernels of a model at chosen steps, in the store that configured runs write to.

DIRECTORY/NAME-seedSEED-HASH/records/STEP.EVALUATION.NUMBER.json    as of a run
DIRECTORY/NAME-seedSEED-HASH/supports/step=0100.EVALUATION.json     and .npz: what later snapshots start from
"""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from afterkernel.config import config_to_dict
from afterkernel.config.identity import EVALUATION_SECTIONS, digest, evaluation_options
from afterkernel.errors import LockLostError, UserError
from afterkernel.kernel_kinds import KINDS
from afterkernel.kernels.inputs import check_model, place_of
from afterkernel.measures import MeasureState
from afterkernel.records import Record, read_run, write_record
from afterkernel.records.files import check_folders, check_name
from afterkernel.records.record import RECORDED
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.provenance import device_name, git_commit, provenance
from afterkernel.runs.recorded_model import (
    Forward,
    check_single_process,
    copy_to_run,
    undisturbed,
    unwrapped,
    weights_sha256,
    with_logits,
)
from afterkernel.runs.recorder_options import checked_tags, evaluation_config, recorded_problem
from afterkernel.runs.run_lock import LockedError, RunLock, run_lock
from afterkernel.runs.warm_start import read_warm_starts, sample_path, warm_start_path, write_warm_starts
from afterkernel.training.metrics import measure
from afterkernel.training.snapshot_rule import SnapshotRule

log = logging.getLogger(__name__)

_DATA_NAME, _ID = 8, 10


class Recorder:
    """Records the kernels, hard-margin SVMs and measures of a model while any training loop trains it.

    The records are those of a run below `directory`, which `afterkernel.results`, and the commands `results`, `status`
    and `report` read. The run's id ends in a hash of name, seed, tags, data and options: the same loop, run again,
    computes nothing twice. Neither the model nor the training is changed: weights, buffers, gradients, mode and random
    numbers stay as they are.

    Args:
        directory: the folder of the runs to compare, as of one sweep, such as "runs/mine".
        train: (samples, labels) as tensors or numpy arrays; labels of two classes, such as 0 and 1 or -1 and 1, or of
            several, whose order is that of the model's logits.
        test: the same of the test samples.
        name: the name of the network in tables and figures; letters, digits and _ . = + -.
        seed: of the training; results that differ only in it are averaged.
        tags: names and values that distinguish trainings, such as {"width": 64}; part of the run's id.
        kernels: names of kernels, such as ["ntk", "conjugate"], which is the default.
        options: of the evaluation, as on the command line: ["svm=libsvm", "measure.num_images=200"].
        steps: training steps after which `due` is true.
        epochs: epochs after which `due` is true; fractions are allowed.
        losses: training losses at or below which `due` is true, once for each.
        dataset: the name of the data set in the results.
        classes: the names of the classes in the results, in the order of the labels.
        learning_rate: the learning rate in the results; it is only noted.
        forward: a function of the model and samples that returns the logits of each sample, one or two for two classes
            and one for each of several; by default the model is called.

    Raises UserError for data, options or names that can't be used.
    """

    def __init__(  # noqa: PLR0913 (public, all but one by name)
        self,
        directory: Path | str,
        *,
        train: Any,
        test: Any,
        name: str,
        seed: Any = 0,
        tags: Any = None,
        kernels: Sequence[str] | None = None,
        options: Sequence[str] = (),
        steps: Any = (),
        epochs: Any = (),
        losses: Any = (),
        dataset: str | None = None,
        classes: Sequence[str] | None = None,
        learning_rate: float | None = None,
        forward: Forward | None = None,
    ) -> None:
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise UserError(f"seed={seed!r} is not a whole number of at least 0.")
        self.name, self.seed, self.tags = check_name("name", str(name)), seed, checked_tags(tags or {})
        self.problem = recorded_problem(train, test, classes)
        self.config = evaluation_config(kernels, options, self.problem)
        self.data_sha256 = self.problem.fingerprint
        self.dataset = dataset or f"data-{self.data_sha256[:_DATA_NAME]}"
        self.learning_rate = None if learning_rate is None else float(learning_rate)
        self.forward = forward
        self.sha256 = self._identity()
        self.run_id = f"{self.name}-seed{seed}-{self.sha256[:_ID]}"
        self.directory = Path(directory)
        self.run_dir = self.directory / self.run_id
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.run_dir} can't be made ({error.strerror}): name another directory.") from error
        check_folders(self.run_dir)
        if self.problem.x_train.ndim == 4:
            self.config.measure.warn_of_images(*self.problem.image_shape[1:])
        known = self._records().values()
        reached = {loss: one.step for one in known for loss in one.provenance.get("losses_reached", [])}
        self.rule = SnapshotRule(steps=steps, epochs=epochs, losses=losses, reached=reached)
        self._evaluator = Evaluator(self.config, self.problem, self.run_id)
        self._last: int | None = None
        # Time of training before this process, and since when this process trains.
        self._trained_s = {one.step: one.wall_s_train for one in known}
        self._started_s = time.monotonic()

    def due(self, *, step: int | None = None, epoch: float | None = None, loss: float | None = None) -> bool:
        """Whether `record` is to be called now, by the chosen `steps`, `epochs` and `losses`.

        A step or epoch is due at the first check at or after it, a loss at the first check at or below it. Raises
        UserError if none were chosen.
        """
        if not self.rule:
            raise UserError("nothing is chosen: give the Recorder steps=, epochs= or losses= at which to record.")
        return self.rule.due(step=step, epoch=epoch, loss=loss)

    def record(self, model: Any, *, step: Any, epoch: float | None = None, final: bool = False) -> Record:
        """Evaluate the model after `step` steps and write the record, or return the one that is there already.

        `epoch` is the number of epochs so far, a fraction within one; `final` says that training ends here. Raises
        UserError if other weights are recorded at this step, if another process records the same run, and for a model
        that can't be evaluated; nothing that is recorded is lost then.
        """
        began_s = time.monotonic()
        if type(step) is not int or not 0 <= step < 10**18:
            raise UserError(f"step={step!r} is not a whole number of at least 0.")
        check_model(model)
        check_single_process()
        model = unwrapped(model)
        place = torch.device(place_of(model, self.problem.x_train))
        try:
            with undisturbed(place), run_lock(self.run_dir) as lock:
                return self._record(model, place, lock, step, epoch, final)
        except LockedError as error:
            raise UserError(
                f"{error.owner} records {self.run_dir}: give another name, seed or tag, or wait until it is done."
            ) from error
        except LockLostError as error:
            raise UserError(f"{error} while this one was paused: what that process records is valid.") from error
        except OSError as error:
            raise UserError(
                f"{self.run_dir} can't be written to ({error.strerror}); what is recorded is kept."
            ) from error
        finally:
            self._started_s += time.monotonic() - began_s  # the time of training excludes this

    def _record(
        self, model: nn.Module, place: torch.device, lock: RunLock, step: int, epoch: float | None, final: bool
    ) -> Record:
        weights, known = weights_sha256(model), self._records()
        if (found := known.get(step)) is not None:
            return self._again(found, weights, lock, final)
        if dataclasses.replace(self.problem).fingerprint != self.data_sha256:
            raise UserError("the samples were changed in place since the Recorder was made: give it a copy of them.")
        network = with_logits(model, self.problem.x_train, self.problem.n_outputs, self.forward, place)
        for name in self.config.kernel.names:
            KINDS[name].check(network)
        self._continue_from([one for place_, one in sorted(known.items()) if place_ < step])
        self._evaluator.place = place
        trained_s = self._trained_before(step) + time.monotonic() - self._started_s
        facts = measure(copy_to_run(network, place), self.problem, epoch=0, step=step)
        kernels = self._evaluator.evaluate_kernels(network, self._evaluator.context(epoch, step))
        origin = provenance(self.data_sha256, weights) | {
            "command": shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
            "model": f"{type(model).__module__}.{type(model).__qualname__}",
            "losses_reached": self.rule.losses_reached_at(step),
        }
        record = Record(
            run_id=self.run_id,
            evaluation_id=self.config.identity.evaluation_id,
            sweep=self.directory.resolve().name,
            dataset=self.dataset,
            minus=self.problem.minus,
            plus=self.problem.plus,
            classes=self.problem.classes,
            n_train=len(self.problem.x_train),
            n_test=len(self.problem.x_test),
            arch=self.name,
            parameters=sum(one.numel() for one in model.parameters() if one.requires_grad),
            learning_rate=self.learning_rate,
            seed=self.seed,
            epoch=None if epoch is None else float(epoch),
            step=step,
            final=final,
            train_loss=facts.train_loss,
            net_train_error=facts.net_train_error,
            net_test_error=facts.net_test_error,
            net_test_wrong=facts.net_test_wrong,
            wall_s_train=trained_s,
            config_sha256=self.sha256,
            commit=git_commit(),
            device=device_name(place),
            kernels=kernels,
            config=self._plain(),
            provenance=origin,
        )
        lock.check()
        path, owner = self._supports(step), self._owner(weights)
        write_warm_starts(path, self._evaluator.warm_starts, owner)
        self._evaluator.history.save(sample_path(path), owner)
        write_record(self.run_dir, record, lock.number)
        for one in known.values():
            if one.final and one.step < step:  # the training was continued
                write_record(self.run_dir, dataclasses.replace(one, final=False), lock.number)
        self._last = step
        return record

    def _again(self, found: Record, weights: str, lock: RunLock, final: bool) -> Record:
        """The record of this step that is there already; marked as final where it was not."""
        if found.provenance.get("snapshot_sha256") != weights:
            raise UserError(
                f"{self.run_dir} holds a record of step {found.step} of other weights: the training is not the one "
                "that was recorded, or not deterministic; give it a tag of its own, or remove the folder."
            )
        if final and not found.final:
            found = dataclasses.replace(found, final=True)
            write_record(self.run_dir, found, lock.number)
        return found

    def _continue_from(self, before: Sequence[Record]) -> None:
        """Take what the earlier snapshots of this run left for later ones, unless this process computed the last."""
        last = before[-1].step if before else None
        if last == self._last:
            return
        self._evaluator.warm_starts, self._evaluator.history = {}, MeasureState()
        for one in before:
            path, owner = self._supports(one.step), self._owner(str(one.provenance.get("snapshot_sha256")))
            self._evaluator.warm_starts = read_warm_starts(path, len(self.problem.y_train), owner) or {}
            loaded = self._evaluator.history.load(sample_path(path), one.step, owner)
            if not loaded and self.config.measure.needs_history and one in (before[0], before[-1]):
                log.warning("%s is missing or damaged: distances to step %d are left out", sample_path(path), one.step)

    def _trained_before(self, step: int) -> float:
        """Seconds that processes before this one have trained up to this step."""
        return max((spent for at, spent in self._trained_s.items() if at < step), default=0.0)

    def _records(self) -> dict[int, Record]:
        """What is recorded with the same evaluation, by step."""
        evaluation_id = self.config.identity.evaluation_id
        found = read_run(self.run_dir, self.run_id)
        return {step: record for (step, evaluation), record in found.items() if evaluation == evaluation_id}

    def _supports(self, step: int) -> Path:
        return warm_start_path(self.run_dir, step, self.config.identity.evaluation_id)

    def _owner(self, weights: str) -> str:
        return f"{self.run_id} {weights}"

    def _identity(self) -> str:
        return digest(
            {
                "name": self.name,
                "seed": self.seed,
                "tags": self.tags,
                "data": [self.data_sha256, self.dataset, self.problem.minus, self.problem.plus, *self.problem.classes],
                "learning_rate": self.learning_rate,
                "options": evaluation_options(self.config),
            }
        )

    def _plain(self) -> dict[str, Any]:
        """What distinguishes this training from others, and the options of its evaluation."""
        plain = config_to_dict(self.config)
        sections = {section: plain[section] for section in EVALUATION_SECTIONS}
        origin = {RECORDED: {"data": self.data_sha256[:_ID]}, "tags": self.tags, "seed": self.seed}
        return origin | sections | {"plugins": self.config.plugins}
