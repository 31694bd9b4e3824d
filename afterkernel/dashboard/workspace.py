"""The W&B workspace of a sweep: a section a claim, then one for every topic of what its runs log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from afterkernel.claims import HYPOTHESES, Finding
from afterkernel.dashboard import claim_text as words
from afterkernel.dashboard import panels
from afterkernel.dashboard.inputs import Material
from afterkernel.wandb.mirror import EPOCH, RUN


def workspace(material: Material, findings: Sequence[Finding], entity: str) -> Any:
    """The workspace, not saved: runs of the sweep alone, one line for each group of seeds, all of it against epochs."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    made = ws.Workspace(
        entity=entity,
        project=material.project,
        # The library takes these for emojis, and refuses them.
        name=f"afterkernel: {material.sweep.replace('=', '_').replace('+', '_')}",
        sections=[*_claims(material, findings), *_topics(material)],
        settings=ws.WorkspaceSettings(x_axis=EPOCH, smoothing_type="none", max_runs=panels.MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=panels.conditions(material.sweep, RUN),
            groupby=[expr.Config(name) for name in material.grouping],
        ),
    )
    made._internal_runset_id = panels.identity(material.sweep, "runs")
    return made


def spec(made: Any) -> dict[str, Any]:
    """What of a workspace is the same whenever and for whomever it is built, as plain data."""
    model = made._to_model()
    return {"name": model.display_name, "spec": model.spec.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _claims(material: Material, findings: Sequence[Finding]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    asked = {finding.hypothesis.name for finding in findings}
    sections = []
    for name, hypothesis in HYPOTHESES.items():
        text = wr.MarkdownPanel(markdown=words.claim(name, findings, partial=material.runs.partial))
        panels.place(text, f"workspace/{name}/words")
        title = f"{name.upper()}: {hypothesis.statement.rstrip('.')}"
        sections.append(_section(title, [text, *panels.drawn(hypothesis.panels, f"workspace/{name}")], name in asked))
    return sections


def _topics(material: Material) -> list[Any]:
    return [
        _section(title, panels.drawn(found, f"workspace/{title}"), opened=False)
        for title, found in panels.topics(material.metrics)
    ]


def _section(name: str, found: list[Any], opened: bool) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.Section(
        name=name,
        panels=found,
        is_open=opened,
        layout_settings=ws.SectionLayoutSettings(columns=3, rows=(len(found) + 2) // 3),
        panel_settings=ws.SectionPanelSettings(x_axis=EPOCH, smoothing_type="none"),
    )
