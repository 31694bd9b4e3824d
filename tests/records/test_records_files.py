import os
from pathlib import Path

import pytest

from afterkernel.errors import UserError
from afterkernel.records import run_directory, write_atomic, write_record
from afterkernel.records.store import find_runs


def test_text_is_written_as_it_is_into_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "note.txt"
    write_atomic(path, "é\r\n")
    assert path.read_bytes() == "é\r\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "note.txt"
    write_atomic(path, "old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_the_name_never_holds_a_part(tmp_path, monkeypatch):
    path, seen = tmp_path / "note.txt", []
    write_atomic(path, "old")
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(path.read_text()), real(fd)))
    write_atomic(path, "new")
    assert seen[0] == "old"
    assert path.read_text() == "new"


def test_others_may_read_what_is_written(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_bytes(b"")
    write_atomic(ours, b"")
    assert ours.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a b"])
def test_names_that_leave_the_folder_are_refused(tmp_path, make_record, name):
    with pytest.raises(UserError, match="can't name a file"):
        run_directory(tmp_path, "demo", name)
    with pytest.raises(UserError, match="can't name a file"):
        write_record(tmp_path, make_record(evaluation_id=name), 1)


def test_runs_are_found_below_a_run_a_sweep_and_all_sweeps(tmp_path, make_record):
    run = run_directory(tmp_path, "demo", "run0")
    write_record(run, make_record(), 1)
    (run / "records" / ".20.eval0.2.json.ab.tmp").write_text("half")
    write_record(run / "backup", make_record(), 1)
    write_record(tmp_path / ".trash" / "run1", make_record(), 1)
    for directory in (run, run.parent, tmp_path):
        (found,) = find_runs(directory)
        assert found.path == run
        assert [file.name for file in found.files] == ["20.eval0.1.json"]


def test_a_directory_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is not a directory"):
        find_runs(tmp_path / "nowhere")
