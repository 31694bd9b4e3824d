"""The W&B run that holds the report of a sweep: figures, tables, verdicts and the page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.claims import Finding
from afterkernel.dashboard.inputs import DashboardInputs
from afterkernel.report.output import FIGURES, TABLES
from afterkernel.report.page import WrittenReport
from afterkernel.wandb.neutral_path import neutral_file
from afterkernel.wandb.run import REPORT, end_service, settings

if TYPE_CHECKING:
    import pandas as pd

VERDICTS, PAGE = "verdicts", "page"
_NOTES = (
    "The report of the sweep {sweep} of afterkernel, from the records of all its runs: figures, unrounded tables "
    "(fractions, seconds, bytes), the verdict on each claim in the summary (claim/c1/verdict, "
    "effect, unit, interval_low and interval_high of Student's 95 % interval, n in seeds), and the whole page as HTML."
)


def log(inputs: DashboardInputs, report: WrittenReport, folder: Path) -> Path:
    """Log the report as the W&B run SWEEP-report, offline below `folder`, and delete older ones; returns its folder."""
    import wandb

    name = f"{inputs.sweep}-report"
    # Each log is complete and holds all figures and tables.
    for older in _logged(folder, name):
        shutil.rmtree(older)
    shutil.rmtree(_staged(folder), ignore_errors=True)
    with _staging(folder):
        run = wandb.init(
            mode="offline",
            project=inputs.project,
            entity=inputs.entity,
            dir=folder,
            group=inputs.sweep,
            name=f"report of {inputs.sweep}",
            id=name,
            job_type=REPORT,
            tags=[finding.claim.name.upper() for finding in report.findings],
            notes=_NOTES.format(sweep=inputs.sweep),
            reinit="finish_previous",
            settings=settings(),
        )
        try:
            run.log(_content(report))
            run.summary.update(summary(report.findings))
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()
    # Until W&B's service process has ended, the file may be incomplete.
    end_service()
    return _logged(folder, name)[-1]


def verdict_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per part of a claim, with its decisive comparison."""
    import pandas as pd

    rows = []
    for finding in findings:
        for part in finding.parts:
            sample, test = (None, None) if part.decisive is None else (part.decisive.sample, part.decisive.test)
            rows.append(
                {
                    "claim": finding.claim.name,
                    "verdict": finding.verdict,
                    "part": part.part.title,
                    "part_verdict": part.verdict,
                    "data": sample.data if sample else "",
                    "network": sample.network if sample else "",
                    "learning_rate": sample.rate if sample else None,
                    "loss": sample.loss if sample else None,
                    "effect": test.mean if test else None,
                    "unit": part.part.unit,
                    "interval_low": test.low if test else None,
                    "interval_high": test.high if test else None,
                    "n": test.n if test else None,
                    "reason": part.reason,
                    "statement": finding.claim.statement,
                }
            )
    return pd.DataFrame(rows)


def summary(findings: Sequence[Finding]) -> dict[str, Any]:
    """claim/NAME/verdict, and of the decisive comparison: part, effect, unit, interval_low, interval_high, n."""
    found: dict[str, Any] = {}
    for finding in findings:
        name = f"claim/{finding.claim.name}"
        found[f"{name}/verdict"] = finding.verdict
        part = finding.decisive
        if part is not None and part.decisive is not None:
            test = part.decisive.test
            facts = {"part": part.part.title, "unit": part.part.unit, "effect": test.mean}
            facts |= {"interval_low": test.low, "interval_high": test.high, "n": test.n}
            found |= {f"{name}/{key}": value for key, value in facts.items()}
    return found


def _content(report: WrittenReport) -> dict[str, Any]:
    import wandb

    folder = report.page.parent
    content: dict[str, Any] = {}
    for name, figure in report.files.figures.items():
        png = next(file for file in figure.files if file.endswith(".png"))
        content[f"{FIGURES}/{name}"] = wandb.Image(str(folder / png), caption=figure.caption)
    for name, frame in report.files.frames.items():
        if len(frame):
            content[f"{TABLES}/{name}"] = _table(frame)
    content[VERDICTS] = _table(verdict_table(report.findings))
    content[PAGE] = wandb.Html(str(report.page), inject=False)
    return content


def _table(frame: pd.DataFrame) -> Any:
    import wandb

    cells: Any = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return wandb.Table(columns=list(map(str, frame.columns)), data=cells, allow_mixed_types=True)


def _logged(folder: Path, name: str) -> list[Path]:
    return [file.parent for file in sorted(folder.glob(f"wandb/offline-run-*/run-{name}.wandb"))]


def _staged(folder: Path) -> Path:
    return folder / "wandb" / "staged"


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Have W&B stage its copies of tables next to the run: offline they must last until the upload."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = neutral_file(folder, _staged(folder))
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before
