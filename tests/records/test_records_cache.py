"""The cache never changes an answer: the same with it, without it, and computed by plain Python."""

import math
import os
import shutil
import threading

import pandas as pd
import pytest

from afterkernel.records import SkippedWarning, cache, read_records, results, sql, write_record
from afterkernel.records.cache import CACHE
from afterkernel.records.frame import to_frame

SUM = "select sum(svm_test_error) as total, list(run_id) as ids, list(epoch) as epochs, max(config) as c from results"


@pytest.fixture
def sweep(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(cache, "FROM_RECORDS", 4)
    for seed in range(4):
        for epoch in (0, 5):
            fields = {"seed": seed, "run_id": f"run{seed}", "warnings": ("a", "b"), "epoch": epoch}
            record = make_record(("ntk", "conjugate"), svm_test_error=0.1 * seed + epoch / 7, margin=None, **fields)
            write_record(tmp_path / "s" / f"run{seed}", record, 1)
    return tmp_path / "s"


def read_files(monkeypatch):
    names = []
    read = cache.read_file
    monkeypatch.setattr(cache, "read_file", lambda file: (names.append(file.name), read(file))[1])
    return names


def check(folder):
    """With a cache as without, and as the records say; the cache that is there stays."""
    frame, answer = results(folder), sql(folder, SUM)
    pd.testing.assert_frame_equal(frame, to_frame(read_records(folder)))
    records = read_records(folder)
    rows = [(record, kernel) for record in records for kernel in record.kernels]
    asked = zip(answer["ids"].item(), answer["epochs"].item(), strict=True)
    assert sorted(asked) == sorted((record.run_id, record.epoch) for record, _ in rows)
    assert math.isclose(answer["total"].item(), sum(kernel.svm_test_error for _, kernel in rows))
    bare = folder.with_name(f"{folder.name}-bare")
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns(CACHE))
    pd.testing.assert_frame_equal(results(bare), frame)
    pd.testing.assert_frame_equal(sql(bare, SUM), answer)  # to the last bit
    shutil.rmtree(bare)
    return frame


def test_the_second_time_no_record_is_read(sweep, monkeypatch):
    check(sweep)
    names = read_files(monkeypatch)
    frame = results(sweep)
    assert names == []
    assert len(frame) == 16
    assert sql(sweep, "select config->>'$.training.epochs' as e from results")["e"].tolist() == ["5"] * 16
    assert len(results(sweep / "run1")) == 4
    assert names == []
    assert len(results(sweep.parent)) == 16
    assert names == []


def test_only_what_is_new_is_read(sweep, make_record, monkeypatch):
    results(sweep)
    before = (sweep / CACHE).read_bytes()
    write_record(sweep / "run1", make_record(seed=1, run_id="run1", epoch=100), 1)
    write_record(sweep / "run2", make_record(seed=2, run_id="run2", epoch=5, margin=0.5), 7)
    names = read_files(monkeypatch)
    assert len(results(sweep)) == 16
    assert sorted(names) == ["20.eval0.7.json", "400.eval0.1.json"]
    assert (sweep / CACHE).read_bytes() == before  # two are too few
    check(sweep)
    write_record(sweep / "run4", make_record(seed=4, run_id="run4", epoch=0), 1)
    write_record(sweep / "run4", make_record(seed=4, run_id="run4", epoch=1), 1)
    check(sweep)
    assert (sweep / CACHE).read_bytes() != before
    names.clear()
    (sweep / "run2" / "records" / "20.eval0.7.json").unlink()
    shutil.rmtree(sweep / "run0")
    assert results(sweep, "margin = 0.5").empty
    check(sweep)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: b"",
        lambda data: b"\n",
        lambda data: data[:99] + b"x" + data[100:],
        lambda data: data.partition(b"\n")[2],
        lambda data: data[:65] + b"PAR1" + bytes(100),
        lambda data: data + b"x",
    ],
)
def test_a_damaged_cache_is_not_used_and_is_replaced(sweep, monkeypatch, damage):
    first = results(sweep)
    good = (sweep / CACHE).read_bytes()
    (sweep / CACHE).write_bytes(damage(good))
    names = read_files(monkeypatch)
    pd.testing.assert_frame_equal(results(sweep), first)
    assert len(names) == 8
    results(sweep)
    assert len(names) == 8


def test_a_bit_that_flips_in_the_cache_changes_nothing(sweep):
    first = results(sweep)
    good = (sweep / CACHE).read_bytes()
    for place in range(0, len(good), max(len(good) // 12, 1)):
        (sweep / CACHE).write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        pd.testing.assert_frame_equal(results(sweep), first)


def test_another_sweep_s_cache_is_ignored(sweep, make_record):
    results(sweep)
    other = sweep.with_name("other")
    for seed in range(4):
        for epoch in (0, 5):
            record = make_record(("ntk", "conjugate"), seed=seed, run_id=f"run{seed}", sweep="other", epoch=epoch)
            path = write_record(other / f"run{seed}", record, 1)
            facts = (sweep / f"run{seed}" / "records" / path.name).stat()
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    expected = results(other)
    shutil.copy(sweep / CACHE, other / CACHE)
    pd.testing.assert_frame_equal(results(other), expected)
    check(other)


@pytest.mark.parametrize("keeps_times", [False, True])
def test_a_damaged_record_is_reported_although_the_cache_has_its_rows(sweep, keeps_times):
    results(sweep)
    path = sweep / "run2" / "records" / "0.eval0.1.json"
    facts, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    if keeps_times:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.warns(SkippedWarning, match=r"run2/records/0\.eval0\.1\.json is truncated or was altered"):
        assert len(results(sweep)) == 14


def test_a_read_only_folder_can_be_read(sweep, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache, "write_atomic", refuse)
    check(sweep)
    assert not (sweep / CACHE).exists()


@pytest.mark.parametrize("kind", ["folder", "dangling", "fifo"])
def test_other_files_at_the_name_of_the_cache_are_ignored(sweep, kind):
    path = sweep / CACHE
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere/cache")
    assert len(results(sweep)) == 16
    assert len(results(sweep)) == 16


def test_few_records_need_none(sweep, monkeypatch):
    monkeypatch.setattr(cache, "FROM_RECORDS", 9)
    results(sweep)
    assert not (sweep / CACHE).exists()


def test_one_run_alone_does_not_replace_the_cache_of_its_sweep(sweep, make_record):
    results(sweep)
    before = (sweep / CACHE).read_bytes()
    for epoch in range(10, 20):
        write_record(sweep / "run0", make_record(run_id="run0", epoch=epoch), 1)
    assert len(results(sweep / "run0")) == 14
    assert (sweep / CACHE).read_bytes() == before


NAMES = ["seed=7", "[x]", "*", "?", 'it\'s "quoted"', "new\nline", "näïve ☃", "{a,b}", "%41", "a;b", "**", "\\d", " "]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["sweep", "run", "above"])
def test_paths_are_data(tmp_path, make_record, monkeypatch, name, place):
    monkeypatch.setattr(cache, "FROM_RECORDS", 4)
    parts = {"sweep": ("a", name), "run": ("a", "b"), "above": (name, "b")}[place]
    for seed in range(6):
        run = f"{name}{seed}" if place == "run" else f"run{seed}"
        write_record(tmp_path.joinpath(*parts, run), make_record(seed=seed, run_id=f"run{seed}"), 1)
    for _ in range(2):
        frame = results(tmp_path.joinpath(*parts))
        assert sorted(frame["seed"]) == list(range(6))
        assert frame["run_id"].tolist() == [f"run{seed}" for seed in frame["seed"]]
    assert (tmp_path.joinpath(*parts) / CACHE).is_file()
    pd.testing.assert_frame_equal(results(tmp_path), frame)


def test_a_folder_whose_name_is_no_text(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(cache, "FROM_RECORDS", 1)
    run = tmp_path / os.fsdecode(b"a\xff")
    write_record(run, make_record(), 1)
    assert len(results(tmp_path)) == len(results(tmp_path)) == len(results(run)) == 1


def test_the_temporary_folder_may_be_called_anything(sweep, tmp_path, monkeypatch):
    import tempfile

    odd = tmp_path / "[x] seed=7 *'?"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    check(sweep)
    assert not list(odd.iterdir())


def test_from_within_a_folder(sweep, monkeypatch):
    expected = results(sweep)
    monkeypatch.chdir(sweep)
    pd.testing.assert_frame_equal(results("."), expected)
    monkeypatch.chdir(sweep / "run1")
    assert len(results(".")) == 4
    pd.testing.assert_frame_equal(results(".."), expected)
    assert not (sweep / "run1" / CACHE).exists()


def test_readers_while_writers_write(sweep, make_record):
    stop, faults = threading.Event(), []

    def write(seed):
        epoch = 10
        while not stop.is_set():
            write_record(sweep / f"run{seed}", make_record(("ntk", "conjugate"), run_id=f"run{seed}", epoch=epoch), 1)
            epoch += 1

    def read():
        try:
            for _ in range(4):
                frame = results(sweep)
                assert (frame.groupby(["run_id", "epoch"])["kernel"].nunique() == 2).all()
                assert len(frame) >= 16
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    for thread in writers:
        thread.join()
    assert not faults
    check(sweep)
