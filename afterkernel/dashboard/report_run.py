"""The one W&B run a sweep that holds its report: figures, tables, verdicts and the page itself."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.claims import Finding
from afterkernel.dashboard.inputs import Material
from afterkernel.report.output import FIGURES, TABLES
from afterkernel.report.page import Made
from afterkernel.wandb.mirror import REPORT, let_go, settings

if TYPE_CHECKING:
    import pandas as pd

VERDICTS, PAGE = "verdicts", "page"
_NOTES = (
    "The report of the sweep {sweep} of afterkernel, made of the records of all its runs: figures, tables as computed "
    "(fractions, seconds, bytes, nothing rounded), the verdict on each claim in the summary (claim/c1/verdict, "
    "effect, unit, interval_low and interval_high of Student's 95 % interval, n in seeds), and the whole page as HTML."
)


def log(material: Material, made: Made, folder: Path) -> Path:
    """Log the report as the W&B run SWEEP-report, offline below `folder`, replacing an older one; its folder."""
    import wandb

    _forget(folder, _name(material.sweep))
    with _staging(folder):
        run = wandb.init(
            mode="offline",
            project=material.project,
            entity=material.entity,
            dir=folder,
            group=material.sweep,
            name=f"report of {material.sweep}",
            id=_name(material.sweep),
            job_type=REPORT,
            tags=[finding.hypothesis.name.upper() for finding in made.findings],
            notes=_NOTES.format(sweep=material.sweep),
            reinit="finish_previous",
            settings=settings(),
        )
        try:
            run.log(_content(made))
            run.summary.update(summary(made.findings))
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()
    # Until W&B's own process has ended its file may lack an end.
    let_go()
    return _logged(folder, _name(material.sweep))[-1]


def verdict_table(findings: Sequence[Finding]) -> tuple[list[str], list[list[Any]]]:
    """Headings and rows: one a part of each claim, with the comparison that its verdict hangs on."""
    headings = ["claim", "verdict", "part", "part_verdict", "data", "network", "effect", "unit"]
    headings += ["interval_low", "interval_high", "n", "reason", "statement"]
    rows: list[list[Any]] = []
    for finding in findings:
        for part in finding.parts:
            one = part.decisive
            numbers = [None] * 4 if one is None else [one.test.mean, one.test.low, one.test.high, one.test.n]
            where = ["", ""] if one is None else [one.sample.data, one.sample.network]
            row = [finding.hypothesis.name, finding.verdict, part.part.title, part.verdict, *where, numbers[0]]
            rows.append([*row, part.part.unit, *numbers[1:], part.reason, finding.hypothesis.statement])
    return headings, rows


def summary(findings: Sequence[Finding]) -> dict[str, Any]:
    """claim/NAME/verdict, and of the comparison that tells: part, effect, unit, interval_low, interval_high, n."""
    found: dict[str, Any] = {}
    for finding in findings:
        name = f"claim/{finding.hypothesis.name}"
        found[f"{name}/verdict"] = finding.verdict
        part = finding.decisive
        if part is not None and part.decisive is not None:
            test = part.decisive.test
            words = {"part": part.part.title, "unit": part.part.unit}
            numbers = {"effect": test.mean, "interval_low": test.low, "interval_high": test.high, "n": test.n}
            found |= {f"{name}/{key}": value for key, value in {**words, **numbers}.items()}
    return found


def _content(made: Made) -> dict[str, Any]:
    import wandb

    folder = made.page.parent
    content: dict[str, Any] = {}
    for name, picture in made.output.pictures.items():
        png = next(file for file in picture.files if file.endswith(".png"))
        content[f"{FIGURES}/{name}"] = wandb.Image(str(folder / png), caption=picture.caption)
    for name, frame in made.output.frames.items():
        if len(frame):
            content[f"{TABLES}/{name}"] = _table([str(column) for column in frame.columns], _rows(frame))
    content[VERDICTS] = _table(*verdict_table(made.findings))
    content[PAGE] = wandb.Html(str(made.page), inject=False)
    return content


def _table(headings: list[Any], rows: list[Any]) -> Any:
    import wandb

    return wandb.Table(columns=headings, data=rows, allow_mixed_types=True)


def _rows(frame: pd.DataFrame) -> list[Any]:
    plain = frame.astype(object)
    return plain.where(frame.notna(), None).to_numpy().tolist()


def _name(sweep: str) -> str:
    return f"{sweep}-report"


def _forget(folder: Path, name: str) -> None:
    # Each is complete in itself, and holds figures and tables once more.
    for run in _logged(folder, name):
        shutil.rmtree(run)
    shutil.rmtree(_staged(folder), ignore_errors=True)


def _logged(folder: Path, name: str) -> list[Path]:
    return [file.parent for file in sorted(folder.glob(f"wandb/offline-run-*/run-{name}.wandb"))]


def _staged(folder: Path) -> Path:
    return folder / "wandb" / "staged"


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """W&B copies tables to where it uploads them from; offline they must last, so they lie next to the run."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(_staged(folder).absolute())
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before
