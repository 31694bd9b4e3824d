"""Damage of every kind to a store file: told in one sentence, and the file is left as it is."""

import random
import threading

import pytest

from afterkernel.errors import UserError
from afterkernel.records import engine, read_records, recorded, results, seal, sql, status, write_record
from afterkernel.records.columns import SIGNATURE


@pytest.fixture
def path(tmp_path, make_record):
    write_record(tmp_path / "run0", make_record(("ntk", "conjugate"), epoch=0))
    return write_record(tmp_path / "run0", make_record(("ntk", "conjugate"), epoch=5))


def refused(path, data, told, make_record):
    path.write_bytes(data)
    actions = [
        lambda: recorded(path.parent),
        lambda: read_records(path.parent),
        lambda: results(path.parent.parent),
        lambda: sql(path.parent, "select 1 from results"),
        lambda: status(path.parent),
        lambda: write_record(path.parent, make_record(epoch=1)),
    ]
    for action in actions:
        with pytest.raises(UserError) as error:
            action()
        text = str(error.value)
        assert text.startswith(str(path))
        assert told in text
        assert text.endswith(".")
        assert "\n" not in text
    assert path.read_bytes() == data


def test_a_truncated_file_at_any_length(path, make_record):
    data = path.read_bytes()
    for length in [0, 1, 3, 4, 5, 8, 12, 100, len(data) // 2, len(data) - 9, len(data) - 4, len(data) - 1]:
        refused(path, data[:length], "truncated or was altered", make_record)


def test_every_bit_that_flips_is_seen(path):
    data = path.read_bytes()
    assert seal.check(path).runs == (("demo", "run0"),)
    generator = random.Random(0)
    digest = data.rfind(b"afterkernel.sha256")
    places = {0, 3, digest, digest + 17, digest + 18, digest + 19, digest + 20, digest + 83, digest + 84, len(data) - 1}
    places |= {data.rfind(b"afterkernel.schema_version") + 28, len(data) - 5, len(data) - 8}
    for place in sorted(places | set(generator.sample(range(len(data)), 400))):
        altered = bytearray(data)
        altered[place] ^= 1 << generator.randrange(5)
        path.write_bytes(altered)
        with pytest.raises(UserError, match="truncated or was altered"):
            seal.check(path)


def test_altered_files_are_refused_by_every_reader_and_the_writer(path, make_record):
    data = path.read_bytes()
    for altered in (
        data + b"\0",
        data[:200] + data[204:],
        bytes(len(data)),
        data + data,
        b"PAR1" + data[4:-4] + b"PAR2",
    ):
        refused(path, altered, "truncated or was altered", make_record)
    refused(path, b'{"schema_version": 1}', "truncated or was altered", make_record)


def written_by(monkeypatch, path, *, version=2, signature=SIGNATURE):
    (rows,) = engine.read([path])
    with monkeypatch.context() as patch:
        patch.setattr(seal, "SCHEMA_VERSION", version)
        patch.setattr(seal, "SIGNATURE", signature)
        return engine.write(rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 3}, "is of schema_version 3, and this afterkernel reads 2: take a later one."),
        ({"version": 1}, "is of schema_version 1, and this afterkernel reads 2: move it away and evaluate"),
        ({"signature": "0" * 64}, "is of schema_version 2 with other columns"),
    ],
)
def test_another_version_is_named(path, monkeypatch, make_record, change, told):
    refused(path, written_by(monkeypatch, path, **change), told, make_record)


def test_a_parquet_file_of_somebody_else_is_not_taken(path, make_record, tmp_path):
    with engine._connect() as other:
        other.execute(f"copy (select 1 as epoch) to '{tmp_path / 'other.parquet'}' (format parquet)")
    refused(
        path, (tmp_path / "other.parquet").read_bytes(), "a Parquet file that afterkernel did not write", make_record
    )


def test_a_sealed_file_with_other_columns_is_no_traceback(path, tmp_path):
    with engine._connect() as other:
        said = ", ".join(f"'{name}': '{value}'" for name, value in seal.metadata({("demo", "run0")}).items())
        target = tmp_path / "other.parquet"
        other.execute(f"copy (select 'x' as epoch) to '{target}' (format parquet, kv_metadata {{{said}}})")
    path.write_bytes(seal.close(target.read_bytes()))
    for action in (recorded, read_records, results):
        with pytest.raises(UserError, match=r"records\.parquet can't be read: "):
            action(path.parent)


def test_other_readers_of_parquet_read_it(path):
    import duckdb

    rows = duckdb.sql(f"select epoch, kernel, svm_test_error from '{path}'").fetchall()
    assert rows == [(0, "ntk", 0.1), (0, "conjugate", 0.1), (5, "ntk", 0.1), (5, "conjugate", 0.1)]


def test_names_that_look_like_metadata_do_no_harm(tmp_path, make_record):
    names = {"sweep": "afterkernel.sha256", "run_id": "afterkernel.runs", "minus": "afterkernel.sha256\x18@" + "0" * 64}
    path = write_record(tmp_path, make_record(**names, plus="afterkernel.schema_version\x18\x019"))
    assert seal.check(path).runs == (("afterkernel.sha256", "afterkernel.runs"),)
    assert read_records(tmp_path) == [make_record(**names, plus="afterkernel.schema_version\x18\x019")]


def test_readers_see_whole_states_while_a_writer_rewrites(tmp_path, make_record):
    write_record(tmp_path, make_record(("ntk", "conjugate"), epoch=0))
    stop = threading.Event()

    def rewrite():
        epoch = 1
        while not stop.is_set():
            write_record(tmp_path, make_record(("ntk", "conjugate"), epoch=epoch % 40, svm_path=str(epoch) * 50))
            epoch += 1

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(10):
            frame = results(tmp_path)
            assert (frame.groupby("epoch")["kernel"].nunique() == 2).all()
            assert (frame.groupby("epoch")["svm_path"].nunique() == 1).all()
            assert len(read_records(tmp_path)) >= frame["epoch"].nunique()
    finally:
        stop.set()
        writer.join()


def test_a_file_that_is_replaced_between_check_and_read_is_read_again(path, make_record, monkeypatch):
    scan = engine._scan
    replacements = iter([6, 7])

    def replaced(*arguments):
        rows = scan(*arguments)
        if epoch := next(replacements, None):
            monkeypatch.setattr(engine, "_scan", scan)
            write_record(path.parent, make_record(epoch=epoch))
            monkeypatch.setattr(engine, "_scan", replaced)
        return rows

    monkeypatch.setattr(engine, "_scan", replaced)
    assert [record.epoch for record in read_records(path.parent)] == [0, 5, 6, 7]
