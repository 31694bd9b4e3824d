"""neural-tangents, in its own environment: python -m side_by_side.neural_tangents_peer IMPLEMENTATION FOLDER.

The same network in plain jax with the same weights, compiled before it is timed. Each image alone is mapped over
(`vmap_axes=0`), which is fastest by far. Where memory would not hold all images at once, pairs of batches are taken in
turn as `neural_tangents.batch` does, but each pair of a symmetric matrix once.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from side_by_side.cases import CHECKED_IMAGES, Case, Facts
from side_by_side.measure import (
    HostMemory,
    Memory,
    Outcome,
    checked,
    fail_before_the_system_does,
    free_bytes,
    measure,
    unequal,
)

Array = Any
MOST_PAIRS_BY_PRODUCTS = 32 * 32  # each is a forward pass; more at once gain no speed


class JaxMemory:
    """Memory that jax holds on the GPU; it cannot forget an earlier peak."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._before = 0

    def start(self) -> None:
        """Take the present as baseline."""
        self._before = self._device.memory_stats()["bytes_in_use"]

    def peak_bytes(self) -> int:
        """The peak over the baseline."""
        return int(self._device.memory_stats()["peak_bytes_in_use"]) - self._before


def network(layers: list[str]) -> Callable[[list[Array], Array], Array]:
    """The function (parameters, images) -> logits (n, 1) of a list of layers."""
    jnp: Any = import_module("jax.numpy")
    lax: Any = import_module("jax.lax")
    relu: Any = import_module("jax.nn").relu

    def apply(parameters: list[Array], x: Array) -> Array:
        remaining = iter(parameters)
        for layer in layers:
            if layer == "convolution":
                weight, bias = next(remaining), next(remaining)
                x = lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
                x = x + bias[:, None, None]
            elif layer == "relu":
                x = relu(x)  # its slope at 0 is 0, as in torch; that of jnp.maximum is one half
            elif layer == "pool":
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "SAME")
            elif layer == "flatten":
                x = x.reshape(len(x), -1)
            else:
                weight, bias = next(remaining), next(remaining)
                x = x @ weight.T + bias
        return x

    return apply


class Tiles:
    """Gram matrices in tiles of `size` images, compiled for that size."""

    def __init__(
        self, kernel: Callable[..., Array], parameters: list[Array], size: int, shape: tuple[int, ...]
    ) -> None:
        jax: Any = import_module("jax")
        self._jnp: Any = import_module("jax.numpy")
        self._parameters, self.size = parameters, size
        images = jax.ShapeDtypeStruct((size, *shape), np.float32)
        self._own = jax.jit(lambda x, p: kernel(x, None, p)).lower(images, parameters).compile()
        self._cross = jax.jit(lambda x, y, p: kernel(x, y, p)).lower(images, images, parameters).compile()

    def symmetric(self, x: Array) -> np.ndarray[Any, Any]:
        """The Gram matrix of x with itself."""
        parts = self._split(x)
        K = np.empty((len(parts) * self.size,) * 2, np.float32)
        for i, here in enumerate(parts):
            K[self._slice(i), self._slice(i)] = self._own(here, self._parameters)
            for j in range(i):
                K[self._slice(i), self._slice(j)] = self._cross(here, parts[j], self._parameters)
                K[self._slice(j), self._slice(i)] = K[self._slice(i), self._slice(j)].T
        return K[: len(x), : len(x)]

    def cross(self, x: Array, y: Array) -> np.ndarray[Any, Any]:
        """The Gram matrix of x with y."""
        parts, others = self._split(x), self._split(y)
        K = np.empty((len(parts) * self.size, len(others) * self.size), np.float32)
        for i, here in enumerate(parts):
            for j, there in enumerate(others):
                K[self._slice(i), self._slice(j)] = self._cross(here, there, self._parameters)
        return K[: len(x), : len(y)]

    def _slice(self, i: int) -> slice:
        return slice(i * self.size, (i + 1) * self.size)

    def _split(self, x: Array) -> list[Array]:
        """Batches of equal size, the last filled with images already there."""
        count = -(-len(x) // self.size)
        filled = self._jnp.resize(x, (count * self.size, *x.shape[1:]))
        return [filled[self._slice(i)] for i in range(count)]


def tile_size(implementation: str, free: int, bytes_an_image: int, n: int) -> int:
    """The most images that memory holds, made even over the batches of n."""
    most = free // 4 // bytes_an_image
    if implementation == "NTK_VECTOR_PRODUCTS":
        most = math.isqrt(min(most, MOST_PAIRS_BY_PRODUCTS))
    batches = -(-n // max(1, most))
    return -(-n // batches)


def outcome(method: str, folder: Path) -> Outcome:
    """Check the implementation against ours on a few images, then measure it."""
    case, facts = Case.read(folder), Facts.read(folder)
    arrays = np.load(folder / "case.npz")
    jax: Any = import_module("jax")
    neural_tangents: Any = import_module("neural_tangents")
    jax.config.update("jax_default_matmul_precision", "highest")
    memory: Memory = HostMemory()
    free = free_bytes()
    if case.device != "cpu":
        if jax.default_backend() != "gpu":
            return Outcome("failed", says="failed", note="its jax has no CUDA: pip install 'jax[cuda12_pip]==0.4.23'")
        memory = JaxMemory(jax.devices()[0])
        free = jax.devices()[0].memory_stats()["bytes_limit"]
    else:
        fail_before_the_system_does()
    count = sum(name.startswith("parameter") for name in arrays.files)
    parameters = [jax.numpy.asarray(arrays[f"parameter{i}"]) for i in range(count)]
    implementation = method.upper()
    kernel = neural_tangents.empirical_ntk_fn(
        network(arrays["layers"].tolist()),
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=neural_tangents.NtkImplementation[implementation],
    )
    x, x_test = (jax.numpy.asarray(arrays[name]) for name in ("x", "x_test"))

    corners: list[np.ndarray[Any, Any]] = []

    def work(tiles: Tiles, x: Array, x_test: Array) -> None:
        grams = [tiles.symmetric(x), *([tiles.cross(x_test, x)] if len(x_test) else [])]
        corners[:] = [K[:CHECKED_IMAGES, :CHECKED_IMAGES].copy() for K in grams]

    def error() -> float:
        pairs = [(K, arrays[f"expected{i}"]) for i, K in enumerate(corners)]
        return max(float(abs(K - expected).max() / abs(expected).max()) for K, expected in pairs)

    few = Tiles(kernel, parameters, min(CHECKED_IMAGES, case.n), x.shape[1:])
    work(few, x[:CHECKED_IMAGES], x_test[:CHECKED_IMAGES])
    refusal = unequal(error())
    if refusal:
        return refusal
    tiles = Tiles(kernel, parameters, tile_size(implementation, free, facts.bytes_an_image, case.n), x.shape[1:])
    measured = measure(lambda: work(tiles, x, x_test), memory)
    return checked(measured, error())


def restrict_threads(threads: int) -> None:
    """Keep this process to so many cores: jax takes one thread a core, and has no option for fewer."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    """Measure the implementation on the case of the folder on the command line."""
    method, folder = sys.argv[1], Path(sys.argv[2])
    restrict_threads(json.loads((folder / "case.json").read_text())["threads"])
    outcome(method, folder).write(folder, method)


if __name__ == "__main__":
    main()
