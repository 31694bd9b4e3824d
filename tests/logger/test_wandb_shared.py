"""What W&B gets only on request, sent by its own client to a server on loopback while a run is computed."""

import hashlib
import json
import os
import re
import subprocess
import sys
from base64 import b64encode

import pytest
from wandb_server import serving

SMALL = [
    *("arch=mlp", "arch.budget=1000", "training.epochs=1", "snapshot.epochs=[0]", "dataset.max_train=100"),
    *("dataset.max_test=20", "kernel.names=[ntk]", "measure.names=[]", "trainer.threads=1"),
    *("keep=[gram,checkpoint]", "logger.wandb.mode=online"),
]


@pytest.fixture(scope="module")
def sent(tmp_path_factory, program):
    """Runs the program against a server; returns the server and the folder of the run, once for each words."""
    made = {}

    def run(*words):
        if words not in made:
            folder = tmp_path_factory.mktemp("my secret place")
            environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
            with serving() as server:
                environment |= {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": server.address}
                environment |= {"WANDB_X_STATS_SAMPLING_INTERVAL": "0.2", "WANDB_DATA_DIR": str(folder / "data")}
                done = program(*SMALL, f"output_dir={folder}/runs", *words, cwd=folder, given=environment)
            assert done.returncode == 0, done.stderr
            assert server.unknown == []
            assert "W&B" not in done.stdout + done.stderr
            (run_dir,) = folder.glob("runs/default/mlp-*")
            made[words] = server, run_dir
        return made[words]

    return run


def streamed(server, file):
    return "".join(
        line for _, body in server.streams for line in body.get("files", {}).get(file, {}).get("content", [])
    )


def leaks(server):
    """What was sent around the name of the folder that the run is in."""
    return re.findall(rb".{0,120}secret place.{0,60}", server.sent)


def test_by_default_only_numbers_and_options_are_sent(sent):
    server, run_dir = sent()
    assert server.artifacts == {}
    assert streamed(server, "output.log") == ""
    assert {asked.get("host") for asked in server.runs} <= {"-", None}
    assert not any(asked.get("commit") or asked.get("repo") for asked in server.runs)
    assert not [path for path in server.uploads if path.endswith((".py", ".patch", ".txt", "metadata.json"))]
    assert leaks(server) == []
    name = f"default-{run_dir.name}"
    history = server.history(name)
    assert [line["epoch"] for line in history if "training/epoch_loss" in line] == [1]
    assert [line["epoch"] for line in history if "ntk/margin" in line or "ntk/svm_test_error" in line] == [0, 1]
    assert '"system.cpu"' in streamed(server, "wandb-events.jsonl")


def test_full_sends_code_git_log_and_files_without_local_paths(sent):
    server, run_dir = sent("logger.wandb.share=full")
    artifacts = list(server.artifacts.values())
    assert all(one["committed"] for one in artifacts)
    kinds = [one["artifactTypeName"] for one in artifacts]
    assert sorted(kinds) == sorted(["code", *2 * ["snapshot", "kernel", "evaluation"]])
    uploaded = {path.rpartition("/")[2]: body for path, body in server.uploads.items() if path.startswith("file/")}
    kept = [*run_dir.glob("snapshots/*.pt"), *run_dir.glob("kernels/step*.npy")]
    assert len(kept) == 6
    for path in kept:
        assert uploaded[path.name] == path.read_bytes()
    assert any(path.endswith("afterkernel/wandb/overview.py") for path in server.uploads)
    assert "snapshot saved" in streamed(server, "output.log")
    assert any(asked.get("commit") for asked in server.runs)
    assert leaks(server) == []
    records = [json.loads(body) for name, body in uploaded.items() if name.endswith(".json")]
    assert sorted(record["step"] for record in records) == [0, 4]
    assert "output_dir" not in records[0]["config"]


def test_the_metadata_of_artifacts_lead_from_the_evaluation_to_the_run(sent):
    server, run_dir = sent("logger.wandb.share=full")
    found = {}
    for one in server.artifacts.values():
        for alias in one["aliases"] or ():
            found[f"{one['artifactCollectionName']}:{alias['alias']}"] = one
    (kernel,) = json.loads(found[next(name for name in found if name.endswith("evaluation:step-4"))]["metadata"])[
        "made_from"
    ]
    (snapshot,) = json.loads(found[kernel]["metadata"])["made_from"]
    facts = json.loads(found[snapshot]["metadata"])
    assert (found[kernel]["artifactTypeName"], found[snapshot]["artifactTypeName"]) == ("kernel", "snapshot")
    assert (facts["run"], facts["step"], facts["made_from"]) == (run_dir.name, 4, [])
    assert found[snapshot]["runName"] == f"default-{run_dir.name}"


def test_references_are_paths_and_checksums_without_files(sent):
    server, run_dir = sent("logger.wandb.artifacts=reference")
    assert not [path for path in server.uploads if path.startswith("file/")]
    entries = {}
    for path, body in server.uploads.items():
        if path.startswith("manifest/"):
            entries |= json.loads(body)["contents"]
    for path in [*run_dir.glob("snapshots/*.pt"), *run_dir.glob("kernels/step*.npy")]:
        assert entries[path.name]["ref"] == path.as_uri()
        assert entries[path.name]["digest"] == b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
        assert entries[path.name]["size"] == path.stat().st_size


def test_files_that_wait_offline_are_uploaded_by_wandb_sync(program, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folder = tmp_path / "my secret place"
    folder.mkdir()

    def output(*words):
        done = program(*words, cwd=folder, given=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    output(*SMALL[:-1], "logger.wandb.share=full")
    with serving() as server:
        environment |= {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": server.address}
        assert output("wandb-sync", "runs").count(": uploaded") == 1
    (weights, _) = sorted(folder.glob("runs/default/*/snapshots/*.pt"))
    assert weights.read_bytes() in [body for path, body in server.uploads.items() if path.endswith(weights.name)]
    assert len(server.artifacts) == 7
    assert all(one["committed"] for one in server.artifacts.values())
    assert leaks(server) == []


@pytest.mark.parametrize("given", [None, "true"])
def test_wandb_reports_its_own_errors_only_where_the_user_says_so(given):
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_ERROR_REPORTING"}
    environment |= {} if given is None else {"WANDB_ERROR_REPORTING": given}
    for use in ("import afterkernel.wandb.run", "from afterkernel.wandb.account import server; server()"):
        code = f"{use}; import wandb.env; print(wandb.env.error_reporting_enabled())"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(given is not None)


def test_the_library_alone_leaves_the_environment_as_it_is():
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_ERROR_REPORTING"}
    code = "import os, afterkernel as ak; ak.ntk, ak.Recorder; print(os.environ.get('WANDB_ERROR_REPORTING'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
