"""`wandb-sync`: what is sent to a server on loopback, in which order, and the messages for failures."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import logger_records
import pytest
import test_wandb_run as runs_of
from wandb_server import serving

from afterkernel.__main__ import main
from afterkernel.cli import wandb_sync as sync
from afterkernel.wandb import account as accounts


@pytest.fixture
def account(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)


def at(monkeypatch, address):
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setattr(accounts, "server", lambda: address)


@pytest.fixture
def resumed(tmp_path):
    """A run that was interrupted after two of its snapshots, and then resumed to its end."""
    run_dir = tmp_path / "runs" / "tiny" / "one"
    run_dir.mkdir(parents=True)
    config = runs_of.configured(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        runs_of.broken_off(config, run_dir, KeyboardInterrupt(), epochs=2)
    with runs_of.mirrored(config, run_dir) as loggers:
        for epoch in range(3):
            loggers.log_record(logger_records.record(epoch, final=epoch == 2), 1.0)
    return SimpleNamespace(runs=tmp_path / "runs", id=f"tiny-{config.identity.run_id}")


def test_a_resumed_run_arrives_once_and_whole(resumed, account, monkeypatch, capsys):
    with serving() as server:
        at(monkeypatch, server.address)
        assert main(["wandb-sync", str(resumed.runs)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.endswith(": uploaded") for line in lines] == [True, True]
        assert {asked["name"] for asked in server.runs} == {resumed.id}
        assert [asked["groupName"] for asked in server.runs if asked["groupName"]] == ["tiny", "tiny"]
        assert [line["epoch"] for line in server.history(resumed.id)] == [0, 1, 2]
        assert server.exit_codes(resumed.id) == [1, 0]
        summary = server.summary(resumed.id)
        assert (summary["epoch"], summary["state"], summary["ntk/svm_test_error"]) == (2, "finished", 0.5 / 3)
        assert str(resumed.runs).encode() not in server.sent
        server.streams.clear()
        assert main(["wandb-sync", str(resumed.runs)]) == 0
        assert "nothing to upload: all 2 W&B runs are synced" in capsys.readouterr().out
        assert server.streams == []


def test_a_refusal_fails_and_leaves_the_rest_waiting(resumed, account, monkeypatch, capsys):
    with serving(refuse=True) as server:
        at(monkeypatch, server.address)
        assert main(["wandb-sync", str(resumed.runs)]) == 1
    out, err = capsys.readouterr()
    assert out.count("NOT uploaded: W&B gives no reason; is the API key valid") == 1
    assert out.count("\n") == 1
    assert err == "afterkernel: 1 of 1 run not uploaded; wandb-sync tries again.\n"


def fake(folders, name):
    folder = folders / name
    folder.mkdir(parents=True)
    (folder / f"run-{name.split('-')[3]}.wandb").touch()
    return folder


def test_the_order_of_folders_and_what_waits(tmp_path, account, monkeypatch, capsys):
    monkeypatch.setattr(sync, "check_server", lambda command: None)
    first = [fake(tmp_path / "a" / "wandb", f"offline-run-20260101_00000{i}-x") for i in (1, 2)]
    others = [fake(tmp_path / "b" / "wandb", f"offline-run-20260101_000001-y{end}") for end in ("", "-1", "-2", "-10")]
    (others[1] / "run-y.wandb.synced").touch()
    calls = []

    def wandb(command, **options):
        calls.append(command)
        if "-x" in command[-1]:
            return SimpleNamespace(stdout="", stderr="wandb: ERROR permission denied\n", returncode=0)
        (sync.Path(command[-1]) / "run-y.wandb.synced").touch()
        return SimpleNamespace(stdout="", stderr="", returncode=0)

    monkeypatch.setattr(subprocess, "run", wandb)
    monkeypatch.chdir(tmp_path)
    assert main(["wandb-sync", "."]) == 1
    # The second of x waits for the first; y's first was overtaken by its second, which is synced.
    wanted = [first[0], *others[2:]]
    assert calls == [[sys.executable, "-m", "wandb", "sync", str(folder)] for folder in wanted]
    assert "_000001-x: NOT uploaded: ERROR permission denied" in capsys.readouterr().out


def test_no_account_no_network_no_runs(resumed, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert main(["wandb-sync", str(resumed.runs)]) == 2
    assert "no W&B account is known here: run `wandb login`" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        at(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert main(["wandb-sync", str(resumed.runs)]) == 2
    assert "can't be reached ([Errno 111] Connection refused): run wandb-sync where" in capsys.readouterr().err
    assert main(["wandb-sync", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["wandb-sync", str(tmp_path / "empty")]) == 2
    assert "holds no offline W&B run" in capsys.readouterr().err
