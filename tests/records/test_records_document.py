import dataclasses
import math
import tempfile

import pytest
from afterkernel.records.codec import RecordError, records_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.errors import UserError
from afterkernel.records import KernelRecord, Record, Resources, read_record, read_records, recorded, write_record

numbers = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)
leaves = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | numbers | st.text()
trees = st.dictionaries(
    st.text(), st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)
by_type = {
    "str": st.text(),
    "str | None": st.none() | st.text(),
    "int": whole,
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
records = fields(Record, kernels=kernels, evaluation_id=names, run_id=st.just("run0"), sweep=st.just("demo"))


def built(plain):
    made = [KernelRecord(**{**one, "resources": Resources(**one["resources"])}) for one in plain["kernels"]]
    return Record(**{**plain, "kernels": tuple(made)})


@settings(deadline=None, max_examples=25)
@given(st.lists(records, min_size=1, max_size=3, unique_by=lambda one: (one["epoch"], one["evaluation_id"])))
def test_what_is_read_is_what_was_written(plain):
    made = [built(one) for one in plain]
    with tempfile.TemporaryDirectory() as folder:
        for record in made:
            write_record(folder, record, 1)
        back = read_records(folder)
        assert back == sorted(made, key=lambda record: (record.epoch, record.evaluation_id))
        # repr tells -0.0 from 0.0 and 1 from 1.0; the order of keys in a mapping is not kept
        assert sorted(map(scalars, back)) == sorted(map(scalars, made))
        assert recorded(folder) == {(record.epoch, record.evaluation_id) for record in made}
        assert read_record(folder, made[0].epoch, made[0].evaluation_id) == made[0]


def scalars(record):
    kernels = tuple(dataclasses.replace(one, measures=dict(sorted(one.measures.items()))) for one in record.kernels)
    return repr(dataclasses.replace(record, config={}, provenance={}, kernels=kernels))


def test_a_record_of_the_same_epoch_and_evaluation_is_replaced_and_others_stay(tmp_path, make_record):
    write_record(tmp_path, make_record(("ntk", "conjugate"), epoch=5), 1)
    write_record(tmp_path, make_record(epoch=5, evaluation_id="other"), 1)
    path = write_record(tmp_path, make_record(epoch=0), 1)
    assert write_record(tmp_path, make_record(("conjugate",), epoch=5, margin=0.5), 1) == path
    assert read_records(tmp_path) == [
        make_record(epoch=0),
        make_record(("conjugate",), epoch=5, margin=0.5),
        make_record(epoch=5, evaluation_id="other"),
    ]
    assert recorded(tmp_path) == {(0, "eval0"), (5, "eval0"), (5, "other")}
    assert {entry.name for entry in tmp_path.iterdir()} == {"records.parquet"}


def test_nothing_is_recorded_where_there_is_no_file(tmp_path):
    assert recorded(tmp_path) == frozenset()
    with pytest.raises(UserError, match=r"records\.parquet can't be read: No such file"):
        read_record(tmp_path, 0, "eval0")


def test_a_record_that_is_not_there_is_named(tmp_path, make_record):
    write_record(tmp_path, make_record(), 1)
    with pytest.raises(UserError, match="holds no record of epoch 3 and evaluation eval0"):
        read_record(tmp_path, 3, "eval0")


def test_records_of_another_run_are_neither_taken_for_this_one_s_nor_overwritten(tmp_path, make_record):
    path = write_record(tmp_path, make_record(), 1)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"holds records of the run run0, not of run1: move it away"):
        write_record(tmp_path, make_record(run_id="run1"), 1)
    with pytest.raises(UserError, match=r"holds records of the run run0, not of run1"):
        recorded(tmp_path, "run1")
    assert path.read_bytes() == before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("train_loss", lambda bad: {"train_loss": bad}),
        ("margin", lambda bad: {"margin": bad}),
        ("config.training.rates[1]", lambda bad: {"config": {"training": {"rates": [1.0, bad]}}}),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name_and_nothing_is_written(
    tmp_path, make_record, bad, name, fields
):
    with pytest.raises(UserError) as error:
        write_record(tmp_path, make_record(**fields(bad)), 1)
    assert f"{name} is {bad}" in str(error.value)
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
        ("epoch", 1.0),
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
    with pytest.raises(
        RecordError, match=r"plain data|holds more|where|holds (finite|whole)|not Unicode|needs one|writ"
    ):
        rows_of(record)


def test_two_rows_of_one_kernel_are_refused(make_record):
    with pytest.raises(RecordError, match="its kernels are ntk, ntk"):
        rows_of(make_record(("ntk", "ntk")))


def test_a_whole_number_in_a_float_field_becomes_a_float(make_record):
    (record,) = records_of(rows_of(make_record(train_loss=1)))
    assert type(record.train_loss) is float


def test_rows_that_contradict_each_other_are_no_record(make_record):
    one, other = rows_of(make_record(("ntk", "conjugate")))
    other = tuple(0.25 if value == 0.4 else value for value in other)
    with pytest.raises(RecordError, match="the rows of epoch 5 contradict each other"):
        records_of([one, other])
