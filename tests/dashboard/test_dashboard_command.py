"""The command itself: files on disk, the W&B run that holds the report, and both on a server."""

import json
import os
import shutil

import pandas as pd
import pytest
import wandb_offline
from wandb_server import serving

from afterkernel.__main__ import main
from afterkernel.cli import dashboard as cli
from afterkernel.cli import wandb_sync as sync
from afterkernel.dashboard import report_run
from afterkernel.records import read_records, results, write_record
from afterkernel.records.exported import export
from afterkernel.records.files import CONFIG
from afterkernel.report.output import ReportFiles
from afterkernel.report.page import WrittenReport
from afterkernel.wandb.describe import notes, tags


@pytest.fixture(scope="module")
def built(swept, tmp_path_factory):
    """The dashboard of a copy of the sweep, by the real command."""
    folder = tmp_path_factory.mktemp("built") / "tiny"
    shutil.copytree(swept.folder, folder)
    assert main(["dashboard", str(folder)]) == 0
    return folder / "dashboard"


@pytest.fixture(scope="module")
def run(built):
    (found,) = built.glob("wandb/offline-run-*")
    return found, wandb_offline.finished(found)


def test_a_file_of_records_has_the_same_dashboard_next_to_it(swept, built, tmp_path):
    export(read_records(swept.folder), tmp_path / "all.parquet")
    assert main(["dashboard", str(tmp_path / "all.parquet")]) == 0
    for name in ("workspace.json", "report.json"):
        assert (tmp_path / "all-dashboard" / name).read_text().count("svm_test_error") == (
            (built / name).read_text().count("svm_test_error")
        )
    assert json.loads((tmp_path / "all-dashboard" / "workspace.json").read_text())["project"] == "afterkernel"


def logged(run, key):
    """The file that was logged by a name."""
    folder, sent = run
    return folder / "files" / sent.history[0][f"{key}/path"]


def test_specs_are_written_and_name_no_account(built):
    for name in ("workspace", "report"):
        spec = json.loads((built / f"{name}.json").read_text())
        assert (spec["project"], spec["entity"]) == ("afterkernel", None)
        assert str(built.parent) not in json.dumps(spec)
    assert not (built / "saved.json").exists()


def test_one_wandb_run_a_sweep_holds_the_report(built, run):
    folder, sent = run
    assert (sent.run.run_id, sent.run.job_type, sent.run.run_group) == ("tiny-report", "report", "tiny")
    assert list(sent.run.tags) == ["C1", "C3", "C5"]
    assert sent.exit_codes == [0]
    assert len(sent.history) == 1
    # wandb-sync takes it with the rest.
    assert [folder] in sync.offline_runs(built.parent)


def test_its_summary_and_table_have_the_verdicts_of_the_page(built, run):
    _, sent = run
    page = (built / "report" / "index.html").read_text()
    names = [name for name in sent.summary if name.endswith("/verdict")]
    assert sorted(names) == ["claim/c1/verdict", "claim/c3/verdict", "claim/c5/verdict"]
    for name in names:
        claim = name.split("/")[1]
        card = page.split(f'id="verdict-{claim}"')[1].split("</h3>")[0]
        assert f">{sent.summary[name]}<" in card
    rows = pd.read_csv(built / "report" / "tables" / "claim_c1.csv")
    assert len(rows) == 1
    c1 = {name.rsplit("/", 1)[1]: value for name, value in sent.summary.items() if name.startswith("claim/c1/")}
    assert c1 == {
        "verdict": "undecided",
        "part": "SVM test error",
        "unit": "percentage points",
        "effect": pytest.approx(rows["effect"][0], abs=1e-12),
        "interval_low": pytest.approx(rows["student95_low"][0]),
        "interval_high": pytest.approx(rows["student95_high"][0]),
        "n": 2,
    }
    table = json.loads(logged(run, "verdicts").read_text())
    verdicts = pd.DataFrame(table["data"], columns=table["columns"])
    assert verdicts.groupby("claim")["verdict"].first().to_dict() == {
        "c1": "undecided",
        "c3": sent.summary["claim/c3/verdict"],
        "c5": "not measured",
    }
    assert len(verdicts[verdicts["claim"] == "c3"]) == 6


def test_figures_tables_and_the_page_are_in_it_unrounded(built, run):
    _, sent = run
    keys = {name.rsplit("/", 1)[0] for name in sent.history[0] if name.endswith("/path")}
    report = built / "report"
    assert {f"figures/{file.stem}" for file in report.glob("figures/*.png")} <= keys
    for file in report.glob("figures/*.png"):
        assert logged(run, f"figures/{file.stem}").read_bytes() == file.read_bytes()
        assert sent.history[0][f"figures/{file.stem}/caption"]
    assert {f"tables/{file.stem}" for file in report.glob("tables/*.csv")} <= keys
    table = json.loads(logged(run, "tables/results").read_text())
    frame = pd.DataFrame(table["data"], columns=table["columns"])
    expected = results(built.parent)
    assert len(frame) == len(expected) == 24
    for name in ("svm_test_error", "swap_invariance", "gap"):
        assert sorted(frame[name].dropna()) == sorted(expected[name].dropna())
    assert logged(run, "page").read_text() == (report / "index.html").read_text()


def test_nothing_of_it_names_a_local_path(built, run, swept):
    folder, _ = run
    for file in [*folder.glob("files/media/**/*"), *built.glob("*.json"), built / "report" / "index.html"]:
        if file.is_file():
            content = file.read_bytes()
            for local in (built.parent.parent, swept.folder.parent):
                assert str(local).encode() not in content, file
            assert b"some place" not in content, file


def test_a_run_opened_alone_makes_sense(swept):
    for sent in swept.mirrored:
        assert sent.run.job_type == "run"
        assert list(sent.run.tags) == ["digits 3/8", "mlp", "C1", "C3", "C5"]
        assert sent.run.notes.startswith("arch=mlp on digits, 3 against 8; learning rate 0.1, seed")
        assert "All metrics are against `epoch`; 0 is the initialisation." in sent.run.notes
        assert "docs/definitions.md" in sent.run.notes
        assert len(sent.run.notes) < 1000
        assert next(name for name in sent.metrics if name != "epoch") == "at_a_glance/01_training_batch_loss"


def test_notes_and_tags_of_any_configuration():
    assert tags({"dataset": {"name": "folder", "minus": "a" * 80, "plus": "b"}, "arch": {"name": "vgg"}}) == [
        f"folder {'a' * 57}",
        "vgg",
    ]
    assert tags({"dataset": {"name": "folder", "label": "scans", "minus": "a", "plus": "b"}}) == ["scans a/b"]
    assert notes({"dataset": {"name": "folder", "label": "scans"}}).startswith("arch=None on scans, ")
    assert notes({}).startswith("arch=None on ")
    several = {"dataset": {"name": "mnist", "minus": "", "plus": "", "classes": ["7", "0", "4"]}}
    assert tags(several) == ["mnist 3 classes"]
    assert "arch=None on mnist, 3 classes (7, 0, 4); " in notes(several)


def damaged(folder, **changes):
    """A copy of one run whose configuration differs in the W&B options."""
    import dataclasses

    source = next(path.parents[1] for path in folder.glob("*/records/*.json"))
    other = folder / "another"
    other.mkdir()
    shutil.copy(source / CONFIG, other / CONFIG)
    for record in read_records(source):
        config = {**record.config, "logger": {"wandb": {**record.config["logger"]["wandb"], **changes}}}
        write_record(other, dataclasses.replace(record, run_id="another", config=config), 1)


def test_runs_of_two_projects_need_a_choice_and_what_was_built_is_replaced(built, tmp_path, capsys):
    folder = tmp_path / "tiny"
    shutil.copytree(built.parent, folder)
    before = list(folder.glob("dashboard/wandb/offline-run-*"))
    damaged(folder, project="elsewhere", mode="disabled")
    assert main(["dashboard", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"afterkernel: the runs of {folder} name several W&B projects (afterkernel, elsewhere): choose one with "
        "--project.\n"
    )
    assert list(folder.glob("dashboard/wandb/offline-run-*")) == before
    assert main(["dashboard", str(folder), "--project=mine", "--entity=us"]) == 0
    out, err = capsys.readouterr()
    assert [line.rsplit("/", 1)[1] for line in out.splitlines()[:2]] == ["workspace.json", "report.json"]
    assert err == "afterkernel: 1 run had logger.wandb.mode=disabled: the dashboard's panels lack them.\n"
    spec = json.loads((folder / "dashboard" / "workspace.json").read_text())
    assert (spec["entity"], spec["project"]) == ("us", "mine")
    (log,) = folder.glob("dashboard/wandb/offline-run-*")
    assert log not in before
    sent = wandb_offline.finished(log)
    assert (sent.run.entity, sent.run.project) == ("us", "mine")


@pytest.fixture
def undrawn(swept, tmp_path, monkeypatch):
    """A copy of the sweep whose report is a bare page."""
    folder = tmp_path / "tiny"
    shutil.copytree(swept.folder, folder)

    def write_report(records, known, page, directory):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<html></html>")
        return WrittenReport(page, [], ReportFiles(page.parent))

    monkeypatch.setattr(cli, "write_report", write_report)
    return folder


def test_a_wandb_that_fails_is_one_sentence(undrawn, capfd, monkeypatch):
    def fail(made):
        raise ValueError("no such thing")

    monkeypatch.setattr(report_run, "_content", fail)
    assert main(["dashboard", str(undrawn)]) == 2
    err = capfd.readouterr().err
    assert err == "afterkernel: W&B did not accept the report's figures and tables (no such thing).\n"


def test_an_upload_that_fails_is_one_sentence_and_leaves_what_is_built(undrawn, capfd, monkeypatch):
    monkeypatch.setattr(cli, "check_server", lambda command: None)
    monkeypatch.setattr(sync, "upload", lambda run: "permission denied")
    assert main(["dashboard", str(undrawn), "--upload", "--entity=us"]) == 2
    (run,) = undrawn.glob("dashboard/wandb/offline-run-*")
    err = capfd.readouterr().err
    assert err == f"afterkernel: {run} is not uploaded (permission denied): dashboard --upload tries again.\n"
    monkeypatch.setattr(sync, "upload", lambda run: None)

    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", fail)
    assert main(["dashboard", str(undrawn), "--upload", "--entity=us"]) == 2
    assert "W&B did not accept the dashboard (no route); its files are on disk.\n" in capfd.readouterr().err
    assert (undrawn / "dashboard" / "workspace.json").is_file()


def upload(program, folder, server):
    environment = os.environ | {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": "a" * 40}
    environment.pop("WANDB_SERVICE", None)
    return program("dashboard", folder, "--upload", cwd=folder.parent, given=environment)


def test_views_are_saved_once_and_updated_from_there_on(program, swept, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(swept.folder, folder)
    with serving() as server:
        done = upload(program, folder, server)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"afterkernel: 4 W&B runs are not uploaded: wandb-sync {folder} uploads them.\n"
        urls = done.stdout.splitlines()[-2:]
        assert urls[0].startswith(f"{server.address}/me/afterkernel?nw=")
        assert urls[1].startswith(f"{server.address}/me/afterkernel/reports/After-kernels:-tiny--")
        kept = json.loads((folder / "dashboard" / "saved.json").read_text())
        assert kept == {"me/afterkernel": {"workspace": urls[0], "report": urls[1]}}
        workspace, report = server.views.values()
        assert (workspace["type"], report["type"]) == ("project-view", "runs")
        written = json.loads((folder / "dashboard" / "workspace.json").read_text())["spec"]
        assert json.loads(workspace["spec"]) == written
        grids = [block["metadata"] for block in json.loads(report["spec"])["blocks"] if block["type"] == "panel-grid"]
        projects = [runset["project"] for grid in grids for runset in grid["runSets"]]
        assert {(one["entityName"], one["name"], one["id"]) for one in projects} == {("me", "afterkernel", "7")}
        assert server.exit_codes("tiny-report") == [0]
        assert {asked["jobType"] for asked in server.runs if asked.get("jobType")} == {"report"}
        assert str(folder).encode() not in server.sent

        # The deleted view is created again; the other one is updated.
        del server.views[report["id"]]
        server.views[workspace["id"]]["displayName"] = "changed by hand"
        done = upload(program, folder, server)
        assert done.returncode == 0, done.stderr
        assert {view["displayName"] for view in server.views.values()} == {"afterkernel: tiny", "After kernels: tiny"}
        assert len(server.views) == 2
        assert done.stdout.splitlines()[-2] == urls[0]
        # The upload leaves files of W&B, which are not runs.
        assert "4 of 4 runs" in json.loads((folder / "dashboard" / "report.json").read_text())["description"]
        assert server.unknown == []
