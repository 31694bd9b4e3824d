"""The files of a report: tables/ (CSV, LaTeX) and figures/ (PNG, SVG, PDF) next to its page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.records.files import write_atomic
from afterkernel.report import style
from afterkernel.report.drawing import Drawer
from afterkernel.report.figure_file import PageFigure
from afterkernel.report.latex import booktabs
from afterkernel.report.table_format import Table

if TYPE_CHECKING:
    import pandas as pd

TABLES, FIGURES = "tables", "figures"


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Writes the tables and figures of a report below `folder`; keeps them by name."""

    folder: Path
    figure_formats: tuple[str, ...] = ("png", "svg", "pdf")
    with_latex: bool = True
    frames: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: dict[str, PageFigure] = dataclasses.field(default_factory=dict)
    drawer: Drawer = dataclasses.field(default_factory=Drawer)

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

    def figure(self, name: str, result: str, caption: str, spec: style.Spec) -> PageFigure:
        """A chart for the page, whose images `write_figures` writes to figures/NAME; `result` says what it shows."""
        files = [f"{FIGURES}/{name}.{kind}" for kind in self.figure_formats]
        self.figures[name] = PageFigure(result, caption, spec, self.drawer.draw(spec, self.figure_formats), files)
        return self.figures[name]

    def write_figures(self) -> None:
        """Write the images of all charts, each in every format."""
        for figure in self.figures.values():
            for file in figure.files:
                write_atomic(self.folder / file, figure.images[file.rpartition(".")[2]])
        self.drawer.close()
