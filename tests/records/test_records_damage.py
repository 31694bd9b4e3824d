"""Every kind of damage to one record: every reader names and skips it, and everything else works."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from afterkernel.__main__ import main
from afterkernel.config import config_to_dict
from afterkernel.config.schema import Config
from afterkernel.errors import UserError
from afterkernel.records import SkippedWarning, read_records, read_run, results, sql, write_record
from afterkernel.records.document import RecordError, decode, encode, seal
from afterkernel.report import page
from afterkernel.report.output import ReportFiles

# As an earlier version wrote it: without kernel_error, warnings, measures and other optional fields.
OLDER = Path(__file__).with_name("older") / "20.eval0.1.json"


def test_every_bit_that_flips_and_every_truncation_is_seen(make_record):
    data = encode(make_record(), 1)
    assert decode(data) == make_record()
    for place in range(len(data)):
        for bit in range(8):
            with pytest.raises(RecordError, match="truncated or was altered"):
                decode(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        with pytest.raises(RecordError, match="truncated or was altered"):
            decode(data[:place])
    for added in (data + b"\n", data + data, b" " + data, data.replace(b"{", b"{ ", 1)):
        with pytest.raises(RecordError, match="truncated or was altered"):
            decode(added)


def resealed(data, **changes):
    """The document with other content, whole as the program that wrote it would leave it; None removes a key."""
    tree = json.loads(data) | changes
    tree = {name: value for name, value in tree.items() if name != "sha256" and value is not None}
    return seal(json.dumps(tree, separators=(",", ":")).encode()[:-1])


DAMAGE = {
    "empty": (lambda data: b"", "truncated or was altered"),
    "cut short": (lambda data: data[:-1], "truncated or was altered"),
    "another program's": (lambda data: b"PAR1, they say", "truncated or was altered"),
    "a later version": (lambda data: resealed(data, schema_version=9), "has schema_version 9, and this afterkernel"),
    "a later version with other fields": (lambda data: resealed(data, schema_version=9, seed="x"), "schema_version 9"),
    "no version of ours": (lambda data: resealed(data, schema_version="new"), "has schema_version new"),
    "a required field missing": (lambda data: resealed(data, train_loss=None), "lacks train_loss, which every"),
    "another type": (lambda data: resealed(data, seed="1"), "can't be read as a record: seed"),
    "a huge integer": (lambda data: resealed(data, seed=2**63), "can't be read as a record: seed"),
    "no mapping": (lambda data: seal(b'{"schema_version":3'), "lacks run_id"),
    "no kernel": (lambda data: resealed(data, kernels=[]), "has the kernels none"),
    "renamed": (lambda data: resealed(data, number=7), "was renamed: its content is that of 20.eval0.7.json"),
    "without a number": (lambda data: resealed(data, number=None), "was renamed"),
    "of another step": (lambda data: resealed(data, step=3), "was renamed"),
}


@pytest.fixture
def folder(tmp_path, make_record):
    """Two runs of two records each, of which tests damage 20.eval0.1 of run0."""
    for name in ("run0", "run1"):
        for epoch in (0, 5):
            write_record(tmp_path / name, make_record(("ntk", "conjugate"), run_id=name, epoch=epoch), 1)
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_named_and_skipped_by_every_reader(folder, kind):
    damage, expected_message = DAMAGE[kind]
    path = folder / "run0" / "records" / "20.eval0.1.json"
    path.write_bytes(damage(path.read_bytes()))
    data = path.read_bytes()
    readers = [
        (3, lambda: len(read_records(folder))),
        (6, lambda: len(results(folder))),
        (6, lambda: sql(folder, "select count(*) as n from results")["n"].item()),
        (1, lambda: len(read_run(folder / "run0"))),
    ]
    for expected, read in readers:
        with pytest.warns(SkippedWarning) as warned:
            assert read() == expected
        assert {str(one.message).partition(" ")[0] for one in warned} == {str(path)}
        assert expected_message in str(warned[0].message)
    assert path.read_bytes() == data


@pytest.mark.parametrize("command", ["results", "status", "report"])
def test_commands_show_the_rest_and_end_with_another_exit_code(folder, capsys, command):
    assert main([command, str(folder)]) == 0
    before = capsys.readouterr()
    assert before.err == ""
    path = folder / "run0" / "records" / "20.eval0.1.json"
    path.write_bytes(path.read_bytes()[:-5])
    (folder / "run1" / "config.yaml").write_text("a: [")
    (folder / "grids").mkdir()
    (folder / "grids" / "x.json").write_text("[")
    assert main([command, str(folder)]) == 3
    out, err = capsys.readouterr()
    assert err.count(f"afterkernel: warning: skipped: {path} is truncated") == 1
    assert out.count("\n") >= before.out.count("\n") - 2
    assert "run1/config.yaml can't be read as YAML" in err
    assert ("x.json is not a grid" in err) == (command != "results")


CONFIGS = {
    "garbage": (lambda path: path.write_bytes(b"\x00\xff{{: ["), "can't be read as YAML"),
    "empty": (lambda path: path.write_bytes(b""), "is not a configuration of afterkernel"),
    "a list": (lambda path: path.write_text("[1, 2]\n"), "is not a configuration of afterkernel"),
    "half": (lambda path: path.write_bytes(path.read_bytes().partition(b"svm:\n")[0]), "is truncated"),
    "cut within a name": (
        lambda path: path.write_bytes(path.read_bytes().partition(b"ing:\n")[0]),
        "can't be read as YAML",
    ),
    "without its last lines": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is truncated"),
    "with a byte of zero": (lambda path: path.write_bytes(b"d\0" + path.read_bytes()[2:]), "can't be read as YAML"),
    "a folder": (lambda path: [path.unlink(), path.mkdir()], "is not a file"),
    "a pipe": (lambda path: [path.unlink(), os.mkfifo(path)], "is not a file"),
    "a dangling link": (lambda path: [path.unlink(), path.symlink_to("nowhere")], "can't be read (No such file"),
}


@pytest.mark.parametrize("command", ["results", "status", "report"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_damaged_configuration_alone_is_named_by_every_command(folder, capsys, monkeypatch, command, kind):
    undrawn = page.WrittenReport(Path("page"), [], ReportFiles(folder), "")
    monkeypatch.setattr(page, "write_report", lambda *_: undrawn)  # drawing takes seconds
    harm, expected_message = CONFIGS[kind]
    for name in ("run0", "run1"):
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config_to_dict(Config()), sort_keys=False))
    main([command, str(folder)])
    assert capsys.readouterr().err == ""
    harm(folder / "run1" / "config.yaml")
    assert main([command, str(folder)]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"afterkernel: warning: skipped: {folder / 'run1' / 'config.yaml'} {expected_message}" in err


@pytest.mark.parametrize("command", ["results", "status"])
def test_a_stray_file_among_the_locks_is_named(folder, capsys, command):
    (folder / "run0" / "locks").mkdir()
    (folder / "run0" / "locks" / "0001.json").touch()
    (folder / "run0" / "locks" / "0001 (copy).json").touch()
    assert main([command, str(folder)]) == 3
    err = capsys.readouterr().err
    path = folder / "run0" / "locks" / "0001 (copy).json"
    assert err == f"afterkernel: warning: skipped: {path} is not the name of a lock: remove it\n"


def test_an_error_is_raised_if_nothing_can_be_read(tmp_path, make_record, capsys):
    path = write_record(tmp_path / "run0", make_record(), 1)
    path.write_bytes(b"")
    for command in ("results", "report"):
        assert main([command, str(tmp_path)]) == 2
        assert "contains no readable records" in capsys.readouterr().err


def test_another_run_s_records_are_skipped_and_hide_nothing(folder):
    copied = folder / "run0" / "records" / "20.eval0.1.json"
    shutil.copy(folder / "run1" / "records" / "20.eval0.1.json", folder / "run0" / "records" / "20.eval0.9.json")
    shutil.copy(folder / "run1" / "records" / "0.eval0.1.json", folder / "run0" / "records" / "7.eval0.1.json")
    with pytest.warns(SkippedWarning) as warned:
        assert len(read_records(folder)) == 4
    assert len(warned) == 2
    with pytest.warns(SkippedWarning):
        assert len(results(folder)) == 8
    copied.unlink()
    (folder / "run0" / "records" / "0.eval0.1.json").unlink()
    (folder / "run0" / "records" / "20.eval0.9.json").unlink()
    (folder / "run0" / "records" / "7.eval0.1.json").unlink()
    shutil.copy(folder / "run1" / "records" / "20.eval0.1.json", copied)
    with pytest.warns(SkippedWarning, match="is a record of the run run1, not of the run run0"):
        assert read_run(folder / "run0", "run0") == {}


def test_a_run_s_folder_whose_every_record_is_another_s(tmp_path, make_record):
    own, other = "vgg-lr0.1-seed0-0123456789", "vgg-lr0.1-seed1-abcdef0123"
    write_record(tmp_path / own, make_record(run_id=other), 1)
    with (
        pytest.warns(SkippedWarning, match=f"is a record of the run {other}, not of the run {own}"),
        pytest.raises(UserError, match="no readable records"),
    ):
        results(tmp_path)
    (tmp_path / own).rename(tmp_path / f"kept-{other}")
    assert len(results(tmp_path)) == len(read_records(tmp_path)) == 1


def test_a_renamed_folder_with_records_of_two_runs_is_skipped(tmp_path, make_record):
    for epoch, name in enumerate(("a", "b")):
        write_record(tmp_path / "mixed", make_record(run_id=name, epoch=epoch), 1)
    write_record(tmp_path / "c", make_record(run_id="c"), 1)
    with pytest.warns(SkippedWarning, match="the folder holds records of a, b"):
        assert [record.run_id for record in read_records(tmp_path)] == ["c"]


def test_an_older_record_reads_with_defaults_for_what_it_lacks(tmp_path, make_record):
    folder = tmp_path / "run0" / "records"
    folder.mkdir(parents=True)
    shutil.copy(OLDER, folder)
    assert "kernel_error" not in OLDER.read_text()
    (record,) = read_records(tmp_path)
    assert record == make_record(("ntk", "conjugate"))
    assert record.kernels[0].kernel_error is None
    assert record.kernels[0].warnings == ()
    frame = results(tmp_path)
    assert frame["kernel_error"].isna().all()
    assert frame["warnings"].tolist() == ["", ""]


def test_fields_of_a_later_version_with_the_same_schema_are_ignored(folder, make_record):
    path = folder / "run0" / "records" / "20.eval0.1.json"
    tree = json.loads(path.read_text())
    kernels = [kernel | {"new": [1, {"a": None}]} for kernel in tree["kernels"]]
    path.write_bytes(resealed(path.read_bytes(), kernels=kernels, brand_new={"x": 1}))
    assert len(results(folder)) == 8
    assert read_run(folder / "run0")[20, "eval0"] == make_record(("ntk", "conjugate"))


def test_the_seal_is_as_documented(make_record):
    data = encode(make_record(), 1)
    body, _, rest = data.partition(b',"sha256":"')
    assert rest == hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    assert list(json.loads(data))[-1] == "sha256"


def test_stray_files_among_the_records_are_ignored(folder):
    records = folder / "run0" / "records"
    (records / "20.eval0.1 (copy).json").write_bytes((records / "20.eval0.1.json").read_bytes())
    (records / "020.eval0.1.json").write_text("{}")
    (records / "1.eval0.1.json").mkdir()
    os.mkfifo(records / "2.eval0.1.json")
    (records / "notes.txt").write_text("mine")
    (records / ".20.eval0.1.json.ab.tmp").write_text("half")
    (records / "3.eval0.1.json").symlink_to("nowhere")
    with pytest.warns(SkippedWarning) as warned:
        assert len(results(folder)) == 8
    skipped = {Path(str(one.message).split("json")[0] + "json").name for one in warned}
    assert skipped == {
        "20.eval0.1 (copy).json",
        "020.eval0.1.json",
        "1.eval0.1.json",
        "2.eval0.1.json",
        "3.eval0.1.json",
    }


def test_a_folder_that_can_t_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name in ("locked", "run1"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (folder / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(SkippedWarning, match=r"can't be read \(Permission denied\)") as warned:
        assert len(read_records(folder)) == 2
    assert {str(one.message).split()[0] for one in warned} == {str(folder / name) for name in ("locked", "run1")}


def test_no_reader_looks_into_what_a_forced_run_replaced(folder, make_record):
    shutil.copytree(folder / "run0", folder / "run0" / "replaced" / "old")
    shutil.copytree(folder / "run0" / "records", folder / "run0" / "replaced" / "records")
    shutil.rmtree(folder / "run1")
    run = folder / "run1"
    write_record(run / "replaced", make_record(run_id="run1"), 1)
    (run / "config.yaml").write_text("training: {}")
    assert len(read_records(folder)) == 2
    assert len(results(folder)) == 4
    (run / "config.yaml").unlink()
    (run / "locks").mkdir()
    assert len(read_records(folder)) == 2
    # A sweep may have this name.
    write_record(folder / "replaced" / "run2", make_record(run_id="run2"), 1)
    assert len(read_records(folder)) == 3
