import dataclasses
import math
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.errors import UserError
from afterkernel.records import (
    KernelRecord,
    Record,
    Resources,
    read_records,
    read_run,
    results,
    write_record,
)
from afterkernel.records.document import RecordError, decode, encode

numbers = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)
leaves = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | numbers | st.text()
trees = st.dictionaries(
    st.text(), st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)
by_type = {
    "str": st.text(),
    "str | None": st.none() | st.text(),
    "Int64": whole,
    "Int64 | None": st.none() | whole,
    "float": numbers,
    "bool": st.booleans(),
    "float | None": st.none() | numbers,
    "bool | None": st.none() | st.booleans(),
    "tuple[str, ...]": st.lists(st.text()).map(tuple),
    "dict[str, Any]": trees,
    "dict[str, float | None]": st.dictionaries(st.text(), st.none() | numbers),
}
names = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.=-]*", fullmatch=True)


def fields(cls, **given_fields):
    known = [field for field in dataclasses.fields(cls) if field.name not in {"schema_version", *given_fields}]
    return st.fixed_dictionaries({field.name: by_type[field.type] for field in known} | given_fields)


kernels = st.lists(
    fields(KernelRecord, resources=fields(Resources)), min_size=1, max_size=3, unique_by=lambda one: one["kernel"]
)
records = fields(
    Record,
    step=st.integers(0, 10**18 - 1),
    kernels=kernels,
    evaluation_id=names,
    run_id=st.just("run0"),
    sweep=st.just("demo"),
)


def built(plain):
    made = [KernelRecord(**{**one, "resources": Resources(**one["resources"])}) for one in plain["kernels"]]
    return Record(**{**plain, "kernels": tuple(made)})


@settings(deadline=None, max_examples=25)
@given(st.lists(records, min_size=1, max_size=3, unique_by=lambda one: (one["step"], one["evaluation_id"])))
def test_what_is_read_is_what_was_written(plain):
    made = [built(one) for one in plain]
    with tempfile.TemporaryDirectory() as folder:
        for record in made:
            write_record(folder, record, 1)
        back = read_records(folder)
        assert back == sorted(made, key=lambda record: (record.step, record.evaluation_id))
        # repr distinguishes -0.0 from 0.0 and 1 from 1.0; the order of keys in a mapping is not kept
        assert sorted(map(scalars, back)) == sorted(map(scalars, made))
        assert read_run(folder).keys() == {(record.step, record.evaluation_id) for record in made}
        assert read_run(folder)[made[0].step, made[0].evaluation_id] == made[0]


def scalars(record):
    kernels = tuple(dataclasses.replace(one, measures=dict(sorted(one.measures.items()))) for one in record.kernels)
    return repr(dataclasses.replace(record, config={}, provenance={}, kernels=kernels))


def test_the_highest_number_counts_per_step_and_evaluation(tmp_path, make_record):
    write_record(tmp_path, make_record(("ntk", "conjugate"), epoch=5), 1)
    write_record(tmp_path, make_record(epoch=5, evaluation_id="other"), 1)
    write_record(tmp_path, make_record(epoch=0), 9)
    path = write_record(tmp_path, make_record(("conjugate",), epoch=5, margin=0.5), 10)
    assert path == tmp_path / "records" / "20.eval0.10.json"
    assert read_records(tmp_path) == [
        make_record(epoch=0),
        make_record(("conjugate",), epoch=5, margin=0.5),
        make_record(epoch=5, evaluation_id="other"),
    ]
    assert results(tmp_path)["margin"].tolist() == [0.01, 0.5, 0.01]
    assert read_run(tmp_path).keys() == {(0, "eval0"), (20, "eval0"), (20, "other")}
    assert len(list((tmp_path / "records").iterdir())) == 4


def test_no_record_is_ever_replaced(tmp_path, make_record):
    path = write_record(tmp_path, make_record(), 3)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_record(tmp_path, make_record(margin=0.5), 3)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_without_hard_links_a_record_is_created_exclusively(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    path = write_record(tmp_path, make_record(), 3)
    assert read_records(tmp_path) == [make_record()]
    with pytest.raises(FileExistsError):
        write_record(tmp_path, make_record(margin=0.5), 3)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "link"])
def test_a_record_that_can_t_be_written_leaves_nothing(tmp_path, make_record, monkeypatch, failing):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, make_record(), 1)
    assert not list((tmp_path / "records").iterdir())


def test_nothing_is_recorded_where_there_is_no_file(tmp_path):
    assert read_run(tmp_path) == {}


@pytest.mark.parametrize(("step", "number"), [(-1, 1), (10**18, 1), (0, -1), (0, 10**18)])
def test_what_has_no_name_is_not_written(tmp_path, make_record, step, number):
    with pytest.raises(UserError, match="step and number must be from 0"):
        write_record(tmp_path, make_record(step=step), number)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("train_loss", lambda bad: {"train_loss": bad}),
        ("margin", lambda bad: {"margin": bad}),
        ("config.training.rates[1]", lambda bad: {"config": {"training": {"rates": [1.0, bad]}}}),
    ],
)
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path, make_record, bad, name, fields):
    with pytest.raises(UserError, match=r"step 20 can't be written to .*: it is not plain data with finite numbers"):
        write_record(tmp_path, make_record(**fields(bad)), 1)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", {"a": (1, 2)}),
        ("config", {1: "a"}),
        ("config", [1]),
        ("provenance", {"when": object()}),
        ("seed", True),
        ("seed", 2**63),
        ("step", 1.0),
        ("train_loss", 10**400),
        ("train_loss", None),
        ("final", 1),
        ("device", "\ud800"),
        ("kernels", ()),
        ("schema_version", 1),
    ],
)
def test_what_would_read_back_otherwise_is_refused(make_record, name, value):
    record = make_record()
    object.__setattr__(record, name, value)  # Past the checks of types that only tests make.
    with pytest.raises(RecordError):
        encode(record, 1)


def test_two_rows_of_one_kernel_are_refused(make_record):
    with pytest.raises(RecordError, match="has the kernels ntk, ntk"):
        encode(make_record(("ntk", "ntk")), 1)


def test_a_whole_number_in_a_float_field_becomes_a_float(make_record):
    assert type(decode(encode(make_record(train_loss=1), 1)).train_loss) is float
