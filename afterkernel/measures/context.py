"""The measures of one snapshot: what they need is computed once, and shared between measures and kernels.

Kernels are added as their Gram matrices are computed; measures of all training images are taken then. The others use a
sample, whose Gram matrix is cut out of that of the training set, so that no embedding is computed twice.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from afterkernel.data import Problem
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS
from afterkernel.kernels.embedding import Embedding
from afterkernel.kernels.gram import train_test_grams
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import Precision, precision
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.measures.options import Measures
from afterkernel.measures.samples import sample_images, sample_indices
from afterkernel.measures.spectrum import FLOAT32_NOISE
from afterkernel.measures.state import HistoryEntry, MeasureState
from afterkernel.text import plain
from afterkernel.types import Float, Int, Tensor

# Rounding errors of an entry, relative to the largest, where products are multiplied in less than their data type.
_NOISE = {"float32": FLOAT32_NOISE, "float64": 1e-14, "tf32": 2.0**-10, "tf32x3": 2e-6, "bf16": 2.0**-8}


@dataclass
class _Kernel:
    """One kernel of the snapshot: the sample's Gram matrices by layer ("" is the whole), and numbers so far.

    `test_gram` is that of the test images with themselves, None where no measure needs it.
    """

    phi: Embedding
    grams: dict[str, tuple[Float[Tensor, "n n"], Float[Tensor, "m n"]]]
    test_gram: Float[Tensor, "k k"] | None
    numbers: Numbers
    wall_s: float
    approximation: float


class Context:
    """One snapshot, as its measures see it.

    Args:
        options: which measures, of which images.
        problem: the images; train and test samples are drawn from its two splits.
        epoch: of the snapshot; 0 is the initialisation. None if it is not known, which needs a step.
        state: Gram matrices of earlier snapshots; `measure_all` adds those of this one.
        step: orders the snapshots instead of the epoch, where it is given.
        dtype: the precision in which the kernels are multiplied.
        budget_bytes: bound on what is held of embeddings where layers are measured.
    """

    def __init__(
        self,
        options: Measures,
        problem: Problem,
        epoch: float | None,
        state: MeasureState | None = None,
        *,
        step: int | None = None,
        dtype: str | torch.dtype = "float32",
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
    ) -> None:
        self.options, self.problem = options, problem
        self.epoch, self.step = epoch, step
        self.state = MeasureState() if state is None else state
        self.precision: Precision = precision(dtype)
        self.budget_bytes = budget_bytes
        self.measures: list[Measure] = options.chosen()
        self.kernels: dict[str, _Kernel] = {}
        self.train_sample = sample_indices(len(problem.x_train), options.gram_images, options.seed)
        self.test_sample = sample_indices(len(problem.x_test), options.num_images, options.seed)
        self.place = HistoryEntry(epoch, "", {}, step).place
        if self.state.previous is not None and self.state.previous.place >= self.place:
            kind = "epoch" if step is None else "step"
            raise UserError(
                f"the snapshot of {kind} {plain(self.place)} is measured after that of {kind} "
                f"{plain(self.state.previous.place)}: "
                "measure a run's snapshots in their order."
            )

    def add(
        self,
        name: str,
        phi: Embedding,
        K: Float[Tensor, "n n"],
        K_test: Float[Tensor, "m n"],
        norm: float,
        approximation: float = 0.0,
    ) -> None:
        """Add a kernel: its embedding, and train x train and test x train of phi divided by `norm`.

        `approximation` is the relative error of an entry of a kernel that is an estimate.
        The matrices may be dropped or changed afterwards.
        """
        started = time.perf_counter()
        sample = self.train_sample.to(K.device)
        test = K_test[self.test_sample.to(K_test.device)][:, sample]
        grams = {"": (_symmetric(K[sample][:, sample]), test)}
        numbers: Numbers = {}
        for measure in self.measures:
            numbers |= _checked(measure, measure.of_training_set(K))
        if self.options.per_layer and KINDS[name].has_layers:
            grams |= self._layers(phi, norm, K.device)
        test_gram = self._test_gram(phi, norm, K.device) if any(one.needs_test_gram for one in self.measures) else None
        wall_s = time.perf_counter() - started
        self.kernels[name] = _Kernel(phi, grams, test_gram, numbers, wall_s, approximation)

    def _test_gram(self, phi: Embedding, norm: float, place: torch.device) -> Float[Tensor, "k k"]:
        """The Gram matrix of sampled test images, at most as many as the sample of training images may have."""
        images = sample_images(self.problem.x_test, self.options.gram_images, self.options.seed)
        found = train_test_grams(phi, images, images[:0], budget_bytes=self.budget_bytes, dtype=self.precision.name)
        return _symmetric(found.train / norm**2).to(place)

    def _layers(
        self, phi: Embedding, norm: float, place: torch.device
    ) -> dict[str, tuple[Float[Tensor, "n n"], Float[Tensor, "m n"]]]:
        found = train_test_grams(
            phi,
            self.problem.x_train[self.train_sample],
            sample_images(self.problem.x_test, self.options.num_images, self.options.seed),
            budget_bytes=self.budget_bytes,
            dtype=self.precision.name,
            per_layer=True,
        )
        return {
            layer: (_symmetric(train / norm**2).to(place), (test / norm**2).to(place))
            for layer, (train, test) in found.layers.items()
        }

    def sample_id(self) -> str:
        """The identity of the sampled training images: a hash of their indices and pixels."""
        x = self.problem.x_train[self.train_sample].contiguous().cpu().numpy()
        return hashlib.sha256(self.train_sample.numpy().tobytes() + x.tobytes()).hexdigest()

    def samples(self, name: str, sample_id: str) -> Iterator[SampleGram]:
        """The Gram matrix of the sample of one kernel, and with `per_layer` those of its layers."""
        initial, previous = self.state.initial, self.state.previous
        initial, previous = (seen if seen and seen.sample == sample_id else None for seen in (initial, previous))
        for layer, (matrix, test) in self.kernels[name].grams.items():
            key = f"{name}/{layer}" if layer else name
            yield SampleGram(
                matrix=matrix,
                labels=self._labels(self.problem.y_train, self.train_sample, matrix),
                test=test,
                test_labels=self._labels(self.problem.y_test, self.test_sample, matrix),
                noise=max(_NOISE[self.precision.name], self.kernels[name].approximation),
                n_classes=self.problem.n_classes,
                layer=layer,
                initial=self._at(initial, key, matrix),
                previous=previous.grams.get(key) if previous else None,
                epochs_since=self._epochs_since(previous),
                others=self._others(name, layer, initial),
                **({} if layer else self._test_grams(name)),
            )

    def _epochs_since(self, previous: HistoryEntry | None) -> float | None:
        if previous is None or previous.epoch is None or self.epoch is None:
            return None
        return self.epoch - previous.epoch

    def _at(self, initial: HistoryEntry | None, key: str, now: Tensor | None) -> Tensor | None:
        """A matrix at initialisation, which is the present one at epoch 0."""
        if self.place == 0:
            return now
        return initial.grams.get(key) if initial else None

    def _others(self, name: str, layer: str, initial: HistoryEntry | None) -> dict[str, Tensor | None]:
        """The matrices to align with: the snapshot's other kernels, and all at initialisation; of a layer its own."""
        if layer:
            return {f"initial_{name}": self._at(initial, f"{name}/{layer}", self.kernels[name].grams[layer][0])}
        now = {other: kernel.grams[""][0] for other, kernel in self.kernels.items()}
        others: dict[str, Tensor | None] = {other: matrix for other, matrix in now.items() if other != name}
        learned = {other: matrix for other, matrix in now.items() if KINDS[other].is_learned}
        return others | {f"initial_{other}": self._at(initial, other, matrix) for other, matrix in learned.items()}

    def _test_grams(self, name: str) -> dict[str, Any]:
        """The Gram matrices of test images of a kernel, and of the snapshot's others, where a measure needs them."""
        grams = {other: kernel.test_gram for other, kernel in self.kernels.items() if kernel.test_gram is not None}
        own = grams.pop(name, None)
        return {"test_matrix": own, "test_others": grams}

    @staticmethod
    def _labels(y: Tensor, sample: Int[Tensor, " k"], matrix: Tensor) -> Int[Tensor, " k"]:
        return y[sample.to(y.device)].to(matrix.device)


def measure_all(context: Context) -> dict[str, Numbers]:
    """Every chosen measure of every kernel added, by kernel and name; those of a layer are named LAYER/NAME.

    A number that does not exist is None. The snapshot is added to the context's state.
    """
    sample_id = context.sample_id()
    images = sample_images(context.problem.x_test, context.options.num_images, context.options.seed)
    for name, kernel in context.kernels.items():
        started = time.perf_counter()
        for gram in context.samples(name, sample_id):
            prefix = f"{gram.layer}/" if gram.layer else ""
            for measure in context.measures:
                kernel.numbers |= {
                    f"{prefix}{key}": value for key, value in _checked(measure, measure.of_sample(gram)).items()
                }
        per_layer = context.options.per_layer and KINDS[name].has_layers
        for measure in context.measures:
            kernel.numbers |= _checked(measure, measure.of_images(kernel.phi, images, per_layer))
        kernel.wall_s += time.perf_counter() - started
    if context.options.needs_history:
        grams = {
            f"{name}/{layer}" if layer else name: matrix
            for name, kernel in context.kernels.items()
            for layer, (matrix, _) in kernel.grams.items()
        }
        context.state.update(HistoryEntry(context.epoch, sample_id, grams, context.step))
    return {name: kernel.numbers for name, kernel in context.kernels.items()}


def _checked(measure: Measure, numbers: object) -> Numbers:
    """The numbers of a measure. UserError if one is not a finite number or None, as a plugin's may be."""
    if not isinstance(numbers, dict):
        raise UserError(f"the measure {measure.name} gives {type(numbers).__name__}: it must give numbers by name.")
    for name, value in numbers.items():
        if value is not None and not (type(value) in (int, float) and math.isfinite(value)):
            raise UserError(
                f"the measure {measure.name} gives {name}={value!r}: it must be a finite int or float, or None where "
                "the number does not exist."
            )
    return numbers


def _symmetric(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The matrix with its upper half mirrored, as it comes back from a file."""
    return K.triu() + K.triu(1).T
