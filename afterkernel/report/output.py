"""The files of a report: tables/ (CSV, LaTeX) and figures/ (PNG, SVG) next to its page."""

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


@dataclasses.dataclass(frozen=True)
class PageFigure:
    """A figure of the page. `files` are paths relative to the page; `image`, in the last format, may be unfinished."""

    alt: str
    caption: str
    image: Future[bytes]
    files: list[str]

    @property
    def source(self) -> str:
        """The image, an SVG, as the HTML page holds it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.image.result()).decode()}"


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Writes the tables and figures of a report below `folder`, figures in the `pool`; keeps them by name."""

    folder: Path
    pool: Executor
    figure_formats: tuple[str, ...] = ("png", "svg")
    with_latex: bool = True
    frames: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: dict[str, PageFigure] = dataclasses.field(default_factory=dict)

    def data(self, frame: pd.DataFrame, name: str) -> str:
        """Write a data frame to tables/NAME.csv, unrounded; returns the path relative to the page."""
        file = f"{TABLES}/{name}.csv"
        write_atomic(self.folder / file, frame.to_csv(index=False, lineterminator="\n"))
        self.frames[name] = frame
        return file

    def table(self, frame: pd.DataFrame, table: Table, name: str) -> Table:
        """Write tables/NAME.csv, unrounded, and NAME.tex, as shown; returns the table with these files."""
        files = [self.data(frame, name)]
        if table.rows and self.with_latex:
            files.append(f"{TABLES}/{name}.tex")
            write_atomic(self.folder / files[-1], booktabs(table, name))
        return dataclasses.replace(table, files=files)

    def figure(self, name: str, alt: str, caption: str, draw: Callable[..., Figure], *drawn: Any) -> PageFigure:
        """Have the figure `draw(*drawn)` written to figures/NAME.png and .svg, and return it for the page."""
        files = [f"{FIGURES}/{name}.{kind}" for kind in self.figure_formats]
        image = self.pool.submit(_write_figure, [self.folder / file for file in files], draw, *drawn)
        self.figures[name] = PageFigure(alt, caption, image, files)
        return self.figures[name]


def _write_figure(paths: list[Path], draw: Callable[..., Figure], *drawn: Any) -> bytes:
    """Draw a figure once, write it in the format of every path, and return the last."""
    figure = draw(*drawn)
    for path in paths:
        image = style.render(figure, path.suffix[1:])
        write_atomic(path, image)
    return image
