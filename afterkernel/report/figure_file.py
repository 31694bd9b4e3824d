"""Charts as files and on the page: one Vega-Lite description gives the interactive view and every static image."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
from base64 import b64encode
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from afterkernel.records.files import write_atomic
from afterkernel.report import style
from afterkernel.report.drawing import SCALE, Drawing

# Characters that need no escape in a data URI within double quotes.
_PLAIN = " /:=,;'()!*@$?[]{}|~^`&\n"


@dataclasses.dataclass(frozen=True)
class PageFigure:
    """A figure of the page: `alt` says what it shows, `caption` what its marks are, `spec` is its Vega-Lite chart.

    `files` are the paths of its images, relative to the page.
    """

    alt: str
    caption: str
    spec: dict[str, Any]
    drawing: Drawing
    files: list[str]

    @property
    def images(self) -> dict[str, bytes]:
        """The static images by format."""
        return self.drawing.images

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
            return round(image.width / SCALE), round(image.height / SCALE)

    @property
    def script(self) -> str:
        """The chart as JSON within a script element."""
        return json.dumps(self.spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


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
