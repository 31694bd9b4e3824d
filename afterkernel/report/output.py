"""The files of a report: the page, tables/ (CSV, LaTeX) and figures/ (PNG, SVG)."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.records.files import write_atomic
from afterkernel.report import style
from afterkernel.report.latex import booktabs
from afterkernel.report.table_format import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLES, FIGURES = "tables", "figures"
_FORMATS = ("png", "svg")


@dataclasses.dataclass(frozen=True)
class PageFigure:
    """A figure of the page. `files` are paths relative to the page. `svg` may still be being drawn."""

    alt: str
    caption: str
    svg: Future[bytes]
    files: list[str]

    @property
    def source(self) -> str:
        """The image as the page holds it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.result()).decode()}"


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Writes the tables and figures of a report below `folder`, figures in the `pool`; keeps them by name."""

    folder: Path
    pool: Executor
    frames: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: dict[str, PageFigure] = dataclasses.field(default_factory=dict)

    def data(self, frame: pd.DataFrame, name: str) -> str:
        """Write a data frame to tables/NAME.csv, unrounded; returns the path relative to the page."""
        file = f"{TABLES}/{name}.csv"
        write_atomic(self.folder / file, frame.to_csv(index=False, lineterminator="\n"))
        self.frames[name] = frame
        return file

    def table(self, frame: pd.DataFrame, table: Table, name: str) -> Table:
        """Write tables/NAME.csv, unrounded, and tables/NAME.tex, as shown; returns the table with these files."""
        files = [self.data(frame, name)]
        if table.rows:
            files.append(f"{TABLES}/{name}.tex")
            write_atomic(self.folder / files[-1], booktabs(table, name))
        return dataclasses.replace(table, files=files)

    def figure(self, name: str, alt: str, caption: str, draw: Callable[..., Figure], *drawn: Any) -> PageFigure:
        """Have the figure `draw(*drawn)` written to figures/NAME.png and .svg, and return it for the page."""
        files = [f"{FIGURES}/{name}.{kind}" for kind in _FORMATS]
        svg = self.pool.submit(_write_figure, [self.folder / file for file in files], draw, *drawn)
        self.figures[name] = PageFigure(alt, caption, svg, files)
        return self.figures[name]


def _write_figure(paths: list[Path], draw: Callable[..., Figure], *drawn: Any) -> bytes:
    """Draw a figure once, write it in every format, and return the SVG."""
    figure = draw(*drawn)
    for path, kind in zip(paths, _FORMATS, strict=True):
        image = style.render(figure, kind)
        write_atomic(path, image)
    return image
