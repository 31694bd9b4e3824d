import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from afterkernel.cli.results import main
from afterkernel.errors import UserError
from afterkernel.records import KernelRecord, Record, Resources, exported, read_records, results, sql, write_record
from afterkernel.records.exported import export, read_exported
from afterkernel.records.store import read_distinct_runs

MEASURES = {"eigenvalue_1": 0.1 + 0.2, "Margin": 1e-300, "margin": None, "MARGIN_2": -0.0, "layer 'a\"": 5e-324}
RECORD = Record(
    **{
        "run_id": "mlp-0",
        "evaluation_id": "e0",
        "sweep": "s",
        "dataset": "mnist",
        "minus": "",
        "plus": "",
        "n_train": 9,
    },
    **{"n_test": 2**62, "arch": "mlp", "width": 4, "parameters": 1, "learning_rate": 0.1, "seed": 3, "epoch": 1 / 3},
    **{"step": 7, "final": True, "train_loss": 1 / 7, "net_train_error": 0.1, "net_test_error": 1.0, "commit": None},
    **{"wall_s_train": 1e9 / 7, "config_sha256": "f" * 64, "device": "cpu; \N{GREEK SMALL LETTER MU}\n", "kernels": ()},
    config={"z": [1, 2.5, None, True, "1"], "a": {"b": {}}, "A": "x" * 5000},
    provenance={"versions": {"torch": "2.9"}, "execution": {"threads": 1}},
    classes=("a; b", "c", ""),
    net_test_wrong="gA==",
    training_end="diverged",
)
KERNEL = KernelRecord(
    **{"kernel": "ntk", "svm_backend": "exact", "svm_intercept": True, "svm_test_error": 1 / 3, "svm_train_error": 0.0},
    **{"margin": 2**-1074, "gap": None, "n_support": -(2**63), "separable": None, "converged": False, "svm_path": ""},
    **{"embedding_norm": 1.7976931348623157e308, "shift_invariance": -1.0, "rotation_invariance": 0.1},
    **{"zoom_invariance": 0.2, "swap_invariance": 0.3, "effective_rank": 0.4, "kernel_error": 0.5},
    **{"approximation_error": 0.6, "target_alignment": 0.7, "target_cka": 0.8, "distance_to_initial": 0.9},
    **{"kernel_velocity": 1.1, "ridge_test_error": 1.2, "ridge_loo_error": 1.3, "ridge": 1.4, "decay_exponent": 1.5},
    **{"kernel_output": "trace", "kernel_dtype": "float32", "svm_test_wrong": "QA==", "measures": MEASURES},
    warnings=("one; two", "three"),
    resources=Resources(0.1, 0.2, 1 / 3, 2**53 + 1),
)
# The fields of the last kernel are None, empty or missing where they may be.
BARE = dataclasses.replace(
    KERNEL,
    kernel="b",
    warnings=(),
    measures={},
    **{field.name: None for field in dataclasses.fields(KernelRecord) if field.default is None},
)
FULL = dataclasses.replace(RECORD, kernels=(KERNEL, BARE))


@pytest.fixture
def sweep(tmp_path, make_record):
    for seed in range(3):
        for epoch in (0, 5):
            record = make_record(("ntk", "conjugate"), run_id=f"r{seed}", seed=seed, epoch=epoch, final=epoch == 5)
            write_record(tmp_path / f"demo/r{seed}", record, 1)
    return tmp_path / "demo"


@pytest.fixture
def file(sweep):
    export(read_records(sweep), sweep.parent / "a.parquet")
    return sweep.parent / "a.parquet"


def test_every_field_comes_back_exactly(tmp_path):
    for part in (FULL, KERNEL):
        same = [field.name for field in dataclasses.fields(part) if getattr(part, field.name) == field.default]
        assert same in ([], ["schema_version"])
    bare = dataclasses.replace(FULL, step=8, width=None, learning_rate=None, epoch=None, classes=(), training_end="")
    for record in (FULL, bare):
        write_record(tmp_path / "run", record, 1)
    read = read_records(tmp_path / "run")
    export(read, tmp_path / "one.parquet")
    back = read_exported(tmp_path / "one.parquet")
    assert repr(back) == repr(read)  # with types and the order of keys
    assert back == [FULL, bare]


def test_it_is_read_as_the_folder_is(sweep, file):
    pd.testing.assert_frame_equal(results(file), results(sweep))
    query = "select sum(svm_test_error) as e, max(config) as c, count(*) filter (final) as n from results"
    pd.testing.assert_frame_equal(sql(file, query), sql(sweep, query))
    assert read_records(file) == read_records(sweep)
    assert [len(run.records) for run in read_distinct_runs(file)] == [2, 2, 2]
    assert [run.path.name for run in read_distinct_runs(file)] == ["r0", "r1", "r2"]


def test_duckdb_reads_the_table_with_a_column_for_each_measure(tmp_path):
    export([FULL], tmp_path / "one.parquet")
    frame = duckdb.sql(f"FROM '{tmp_path}/one.parquet'").df()
    assert frame["kernel"].tolist() == ["ntk", "b"]
    assert frame["eigenvalue_1"][0] == 0.1 + 0.2
    assert pd.isna(frame["eigenvalue_1"][1])
    assert set(results(tmp_path / "one.parquet").columns) - set(MEASURES) <= set(frame.columns)
    assert "zstd" in str(duckdb.sql(f"SELECT compression FROM parquet_metadata('{tmp_path}/one.parquet')")).lower()


def test_pandas_reads_the_table(file):
    pytest.importorskip("pyarrow")
    assert len(pd.read_parquet(file)) == 12


def test_records_are_added_and_replaced_and_none_is_lost(sweep, file, make_record):
    before = read_exported(file)
    new = make_record(run_id="r3", step=1)
    again = dataclasses.replace(before[0], train_loss=99.0)
    other = dataclasses.replace(before[0], evaluation_id="other")
    found = export([new, again, other], file)
    assert found == read_exported(file) == [again, other, *before[1:], new]


def trained(make_record, weights, *steps, end=None, **fields):
    return [
        make_record(step=step, final=step == end, provenance={"snapshot_sha256": f"{weights}{step}"}, **fields)
        for step in steps
    ]


def steps(found):
    return [(one.step, one.provenance["snapshot_sha256"][0]) for one in found]


@pytest.mark.parametrize(
    ("before", "new", "kept"),
    [
        (("a", 0, 5, 9), ("b", 0, 6, 9), "b"),  # of two that have ended the new one
        (("a", 0, 5, 9), ("b", 0, 5), "a"),
        (("a", 0, 5), ("b", 0, 5, 9), "b"),
        (("a", 0, 5), ("b", 0, 6), "b"),
    ],
)
def test_two_trainings_of_one_run_are_not_mixed(tmp_path, make_record, before, new, kept):
    path = tmp_path / "a.parquet"
    export(trained(make_record, *before, end=9), path)
    found = export(trained(make_record, *new, end=9), path)
    assert steps(found) == [(step, kept) for step in {before[0]: before, new[0]: new}[kept][1:]]


def test_a_training_that_ends_elsewhere_is_another_one_unless_it_was_continued(tmp_path, make_record):
    first, second = (trained(make_record, "a", 0, end, end=end) for end in (5, 6))
    export(first, tmp_path / "a.parquet")
    assert steps(export(second, tmp_path / "a.parquet")) == [(0, "a"), (6, "a")]
    of_recorder = {"config": {"recorder": {}}}
    first, second = (trained(make_record, "a", 0, end, end=end, **of_recorder) for end in (5, 6))
    export(first, tmp_path / "b.parquet")
    assert [step for step, _ in steps(export(second, tmp_path / "b.parquet"))] == [0, 5, 6]


def test_lost_records_of_one_training_are_taken_from_the_file(tmp_path, make_record):
    export(trained(make_record, "a", 0, 5, 9, end=9), tmp_path / "a.parquet")
    assert len(export(trained(make_record, "a", 0, 9, end=9), tmp_path / "a.parquet")) == 3


@pytest.mark.parametrize("name", ["where", "columns", "sort", "sql"])
def test_an_export_is_of_all_records(file, name):
    with pytest.raises(UserError, match=f"--{name} can't be combined with --export"):
        main([str(file), f"--{name}=x", f"--export={file}"])


def test_a_file_is_added_to_a_file(file, tmp_path):
    assert main([str(file), "--export", str(tmp_path / "b.parquet")]) == 0
    assert read_exported(tmp_path / "b.parquet") == read_exported(file)
    assert (tmp_path / "b.parquet").read_bytes() == file.read_bytes()


def test_the_command_says_what_the_file_holds(sweep, capsys):
    assert main([str(sweep), "--export", str(sweep.parent / "a.parquet")]) == 0
    assert re.fullmatch(r"\S+/a\.parquet: 3 runs, 6 records, [\d.]+ KiB\n", capsys.readouterr().out)


@pytest.mark.parametrize("part", ["head", "middle", "tail"])
def test_a_truncated_file_is_refused_and_not_added_to(sweep, file, part):
    data = file.read_bytes()
    for n in {"head": (0, 1, 4, 100), "middle": (len(data) // 2,), "tail": (len(data) - 1, len(data) - 100)}[part]:
        file.write_bytes(data[:n])
        for act in (lambda: results(file), lambda: export(read_records(sweep), file)):
            with pytest.raises(UserError, match=r"is damaged or was edited|is not a file that results --export wrote"):
                act()
        assert file.read_bytes() == data[:n]


def test_every_flipped_byte_is_found(file):
    data = bytearray(file.read_bytes())
    for place in (*range(0, len(data), 97), *range(len(data) - 120, len(data)), 0, 3):
        data[place] ^= 0x10
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"is damaged or was edited"):
            read_records(file)
        data[place] ^= 0x10
    file.write_bytes(data)
    assert len(read_records(file)) == 6


def test_an_edited_value_is_found(file):
    frame = duckdb.sql(f"FROM '{file}'").df()
    frame.loc[0, "svm_test_error"] = 0.0
    (old,) = re.findall(rb"afterkernel_sha256\x18@([0-9a-f]{64})", file.read_bytes())
    for metadata in ("", f", KV_METADATA {{afterkernel_sha256: '{old.decode()}'}}"):
        duckdb.sql("FROM frame").query("t", f"COPY (FROM t) TO '{file}' (FORMAT parquet{metadata})")
        with pytest.raises(UserError, match=r"is damaged or was edited \(its checksum (is missing|does not match)\)"):
            sql(file, "select 1 from results")


def test_a_failed_write_leaves_the_file(file, make_record, monkeypatch):
    data = file.read_bytes()

    def full(draft, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        export([make_record(run_id="new")], file)
    assert [path.name for path in file.parent.iterdir()] in (["a.parquet", "demo"], ["demo", "a.parquet"])
    assert file.read_bytes() == data


def test_records_of_a_later_version_are_not_dropped(file, make_record, monkeypatch):
    data = file.read_bytes()
    monkeypatch.delitem(exported._TYPES, "ridge")
    assert len(read_records(file)) == 6
    with pytest.raises(UserError, match="was written by a later afterkernel, which knows ridge: add to it with that"):
        export([make_record(run_id="new")], file)
    assert file.read_bytes() == data


def test_two_processes_that_add_lose_nothing(file, make_record):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: export([make_record(run_id=f"n{i}")], file), range(6)))
    assert len(read_records(file)) == 12
