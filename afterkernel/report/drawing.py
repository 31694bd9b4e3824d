"""Draws charts as images: a few of them in this process, many in several others."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor, Future
from typing import Any

from afterkernel.report import style

SCALE, _DPI = 1.5, 144
# Each process loads Vega first, which takes about as long as two charts.
FEW = 8
# Each takes about 300 MB.
MAX_PROCESSES = 4


@dataclasses.dataclass
class Drawing:
    """A chart to draw in some formats: here, when its images are asked for, unless a process draws it."""

    spec: dict[str, Any]
    formats: tuple[str, ...]
    _future: Future[dict[str, bytes]] | None = None
    _images: dict[str, bytes] | None = None

    def submit(self, executor: Any) -> None:
        """Have a process draw the chart, unless it is drawn."""
        if self._images is None:
            # After the death of a process this one draws.
            with contextlib.suppress(BrokenExecutor):
                self._future = executor.submit(images, self.spec, self.formats)

    @property
    def images(self) -> dict[str, bytes]:
        """The image by format."""
        if self._images is None:
            with contextlib.suppress(BrokenExecutor):
                self._images = self._future.result() if self._future else None
            self._images = self._images or images(self.spec, self.formats)
            self._future = None
        return self._images


class Drawer:
    """Draws charts. From the ninth on, processes draw all of them while this process prepares more."""

    def __init__(self) -> None:
        self._waiting: list[Drawing] = []
        self._executor: Any = None

    def draw(self, spec: dict[str, Any], formats: tuple[str, ...]) -> Drawing:
        """A chart that will have been drawn when its images are asked for."""
        self._waiting.append(drawing := Drawing(spec, formats))
        if self._executor is None and len(self._waiting) > FEW:
            self._executor = _start_processes()
        if self._executor is not None:
            for one in self._waiting:
                one.submit(self._executor)
            self._waiting.clear()
        return drawing

    def close(self) -> None:
        """End the processes once they have drawn their charts."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


def _start_processes() -> Any:
    """A pool of processes of loky, joblib's engine; none where there is one core."""
    # Imports of some tenths of a second that small reports do without.
    from joblib import cpu_count
    from joblib.externals.loky import ProcessPoolExecutor

    from afterkernel.launchers.engines.worker_processes import initialise_worker

    number = min(cpu_count(), MAX_PROCESSES)
    return ProcessPoolExecutor(number, initializer=initialise_worker, initargs=(os.getpid(),)) if number > 1 else None


def images(spec: dict[str, Any], formats: Iterable[str]) -> dict[str, bytes]:
    """A chart in the light theme on white, by format ("png", "svg", "pdf").

    The same chart gives the same bytes, except of a PDF, whose objects vl-convert writes in any order.
    """
    import vl_convert

    themed = spec | {"config": style.config("light", spec["usermeta"]["rates"]), "background": "white"}
    svg = _unclipped(vl_convert.vegalite_to_svg(themed))
    make: dict[str, Any] = {"svg": svg.encode, "png": lambda: _png(svg), "pdf": lambda: vl_convert.svg_to_pdf(svg)}
    return {kind: make[kind]() for kind in formats}


def _unclipped(svg: str) -> str:
    """An SVG without clips: only zooming moves a mark past an edge, and a PNG with clips takes four times as long."""
    return re.sub(r'<clipPath .*?</clipPath>| clip-path="[^"]*"', "", svg)


def _png(svg: str) -> bytes:
    import vl_convert
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=SCALE))) as image:
        # An opaque image of few colours: a palette makes the file a third of its size.
        image.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            buffer, "png", dpi=(_DPI, _DPI)
        )
    return buffer.getvalue()
