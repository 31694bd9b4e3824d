"""launcher=ray, really run: on a cluster that runs already, and on one that the launcher starts."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import standin

from afterkernel.errors import UserError
from afterkernel.launchers.ray import RayLauncher


@pytest.fixture
def address():
    return os.environ["AFTERKERNEL_TEST_RAY"]


def connectable(address):
    host, port = address.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    return True


@pytest.mark.ray
@pytest.mark.parametrize("where", ["existing", "local"])
def test_a_job_that_dies_is_one_failed_run_and_the_others_continue(
    stand_in, make_jobs, recorder, folder, address, where, monkeypatch
):
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    events = recorder()
    jobs = make_jobs(
        a={}, b={"act": "kill"}, c={"act": "exit"}, d={"act": "raise"}, e={"act": "fail"}, f={"act": "unreadable"}, g={}
    )
    launcher = RayLauncher(address=address if where == "existing" else "local", cpus=1, poll_s=0.2)
    launcher.check()
    launcher.launch(jobs, events, standin.execute)
    assert events.states == {"a": "finished", "g": "finished"} | dict.fromkeys("bcdef", "failed")
    sentences = {name: outcome.message for name, outcome in events.outcomes.items()}
    for name in "bcf":
        assert "its process died" in sentences[name]
    assert "OSError: no space left" in sentences["d"]
    assert sentences["e"] == "ValueError: on purpose"
    assert sentences["a"].startswith("1|")
    assert sentences["a"].endswith("|someone")
    assert where == "local" or Path(sentences["b"].partition("; see ")[2]).is_dir()
    assert sorted(path.name for path in folder.iterdir()) == list("abcdefg")
    assert connectable(address)  # a cluster that the launcher did not start keeps running


@pytest.mark.ray
def test_a_job_whose_process_died_is_begun_again_as_often_as_it_may(stand_in, make_jobs, recorder, folder, address):
    events = recorder()
    jobs = make_jobs(a={"act": "kill", "times": 1}, b={"act": "kill", "times": 9})
    RayLauncher(address=address, retries=1, poll_s=0.2).launch(jobs, events, standin.execute)
    assert events.states == {"a": "finished", "b": "failed"}
    assert len(list((folder / "b").glob("begun.*"))) == 2


@pytest.mark.ray
def test_no_job_begins_after_a_stop_and_running_jobs_end(stand_in, make_jobs, recorder, folder, address):
    events = recorder(stop_after=1)
    both = {"a": {"act": "await", "other": "b"}, "b": {"act": "await", "other": "a", "then_s": 5.0}}
    jobs = make_jobs(**both, **{name: {} for name in "cdefgh"})
    RayLauncher(address=address, jobs=2, poll_s=0.1).launch(jobs, events, standin.execute)
    assert set(events.outcomes) == {"a", "b"}
    assert not (folder / "c").exists()


@pytest.mark.ray
def test_ctrl_c_stops_what_runs_and_passes_on(stand_in, make_jobs, recorder, folder, address):
    def interrupt():
        while not all((folder / name / "begun.0").exists() for name in "ab"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    events = recorder()
    jobs = make_jobs(a={"act": "sleep", "sleep_s": 600}, b={"act": "deaf", "sleep_s": 600}, c={})
    with pytest.raises(KeyboardInterrupt):
        RayLauncher(address=address, jobs=2, poll_s=0.1).launch(jobs, events, standin.execute)
    thread.join()
    assert events.outcomes == {}
    assert not (folder / "c").exists()
    assert (folder / "a" / "stopped").exists()
    process = (folder / "b" / "begun.0").read_text().split()[0]
    deadline = time.monotonic() + 300
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.ray
def test_resources_that_no_node_has_are_refused_in_one_sentence(make_jobs, recorder, address):
    with pytest.raises(UserError, match=r"launcher.cpus=64, .* the largest node has 2 CPUs"):
        RayLauncher(address=address, cpus=64).launch(make_jobs(a={}), recorder(), standin.execute)
    with pytest.raises(UserError, match=r"launcher.gpus=1"):
        RayLauncher(address=address, gpus=1).launch(make_jobs(a={}), recorder(), standin.execute)


@pytest.mark.ray
def test_a_cluster_that_requires_a_token_is_reported(address, tmp_path):
    # Ray reads its token once per process.
    script = (
        "from afterkernel.launchers.ray import RayLauncher; from afterkernel.launchers.job import Job\n"
        f"RayLauncher(address='{address}').launch([Job('a', {{}}, '{tmp_path}/s/a', '{tmp_path}')], print, print)"
    )
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run([sys.executable, "-c", script], env=without, capture_output=True, text=True, check=False)
    assert "UserError: launcher=ray: the cluster at" in done.stderr
    assert "requires a token; set RAY_AUTH_MODE=token" in done.stderr


def test_no_jobs_do_nothing(recorder, folder):
    RayLauncher().launch([], recorder(), standin.execute)
    assert not folder.exists()


def test_an_address_where_nothing_answers_is_refused_at_once(monkeypatch, importable):
    importable("ray")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"launcher.address={address}: no Ray cluster answers"):
        RayLauncher(address=address).check()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS={address}: no Ray cluster answers"):
        RayLauncher().check()
    with pytest.raises(UserError, match=r"launcher.address=ray://head:10001: write HOST:PORT"):
        RayLauncher(address="ray://head:10001").check()


def test_a_variable_that_is_not_set_is_refused(monkeypatch, importable):
    importable("ray")
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(UserError, match=r"launcher.env=\[NOT_SET\]"):
        RayLauncher(env=["NOT_SET"]).check()


def test_a_missing_ray_is_reported_with_what_to_install():
    with pytest.raises(UserError, match=r"pip install 'afterkernel\[ray\]'"):
        RayLauncher().check()
