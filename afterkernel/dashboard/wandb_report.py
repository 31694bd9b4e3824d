"""The W&B report of a sweep: each claim with its verdict and its panels, and how to reproduce it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from afterkernel import text as fmt
from afterkernel.claims import HYPOTHESES, Finding
from afterkernel.claims.panel import Condition
from afterkernel.dashboard import claim_text as words
from afterkernel.dashboard import panels
from afterkernel.dashboard.inputs import Material
from afterkernel.report import claims, facts
from afterkernel.report.output import FIGURES
from afterkernel.wandb.mirror import REPORT, RUN

_LONGEST_TITLE = 128


def report(material: Material, findings: Sequence[Finding], entity: str, *, online: bool) -> Any:
    """The report, not saved. Online its run sets name their project, for whose id a server is asked."""
    import wandb_workspaces.reports.v2 as wr

    return wr.Report(
        entity=entity,
        project=material.project,
        title=f"After kernels: {material.sweep}"[:_LONGEST_TITLE],
        description=_lead(material),
        blocks=[
            wr.TableOfContents(),
            wr.MarkdownBlock(text=_verdicts(findings, partial=material.runs.partial)),
            *[block for name in HYPOTHESES for block in _claim(name, material, findings, entity if online else "")],
            wr.H2(text="To reproduce"),
            wr.MarkdownBlock(text=_reproduce(material)),
        ],
        width="fluid",
    )


def spec(made: Any) -> dict[str, Any]:
    """What of a report is the same whenever it is built, as plain data."""
    model = made._to_model()
    return {
        "title": model.display_name,
        "description": model.description,
        "spec": model.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _lead(material: Material) -> str:
    known = material.runs
    done = f"{known.n_done} of {fmt.plural(len(known.runs), 'run')} of the sweep {material.sweep} are done"
    return f"{done} ({known.counts()}): a partial report." if known.partial else f"{done}."


def _verdicts(findings: Sequence[Finding], *, partial: bool) -> str:
    rows = [
        f"| {name.upper()} | {one.statement} | {words.verdict(name, findings)} |" for name, one in HYPOTHESES.items()
    ]
    note = " Verdicts are provisional: not all runs are done." if partial else ""
    return "\n".join(["| | claim | verdict |", "| --- | --- | --- |", *rows, "", f"{claims.METHOD}{note}"])


def _claim(name: str, material: Material, findings: Sequence[Finding], entity: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    hypothesis = HYPOTHESES[name]
    runs = _runset(material, entity, f"{name}/runs", "runs of the sweep", RUN, hypothesis.conditions)
    blocks = [
        wr.H2(text=f"{name.upper()}: {words.verdict(name, findings)}"),
        wr.MarkdownBlock(text=words.claim(name, findings, partial=material.runs.partial)),
        wr.PanelGrid(runsets=[runs], panels=panels.drawn(hypothesis.panels, f"report/{name}")),
    ]
    if any(finding.hypothesis.name == name and finding.comparisons for finding in findings):
        drawn = wr.MediaBrowser(title="Effects with intervals", media_keys=[f"{FIGURES}/claim_{name}"], num_columns=1)
        panels.place(drawn, f"report/{name}/figure")
        drawn.layout.w, drawn.layout.h = 24, 14
        made = _runset(material, entity, f"{name}/report", "report of the sweep", REPORT)
        blocks.append(wr.PanelGrid(runsets=[made], panels=[drawn]))
    return blocks


def _runset(
    material: Material, entity: str, where: str, name: str, job_type: str, others: Sequence[Condition] = ()
) -> Any:
    import wandb_workspaces.reports.v2 as wr

    made = wr.Runset(
        entity=entity,
        project=material.project if entity else "",
        name=name,
        filters=panels.conditions(material.sweep, job_type, others),
        groupby=[f"config.{option}" for option in material.grouping] if job_type == RUN else [],
    )
    made._id = panels.identity("report", where)
    return made


def _reproduce(material: Material) -> str:
    origin = facts.provenance(material.records)
    rows = [f"| `{name}` | {value} |" for name, value in [*origin.shared, *origin.vary]]
    commands = facts.commands(material.records)
    made = [f"python -m afterkernel {word} runs/{material.sweep}" for word in ("report", "dashboard")]
    return "\n".join(
        [
            "Take the commit named below and give the commands that made the records, each PATH being a place of your "
            "own; what is finished is left alone.",
            *("", "```sh", *commands, *made, "```", "", "| provenance | |", "| --- | --- |"),
            *rows,
        ]
    )
