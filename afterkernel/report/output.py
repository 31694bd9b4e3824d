"""The files of a report: the page, and beside it tables/ (CSV, LaTeX) and figures/ (PNG, SVG)."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.report import style
from afterkernel.report.latex import booktabs
from afterkernel.report.show import Table
from afterkernel.store.files import write_bytes_atomic, write_text_atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLES, FIGURES = "tables", "figures"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page, embedded; `files` lie beside the page, named relative to it."""

    alt: str
    caption: str
    source: str
    files: list[str]


@dataclasses.dataclass(frozen=True)
class Output:
    """Writes what lies beside the page in `folder`, and keeps by name the tables and figures that it wrote."""

    folder: Path
    frames: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    pictures: dict[str, Picture] = dataclasses.field(default_factory=dict)

    def data(self, frame: pd.DataFrame, name: str) -> str:
        """Write a data frame as it is, tables/NAME.csv; the path relative to the page."""
        file = f"{TABLES}/{name}.csv"
        write_text_atomic(self.folder / file, frame.to_csv(index=False, lineterminator="\n"))
        self.frames[name] = frame
        return file

    def table(self, frame: pd.DataFrame, table: Table, name: str) -> Table:
        """Write tables/NAME.csv, unrounded, and tables/NAME.tex, as shown; the table with these files."""
        files = [self.data(frame, name)]
        if table.rows:
            files.append(f"{TABLES}/{name}.tex")
            write_text_atomic(self.folder / files[-1], booktabs(table, name))
        return dataclasses.replace(table, files=files)

    def picture(self, figure: Figure, name: str, alt: str, caption: str) -> Picture:
        """Write figures/NAME.png and .svg; the picture for the page."""
        files = []
        for kind in ("png", "svg"):
            image = style.render(figure, kind)
            files.append(f"{FIGURES}/{name}.{kind}")
            write_bytes_atomic(self.folder / files[-1], image)
        source = f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}"
        self.pictures[name] = Picture(alt, caption, source, files)
        return self.pictures[name]
