"""The workspace and the report as code, built without an account: what they show, of which runs, by which names."""

import dataclasses
import json

import pytest

from afterkernel.claims import CLAIMS
from afterkernel.config.public import public_command
from afterkernel.dashboard import panels
from afterkernel.dashboard import wandb_report as reports
from afterkernel.dashboard import workspace as workspaces
from afterkernel.dashboard.claim_text import claim_text, verdict
from afterkernel.dashboard.inputs import GROUPING, grouping, read
from afterkernel.report.page import write_report


@pytest.fixture(scope="module")
def inputs(swept):
    return read(swept.folder, None, None)


@pytest.fixture(scope="module")
def findings(inputs, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "index.html"
    return write_report(inputs.records, inputs.runs, page, "runs/tiny").findings


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("a server was asked")

    monkeypatch.setattr("wandb.Api", asked)


@pytest.fixture
def workspace(inputs, findings):
    return workspaces.spec(workspaces.workspace(inputs, findings, ""))


@pytest.fixture
def report(inputs, findings):
    return reports.spec(reports.wandb_report(inputs, findings, "", online=False))


def sections(workspace):
    return workspace["spec"]["section"]["panelBankConfig"]["sections"]


def grids(report):
    return [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]


def every_panel(workspace, report):
    found = [panel for section in sections(workspace) for panel in section["panels"]]
    return found + [panel for grid in grids(report) for panel in grid["panelBankSectionConfig"]["panels"]]


def runsets(workspace, report):
    return workspace["spec"]["section"]["runSets"] + [runset for grid in grids(report) for runset in grid["runSets"]]


def axes(panel):
    return [panel["config"][axis] for axis in ("xAxis", "yAxis", "zAxis") if axis in panel["config"]]


def metrics_of(panel):
    if panel["viewType"] == "Scatter Plot":
        return {axis.removeprefix("summary:") for axis in axes(panel) if axis.startswith("summary:")}
    return set(panel["config"].get("metrics", []))


def options_of(panel):
    """Names of options as W&B has them: the word `value` after the first part of a name."""
    found = [axis.removeprefix("config:") for axis in axes(panel) if axis.startswith("config:")]
    return {*found, *([panel["config"]["groupBy"]] if "groupBy" in panel["config"] else [])}


def test_a_section_for_every_claim_with_its_words_and_panels_then_the_topics(workspace, findings):
    first, *found = sections(workspace)
    assert (first["name"], first["isOpen"], len(first["panels"])) == ("At a glance", True, 10)
    assert first["panels"][1]["config"]["metrics"] == ["network/net_test_error"]
    assert [section["name"][:3] for section in found[:6]] == [f"{name.upper()}:" for name in CLAIMS]
    for section, (name, claim) in zip(found, CLAIMS.items(), strict=False):
        text, *drawn = section["panels"]
        shown = text["config"]["value"]
        assert claim.statement in shown
        assert claim.comparison in shown
        assert claim.rule in shown
        assert f"**Verdict: {verdict(name, findings)}" in shown
        assert [panel["config"]["chartTitle"] for panel in drawn] == [panel.heading for panel in claim.panels]
        assert section["isOpen"] == (name in ("c1", "c3", "c5"))
    assert verdict("c2", findings) == "not tested"
    assert verdict("c1", findings) == "undecided"
    assert [section["name"] for section in found[6:]] == [
        *(
            "Training",
            "Network",
            "Test errors",
            "Invariances",
            "Alignment",
            "Spectrum and effective rank",
            "Distance and velocity",
        ),
        *("Health of the SVMs", "Costs", "By layer"),
    ]


def test_panels_name_what_runs_log_and_all_of_it(workspace, report, swept):
    logged = {name for run in swept.mirrored for row in run.history for name in row if name[0] != "_"}
    logged = {name for name in logged if not name.startswith("at_a_glance/")}  # copies
    named = set().union(*map(metrics_of, every_panel(workspace, report)))
    assert {"ntk/swap_invariance", "ntk/alignment_with_conjugate", "network/train_loss"} <= named
    assert named <= logged
    in_topics = set().union(*(metrics_of(panel) for section in sections(workspace)[7:] for panel in section["panels"]))
    assert in_topics == logged - {"epoch"}


def test_options_that_group_and_filter_are_those_of_a_run(workspace, report, swept):
    named = set().union(*map(options_of, every_panel(workspace, report)))
    for runset in runsets(workspace, report):
        named |= {key["name"] for key in runset["grouping"]}
        named |= {one["key"]["name"] for one in runset["filters"]["filters"] if one["key"]["section"] == "config"}
    assert {"training.value.augment", "training.augment", "training.loss_target", "arch.value.name"} <= named
    for name in named:
        value = swept.mirrored[0].config
        for part in name.replace(".value", "", 1).split("."):
            assert part in value, name
            value = value[part]


def test_every_curve_is_against_epochs_over_seeds_and_shows_its_unit(workspace, report):
    curves = [panel for panel in every_panel(workspace, report) if panel["viewType"] == "Run History Line Plot"]
    assert len(curves) > 40
    for panel in curves:
        config = panel["config"]
        assert (config["xAxis"], config["groupAgg"], config["groupArea"]) == ("epoch", "mean", "stderr")
        assert config["smoothingType"] == "none"
        # A logarithmic axis would leave out epoch 0, the NTK.
        assert "xLogScale" not in config
        assert "groupBy" not in config
        if "yAxisTitle" in config:
            assert config["chartTitle"].endswith(f"({config['yAxisTitle']})")
    titles = {panel["config"]["chartTitle"]: panel["config"] for panel in curves}
    assert "yLogScale" in titles["Cross-entropy on the training set (nats)"]
    assert titles["Time of the SVM (s)"]["metrics"] == ["ntk/wall_s_svm", "conjugate/wall_s_svm"]
    assert titles["Leading eigenvalues of K / n: ntk"]["metrics"] == [f"ntk/eigenvalue_{n}" for n in range(1, 11)]
    assert titles["Invariance under a shift by N pixels: ntk (mean cosine in [-1, 1])"]["metrics"] == [
        "ntk/shift_2px_invariance"
    ]
    points = next(panel["config"] for panel in every_panel(workspace, report) if panel["viewType"] == "Scatter Plot")
    assert points["zAxis"] if "lr" in points["xAxis"] else points["xAxis"] == "summary:ntk/svm_test_error"
    settings = workspace["spec"]["section"]["settings"]
    assert (settings["xAxis"], settings["useRunsTableGroupingInPanels"]) == ("epoch", True)
    assert settings["maxRuns"] == panels.MOST_LINES


def conditions(runset):
    return {one["key"]["name"]: one["value"] for one in runset["filters"]["filters"]}


def test_only_the_jobs_of_the_sweep_are_shown_one_line_a_group_of_seeds(workspace, report, inputs):
    (runset,) = workspace["spec"]["section"]["runSets"]
    assert conditions(runset) == {"group": "tiny", "jobType": "run"}
    assert inputs.grouping == GROUPING
    grouped = [key["name"] for key in runset["grouping"]]
    assert grouped == [name.replace(".", ".value.", 1) for name in GROUPING]
    assert "seed.value" not in grouped
    of_runs = [grid["runSets"][0] for grid in grids(report) if conditions(grid["runSets"][0])["jobType"] == "run"]
    plain = {"group": "tiny", "jobType": "run", "training.augment": "none"}
    at_loss = plain | {"training.loss_target": 0.0}
    bare = {"group": "tiny", "jobType": "run"}
    assert [conditions(one) for one in of_runs] == [plain, plain, bare, plain, at_loss, at_loss]
    assert all([key["name"] for key in one["grouping"]] == grouped for one in of_runs)
    of_report = [grid for grid in grids(report) if conditions(grid["runSets"][0])["jobType"] == "report"]
    shown = [grid["panelBankSectionConfig"]["panels"][0]["config"]["mediaKeys"] for grid in of_report]
    assert shown == [["figures/claim_c1"], ["figures/claim_c3"]]


def test_other_options_that_vary_separate_groups(inputs):
    records = [
        dataclasses.replace(one, config={**one.config, "svm": {**one.config["svm"], "tol": 10.0**-index}})
        for index, one in enumerate(inputs.records)
    ]
    assert grouping(records) == (*GROUPING, "svm.tol")


def test_labels_of_image_folders_separate_groups(inputs):
    records = [
        dataclasses.replace(one, config={**one.config, "dataset": {**one.config["dataset"], "label": "scans"}})
        for one in inputs.records
    ]
    assert grouping(records) == (GROUPING[0], "dataset.label", *GROUPING[1:])


def test_two_builds_are_the_same_and_ids_are_unique(workspace, report, inputs, findings):
    again = workspaces.spec(workspaces.workspace(inputs, findings, ""))
    assert json.dumps(again) == json.dumps(workspace)
    assert json.dumps(reports.spec(reports.wandb_report(inputs, findings, "", online=False))) == json.dumps(report)
    ids = [panel["__id__"] for panel in every_panel(workspace, report)]
    assert len(ids) == len(set(ids))
    assert all(ids)
    names = [runset["id"] for runset in runsets(workspace, report)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["a=b", "lr=0.1+seed", "x.y-z_1"])
def test_a_sweep_is_filtered_by_its_very_name(name, inputs, findings):
    other = dataclasses.replace(inputs, sweep=name)
    workspace = workspaces.spec(workspaces.workspace(other, findings, ""))
    assert conditions(workspace["spec"]["section"]["runSets"][0]) == {"group": name, "jobType": "run"}


def test_the_report_has_the_texts_of_the_page_and_how_to_reproduce_it(report, findings, swept):
    blocks = report["spec"]["blocks"]
    text = "\n".join(block.get("content", "") for block in blocks)
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == [*(f"{n.upper()}: {verdict(n, findings)}" for n in CLAIMS), "To reproduce"]
    for claim in CLAIMS.values():
        assert all(part in text for part in (claim.statement, claim.comparison, claim.rule))
    c1 = next(one for one in findings if one.claim.name == "c1")
    assert f"{c1.verdict}. {c1.reason}." in text
    assert "output_dir=PATH" in text
    assert "python -m afterkernel dashboard runs/tiny" in text
    assert "python -m afterkernel --multirun arch=mlp training=sgd,sgd_rotation_shift" in text
    assert str(swept.folder.parent) not in json.dumps(report)
    assert report["description"] == "4 of 4 runs of the sweep tiny are done."


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            "python -m afterkernel seed=1 output_dir=/a b/c arch=vgg",
            "python -m afterkernel seed=1 output_dir=PATH arch=vgg",
        ),
        ("afterkernel dataset.root=~/x y --multirun seed=0,1", "afterkernel dataset.root=PATH --multirun seed=0,1"),
        (["python", "+svm.library=/l.so"], "python +svm.library=PATH"),
        ("python /home/me/run.py snapshot.epochs=[0,1]", "python run.py snapshot.epochs=[0,1]"),
    ],
)
def test_a_command_is_shown_without_paths(given, shown):
    assert public_command(given) == shown


def test_verdicts_of_a_partial_sweep_are_provisional(inputs, findings):
    confirmed = [dataclasses.replace(findings[0], verdict="confirmed"), *findings[1:]]
    assert "**Verdict: confirmed (provisional). " in claim_text("c1", confirmed, partial=True)
    assert "**Verdict: confirmed. " in claim_text("c1", confirmed, partial=False)
    assert "**Verdict: not tested by this sweep.**" in claim_text("c2", confirmed, partial=True)
    begun = dataclasses.replace(inputs.runs.runs[0], done=False, failure="killed by signal 9")
    partial = dataclasses.replace(inputs, runs=dataclasses.replace(inputs.runs, runs=[begun, *inputs.runs.runs[1:]]))
    report = reports.spec(reports.wandb_report(partial, confirmed, "", online=False))
    assert report["description"] == "3 of 4 runs of the sweep tiny are done (1 failed): a partial report."
