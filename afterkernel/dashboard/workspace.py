"""The W&B workspace of a sweep: what matters at a glance, a section per claim, one per topic of what its runs log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from afterkernel.claims import CLAIMS, Finding
from afterkernel.dashboard import panels
from afterkernel.dashboard.claim_text import claim_text, finding_on
from afterkernel.dashboard.inputs import DashboardInputs
from afterkernel.records.metrics import EPOCH
from afterkernel.wandb.run import RUN


def workspace(inputs: DashboardInputs, findings: Sequence[Finding], entity: str) -> Any:
    """The workspace, not saved. It shows only runs of the sweep, one line per group of seeds, against epochs."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    made = ws.Workspace(
        entity=entity,
        project=inputs.project,
        # The library takes = and + for parts of emojis, and refuses them.
        name=f"afterkernel: {inputs.sweep.replace('=', '_').replace('+', '_')}",
        sections=list(_sections(inputs, findings)),
        settings=ws.WorkspaceSettings(x_axis=EPOCH, smoothing_type="none", max_runs=panels.MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=panels.run_filter(inputs.sweep, RUN),
            groupby=[expr.Config(name) for name in inputs.grouping],
        ),
    )
    made._internal_runset_id = panels.stable_id(inputs.sweep, "runs")
    return made


def spec(view: Any) -> dict[str, Any]:
    """The parts of a `workspace` that are the same on every build and for every user, as plain data."""
    model = view._to_model()
    return {"name": model.display_name, "spec": model.spec.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _sections(inputs: DashboardInputs, findings: Sequence[Finding]) -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr

    first = panels.at_a_glance(inputs.metrics)
    yield _section("At a glance", panels.to_wandb(first, "workspace/at a glance"), opened=True)
    for name, claim in CLAIMS.items():
        text = wr.MarkdownPanel(markdown=claim_text(name, findings, partial=inputs.runs.partial))
        panels.place(text, f"workspace/{name}/words")
        title = f"{name.upper()}: {claim.statement.rstrip('.')}"
        shown = [text, *panels.to_wandb(claim.panels, f"workspace/{name}")]
        yield _section(title, shown, opened=finding_on(name, findings) is not None)
    for title, found in panels.by_topic(inputs.metrics):
        yield _section(title, panels.to_wandb(found, f"workspace/{title}"), opened=False)


def _section(name: str, found: list[Any], opened: bool) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.Section(
        name=name,
        panels=found,
        is_open=opened,
        layout_settings=ws.SectionLayoutSettings(columns=3, rows=(len(found) + 2) // 3),
        panel_settings=ws.SectionPanelSettings(x_axis=EPOCH, smoothing_type="none"),
    )
