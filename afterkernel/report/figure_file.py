"""Charts as files and on the page: one Vega-Lite description gives the interactive view and every static image."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from afterkernel.records.files import write_atomic
from afterkernel.report import style

_SCALE, _DPI = 1.5, 144
# Characters that need no escape in a data URI within double quotes.
_PLAIN = " /:=,;'()!*@$?[]{}|~^`&\n"


@dataclasses.dataclass(frozen=True)
class PageFigure:
    """A figure of the page: `alt` says what it shows, `caption` what its marks are, `spec` is its Vega-Lite chart.

    `images` holds the files' bytes by format, and `files` their paths relative to the page.
    """

    alt: str
    caption: str
    spec: dict[str, Any]
    images: dict[str, bytes]
    files: list[str]

    @property
    def source(self) -> str:
        """The static image for the page: SVG, whose text is text, or PNG where that is smaller."""
        png = "data:image/png;base64," + b64encode(self.images["png"]).decode()
        if len(self.images["svg"]) > len(png):  # escapes only make it longer
            return png
        svg = "data:image/svg+xml," + quote(self.images["svg"], safe=_PLAIN)
        return min(svg, png, key=len)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the static image, in CSS pixels."""
        from PIL import Image

        with Image.open(io.BytesIO(self.images["png"])) as image:
            return round(image.width / _SCALE), round(image.height / _SCALE)

    @property
    def script(self) -> str:
        """The chart as JSON within a script element."""
        return json.dumps(self.spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


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


def shared(figures: Iterable[PageFigure]) -> dict[str, Any]:
    """What the figures of a page share, by the names of the templates: Vega's code, and the themes."""
    counts = sorted({figure.spec["usermeta"]["rates"] for figure in figures})
    themes = {theme: {count: style.config(theme, count) for count in counts} for theme in style.THEMES}
    return {"vega": bundle(), "themes": json.dumps(themes, separators=(",", ":"))}


@functools.cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. Bundling takes seconds, so the user's cache keeps it."""
    import vl_convert

    versions = [version("vl-convert-python"), vl_convert.get_vega_version(), vl_convert.get_vega_embed_version()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "afterkernel")
    file = cache / f"vega-{'-'.join(versions)}.js"
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    made = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with contextlib.suppress(OSError):  # A home that cannot be written to costs seconds, not the report.
        write_atomic(file, made)
    return made


def _png(svg: str) -> bytes:
    import vl_convert
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=_SCALE))) as image:
        # An opaque image of few colours: a palette makes the file a third of its size.
        image.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            buffer, "png", dpi=(_DPI, _DPI)
        )
    return buffer.getvalue()
