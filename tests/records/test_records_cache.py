"""The copy of many runs' rows: used for exactly what lies there, and never trusted where it is damaged."""

import pandas as pd
import pytest

from afterkernel.errors import UserError
from afterkernel.records import engine, index, read_records, results, sql, to_frame, write_record

SUM = "select sum(epoch) as total, max(warnings) as told from results"


@pytest.fixture
def sweep(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(index, "FROM_FILES", 3)
    for seed in range(3):
        record = make_record(("ntk", "conjugate"), seed=seed, run_id=f"run{seed}", margin=None, warnings=("a", "b"))
        write_record(tmp_path / f"run{seed}", record, 1)
    return tmp_path


def copies(folder):
    return [path.name for path in folder.glob(".results-*")]


def scanned(monkeypatch):
    files = []
    scan = engine._scan
    monkeypatch.setattr(engine, "_scan", lambda *arguments: (files.append(len(arguments[2])), scan(*arguments))[1])
    return files


def test_the_second_time_one_file_is_read_and_the_answer_is_the_same(sweep, monkeypatch):
    files = scanned(monkeypatch)
    first = results(sweep)
    assert files == [3]
    assert len(copies(sweep)) == 1
    pd.testing.assert_frame_equal(results(sweep), first)
    pd.testing.assert_frame_equal(first, to_frame(read_records(sweep)))
    assert sql(sweep, SUM).to_dict("records") == [{"total": 30, "told": "a; b"}]
    assert results(sweep, "seed = 1 and kernel = 'ntk'")["run_id"].tolist() == ["run1"]
    assert files == [3, 3]  # the records' own reader
    assert sql(sweep, "select config->>'$.training.epochs' as e from results")["e"].tolist() == ["5"] * 6
    assert files == [3, 3, 3]  # what the copy does not hold


def test_a_run_that_changes_or_comes_or_goes_makes_it_stale(sweep, make_record):
    results(sweep)
    old = copies(sweep)
    write_record(sweep / "run1", make_record(seed=1, run_id="run1", epoch=100), 1)
    assert results(sweep)["epoch"].max() == 100
    new = copies(sweep)
    assert len(new) == 1
    assert new != old
    write_record(sweep / "run3", make_record(seed=3, run_id="run3", epoch=200), 1)
    assert results(sweep)["epoch"].max() == 200
    (sweep / "run3" / "records.parquet").unlink()
    assert results(sweep)["epoch"].max() == 100
    assert copies(sweep) == new


def test_a_query_alone_writes_none(sweep):
    sql(sweep, SUM)
    assert copies(sweep) == []


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:99] + b"x" + data[100:]]
)
def test_a_damaged_copy_is_not_used(sweep, monkeypatch, damage):
    first = results(sweep)
    (path,) = sweep.glob(".results-*")
    path.write_bytes(damage(path.read_bytes()))
    files = scanned(monkeypatch)
    pd.testing.assert_frame_equal(results(sweep), first)
    assert files == [3]
    results(sweep)
    assert files == [3]


def test_a_damaged_run_is_told_although_a_copy_has_its_rows(sweep):
    results(sweep)
    path = sweep / "run2" / "records.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"run2/records\.parquet is truncated or was altered"):
        results(sweep)


def test_a_folder_that_can_t_be_written_to_is_read_all_the_same(sweep, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(index, "write_bytes_atomic", refuse)
    assert len(results(sweep)) == 6
    assert copies(sweep) == []


def test_few_runs_need_none(sweep, monkeypatch):
    monkeypatch.setattr(index, "FROM_FILES", 4)
    results(sweep)
    assert copies(sweep) == []


def test_many_files_are_read_by_several_connections_and_nothing_else_differs(tmp_path, make_record, monkeypatch):
    for seed in range(7):
        write_record(
            tmp_path / f"run{seed}", make_record(seed=seed, run_id=f"run{seed}", margin=None, warnings=("a", "b")), 1
        )
    expected, query = results(tmp_path), "select run_id, config, margin, warnings from results"
    in_order = sql(tmp_path, query)
    monkeypatch.setattr(index, "FROM_FILES", 2)
    monkeypatch.setattr(engine, "_cores", lambda: 8)
    files = scanned(monkeypatch)
    pd.testing.assert_frame_equal(results(tmp_path), expected)
    assert sorted(files) == [2, 2, 3]
    pd.testing.assert_frame_equal(sql(tmp_path, query), in_order)
    assert in_order["run_id"].tolist() == [f"run{seed}" for seed in range(7)]
