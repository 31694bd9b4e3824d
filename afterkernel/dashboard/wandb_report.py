"""The W&B report of a sweep: each claim with its verdict and its panels, and how to reproduce it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from afterkernel import text as fmt
from afterkernel.claims import CLAIMS, Finding
from afterkernel.claims.panel import Condition
from afterkernel.dashboard import panels
from afterkernel.dashboard.claim_text import claim_text, finding_on, verdict
from afterkernel.dashboard.inputs import DashboardInputs
from afterkernel.report import facts
from afterkernel.report.claim_cards import METHOD
from afterkernel.report.output import FIGURES
from afterkernel.wandb.run import REPORT, RUN

_LONGEST_TITLE = 128


def wandb_report(inputs: DashboardInputs, findings: Sequence[Finding], entity: str, *, online: bool) -> Any:
    """The report, not saved. With `online` its run sets name their project, whose id the library asks of the server."""
    import wandb_workspaces.reports.v2 as wr

    return wr.Report(
        entity=entity,
        project=inputs.project,
        title=f"After kernels: {inputs.sweep}"[:_LONGEST_TITLE],
        description=_description(inputs),
        blocks=[
            wr.TableOfContents(),
            wr.MarkdownBlock(text=_verdicts(findings, partial=inputs.runs.partial)),
            *(block for name in CLAIMS for block in _claim(name, inputs, findings, entity if online else "")),
            wr.H2(text="To reproduce"),
            wr.MarkdownBlock(text=_reproduce(inputs)),
        ],
        width="fluid",
    )


def spec(report: Any) -> dict[str, Any]:
    """The parts of a report that are the same on every build, as plain data."""
    model = report._to_model()
    return {
        "title": model.display_name,
        "description": model.description,
        "spec": model.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _description(inputs: DashboardInputs) -> str:
    runs = inputs.runs
    done = f"{runs.n_done} of {fmt.plural(len(runs.runs), 'run')} of the sweep {inputs.sweep} are done"
    return f"{done} ({runs.counts()}): a partial report." if runs.partial else f"{done}."


def _verdicts(findings: Sequence[Finding], *, partial: bool) -> str:
    rows = [f"| {name.upper()} | {claim.statement} | {verdict(name, findings)} |" for name, claim in CLAIMS.items()]
    note = " Verdicts are provisional: not all runs are done." if partial else ""
    return "\n".join(["| | claim | verdict |", "| --- | --- | --- |", *rows, "", f"{METHOD}{note}"])


def _claim(name: str, inputs: DashboardInputs, findings: Sequence[Finding], entity: str) -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr

    claim, found = CLAIMS[name], finding_on(name, findings)
    runs = _runset(inputs, entity, f"{name}/runs", "runs of the sweep", RUN, claim.conditions)
    yield wr.H2(text=f"{name.upper()}: {verdict(name, findings)}")
    yield wr.MarkdownBlock(text=claim_text(name, findings, partial=inputs.runs.partial))
    yield wr.PanelGrid(runsets=[runs], panels=panels.to_wandb(claim.panels, f"report/{name}"))
    if found is not None and found.comparisons:
        figure = wr.MediaBrowser(title="Effects with intervals", media_keys=[f"{FIGURES}/claim_{name}"], num_columns=1)
        panels.place(figure, f"report/{name}/figure")
        figure.layout.w, figure.layout.h = 24, 14
        report = _runset(inputs, entity, f"{name}/report", "report of the sweep", REPORT)
        yield wr.PanelGrid(runsets=[report], panels=[figure])


def _runset(
    inputs: DashboardInputs, entity: str, key: str, name: str, job_type: str, conditions: Sequence[Condition] = ()
) -> Any:
    import wandb_workspaces.reports.v2 as wr

    made = wr.Runset(
        entity=entity,
        project=inputs.project if entity else "",
        name=name,
        filters=panels.run_filter(inputs.sweep, job_type, conditions),
        groupby=[f"config.{option}" for option in inputs.grouping] if job_type == RUN else [],
    )
    made._id = panels.stable_id("report", key)
    return made


def _reproduce(inputs: DashboardInputs) -> str:
    origin = facts.provenance(inputs.records)
    commands = facts.commands(inputs.records)
    commands += [f"python -m afterkernel {command} runs/{inputs.sweep}" for command in ("report", "dashboard")]
    return "\n".join(
        [
            "Check out the commit named below and run the commands that made the records, with a path of your own for "
            "each PATH; finished runs are skipped.",
            *("", "```sh", *commands, "```", "", "| provenance | |", "| --- | --- |"),
            *(f"| `{name}` | {value} |" for name, value in [*origin.shared, *origin.varying]),
        ]
    )
