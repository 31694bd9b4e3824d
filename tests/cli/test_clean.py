"""`clean`: what it lists, what it removes, and what it leaves alone."""

import re

import pytest
import yaml

from afterkernel.__main__ import main
from afterkernel.records import write_record
from afterkernel.runs.disk import KINDS
from afterkernel.runs.run_lock import run_lock

FILES = {
    "snapshots/step=0.pt": 5000,
    "snapshots/step=0.json": 10,
    "kernels/step=0.eval0.ntk.train.npy": 70000,
    "kernels/manifest.json": 20,
    "supports/step=0000.eval0.npz": 3000,
    "supports/step=0000.eval0.json": 30,
    "tiles/step=0/ntk/train.npy": 900,
    "training.ckpt": 800,
    "records/.1.eval0.1.json.abcd.tmp": 40,
    "wandb/offline-run-1-a/run-a.wandb": 600,
    "wandb/offline-run-1-a/run-a.wandb.synced": 0,
    "wandb/offline-run-2-a/run-a.wandb": 601,
    "replaced/1/snapshots/step=0.pt": 50,
    "run.log": 60,
}
FREE = {"tiles", "training.ckpt", "records/.1.eval0.1.json.abcd.tmp", "wandb/offline-run-1-a", ".results.cache"}


def make_run(path, make_record, *, done=True, keep=("checkpoint",)):
    for name, size in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(bytes(size))
    config = {"arch": {"name": "mlp"}, "training": {"epochs": 5, "lr": 0.1}, "seed": 0, "keep": list(keep)}
    (path / "config.yaml").write_text(yaml.safe_dump(config | {"snapshot": {"epochs": [0, 5]}}))
    for epoch in (0, 5) if done else (0,):
        write_record(path, make_record(run_id=path.name, epoch=epoch, final=epoch == 5), 1)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def sweep(tmp_path, make_record):
    make_run(tmp_path / "s" / "mlp-0", make_record)
    (tmp_path / "s" / ".results.cache").write_bytes(bytes(100))
    return tmp_path / "s"


def clean(capsys, *words):
    assert main(["clean", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_without_flags_it_lists_and_removes_nothing(sweep, capsys):
    before = files(sweep)
    out = clean(capsys, sweep)
    assert files(sweep) == before
    sizes = {match[1]: match[2] for match in re.finditer(r"^--(\w+) +\d+ +(\S+ \S+)  ", out, re.M)}
    assert sizes == {
        "snapshots": "4.88 KiB",
        "grams": "68.4 KiB",
        "samples": "2.93 KiB",
        "tiles": "900 B",
        "checkpoints": "800 B",
        "wandb": "600 B",
        "cache": "100 B",
        "drafts": "40 B",
    }
    assert "training again, for evaluate and verify, and for further kernels; these runs took " in out
    command = f"python -m afterkernel clean {sweep}"
    assert out.splitlines()[-3:] == [
        f"{command} --yes removes what costs nothing: 2.38 KiB",
        f"further kinds go by their flags, such as {command} --snapshots --yes",
        f"601 B of W&B files left alone: not uploaded; run python -m afterkernel wandb-sync {sweep} first, or "
        "delete them by hand",
    ]


def test_flags_without_yes_list_these_kinds_and_remove_nothing(sweep, capsys):
    before = files(sweep)
    out = clean(capsys, sweep, "--samples", "--snapshots")
    assert files(sweep) == before
    assert re.findall(r"^--(\w+)", out, re.M) == ["snapshots", "samples"]
    assert f"python -m afterkernel clean {sweep} --snapshots --samples --yes removes this: 7.81 KiB\n" in out
    assert "costs nothing" not in out


def test_yes_removes_what_costs_nothing(sweep, capsys):
    before = files(sweep)
    out = clean(capsys, sweep, "--yes")
    gone = before - files(sweep)
    assert all(
        any(f"{name}/".startswith(f"{free}/") for free in FREE)
        for name in (one[6:] if one.startswith("mlp-0/") else one for one in gone)
    )
    assert len(gone) == 6
    assert not (sweep / "mlp-0" / "tiles").exists()
    assert "removed 800 B of checkpoints (checkpoints of training); cost: nothing: training has ended" in out
    assert clean(capsys, sweep, "--yes").splitlines()[0] == "nothing to remove"


def test_a_flag_removes_its_kind_alone_and_never_records(sweep, capsys):
    before = files(sweep)
    clean(capsys, sweep, "--grams", "--snapshots", "--samples", "--yes")
    assert before - files(sweep) == {
        f"mlp-0/{name}"
        for name in FILES
        if (name.endswith((".npy", ".npz", "manifest.json")) and "tiles" not in name) or name == "snapshots/step=0.pt"
    }
    for kind in KINDS.values():
        if kind.cost:
            clean(capsys, sweep, f"--{kind.name}", "--yes")
    left = files(sweep / "mlp-0")
    assert {name for name in left if name.startswith("records/")} == {
        "records/0.eval0.1.json",
        "records/20.eval0.1.json",
    }
    assert "replaced/1/snapshots/step=0.pt" in left  # of a run that may not have finished


def test_a_run_at_work_and_one_that_is_not_finished_keep_everything(tmp_path, make_record, capsys):
    make_run(tmp_path / "a", make_record)
    make_run(tmp_path / "b", make_record, done=False)
    for run in "ab":
        for name in files(tmp_path / run):
            if name.endswith((".tmp", ".synced")):
                (tmp_path / run / name).unlink()
    before = files(tmp_path)
    with run_lock(tmp_path / "a"):
        out = clean(capsys, tmp_path, "--yes", "--grams", "--snapshots", "--samples")
        assert before <= files(tmp_path)
    assert out.splitlines()[:3] == [
        "nothing to remove",
        "1 run left alone: a process works on a",
        "1 run left alone: b is unfinished or damaged",
    ]


def test_weights_that_keep_does_not_name_cost_nothing(tmp_path, make_record, capsys):
    make_run(tmp_path / "a", make_record, keep=())
    assert "removed 4.88 KiB of unkept" in clean(capsys, tmp_path, "--yes")
    assert not (tmp_path / "a" / "snapshots" / "step=0.pt").exists()
    assert (tmp_path / "a" / "snapshots" / "step=0.json").exists()


def test_links_are_not_followed(tmp_path, make_record, capsys):
    make_run(tmp_path / "s" / "a", make_record)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.npy").write_bytes(b"mine")
    (tmp_path / "s" / "a" / "kernels" / "link").symlink_to(outside)
    clean(capsys, tmp_path / "s", "--grams", "--yes")
    assert (outside / "mine.npy").read_bytes() == b"mine"


def test_a_run_that_a_process_takes_meanwhile_is_left_alone(sweep, capsys, monkeypatch):
    from afterkernel.runs import cleanup

    monkeypatch.setattr(cleanup, "owner_of", lambda run_dir: None)  # it takes the lock after that look
    with run_lock(sweep / "mlp-0"):
        out = clean(capsys, sweep, "--grams", "--yes")
    assert "left alone, since another process works or has worked on mlp-0" in out
    assert (sweep / "mlp-0" / "kernels" / "manifest.json").exists()


def test_a_run_that_is_started_over_meanwhile_is_left_alone(sweep, capsys, monkeypatch):
    from afterkernel.runs import cleanup

    def started_over_and_interrupted(run_dir):
        for record in (run_dir / "records").glob("20.*"):
            record.unlink()
        return run_lock(run_dir)

    monkeypatch.setattr(cleanup, "run_lock", started_over_and_interrupted)
    before = files(sweep / "mlp-0" / "snapshots")
    out = clean(capsys, sweep, "--snapshots", "--yes")
    assert "left alone, since another process works or has worked on mlp-0" in out
    assert files(sweep / "mlp-0" / "snapshots") == before


def test_a_run_with_a_damaged_record_keeps_what_that_is_computed_from(sweep, make_record, capsys):
    write_record(sweep / "mlp-0", make_record(run_id="mlp-0", epoch=2), 1)  # of a loss, which no epoch names
    (damaged,) = (sweep / "mlp-0" / "records").glob("8.*")
    damaged.write_bytes(b"{")
    before = files(sweep / "mlp-0" / "snapshots")
    assert main(["clean", str(sweep), "--snapshots", "--samples", "--yes"]) == 3
    assert "mlp-0 is unfinished or damaged" in capsys.readouterr().out
    assert files(sweep / "mlp-0" / "snapshots") == before
