import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.errors import UserError
from afterkernel.store import KernelRecord, Record, Resources, read_record, write_record
from afterkernel.store.codec import RecordError, decode, encode

numbers = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**80), 2**80)
leaves = st.none() | st.booleans() | whole | numbers | st.text()
trees = st.dictionaries(
    st.text(), st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)
by_type = {
    "str": st.text(),
    "int": whole,
    "float": numbers,
    "bool": st.booleans(),
    "float | None": st.none() | numbers,
    "bool | None": st.none() | st.booleans(),
    "dict[str, Any]": trees,
}


def fields(cls, **given_fields):
    found = {field.name: by_type[field.type] for field in dataclasses.fields(cls) if field.type in by_type}
    found.pop("schema_version", None)
    return st.fixed_dictionaries({**found, **given_fields})


@given(fields(Record, kernels=st.lists(fields(KernelRecord, resources=fields(Resources)), max_size=2)))
def test_what_is_read_is_what_was_written(plain):
    kernels = [KernelRecord(**{**one, "resources": Resources(**one["resources"])}) for one in plain["kernels"]]
    record = Record(**{**plain, "kernels": tuple(kernels)})
    back = decode(encode(record))
    assert back == record
    assert repr(back.train_loss) == repr(record.train_loss)  # -0.0 == 0.0, and 1 == 1.0
    assert [k.margin is None for k in back.kernels] == [k.margin is None for k in record.kernels]


def test_file_is_sorted_indented_json_named_by_epoch_and_evaluation(tmp_path, make_record):
    path = write_record(tmp_path, make_record(train_loss=0.1 + 0.2, margin=None))
    assert path == tmp_path / "records" / "epoch=0005.eval0.json"
    data = json.loads(path.read_text())
    assert list(data) == sorted(data)
    assert '\n  "train_loss": 0.30000000000000004' in path.read_text()
    assert data["kernels"][0]["margin"] is None
    assert read_record(path) == make_record(train_loss=0.1 + 0.2, margin=None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("train_loss", lambda bad: {"train_loss": bad}),
        ("kernels[0].margin", lambda bad: {"margin": bad}),
        ("config.training.rates[1]", lambda bad: {"config": {"training": {"rates": [1.0, bad]}}}),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name_and_nothing_is_written(
    tmp_path, make_record, bad, name, fields
):
    with pytest.raises(UserError) as error:
        write_record(tmp_path, make_record(**fields(bad)))
    assert f"{name} is {bad}" in str(error.value)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", {"a": (1, 2)}),
        ("config", {1: "a"}),
        ("provenance", {"when": object()}),
        ("seed", True),
        ("epoch", 1.0),
        ("final", 1),
    ],
)
def test_what_would_read_back_otherwise_is_refused(make_record, name, value):
    record = make_record()
    object.__setattr__(record, name, value)  # Past the checks of types that only tests make.
    with pytest.raises(RecordError, match=r"plain data|config or provenance|where"):
        encode(record)


def broken(change):
    def write(path, record):
        data = json.loads(encode(record))
        change(data)
        path.write_text(json.dumps(data))

    return write


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda p, r: p.write_text(encode(r)[:300]), "no valid JSON, perhaps cut short"),
        (lambda p, r: p.write_text(""), "no valid JSON"),
        (lambda p, r: p.write_text("[1]"), "it holds a list where a mapping belongs"),
        (lambda p, r: p.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda p, r: p.write_text(encode(r).replace("0.4", "NaN")), "it holds NaN"),
        (lambda p, r: p.write_text(encode(r).replace("0.4", "1e999")), "train_loss is inf"),
        (lambda p, r: p.write_text(encode(r).replace('"seed": 0', '"seed": 0, "seed": 1')), "two values for seed"),
        (
            broken(lambda d: d.update(schema_version=2)),
            "schema_version is 2 and this afterkernel reads 1: take a later",
        ),
        (broken(lambda d: d.update(schema_version=0)), "schema_version is 0 and this afterkernel reads 1: evaluate it"),
        (broken(lambda d: d.pop("schema_version")), "names no schema_version"),
        (broken(lambda d: d.pop("epoch")), "epoch is missing"),
        (broken(lambda d: d["kernels"][0].pop("gap")), "kernels[0].gap is missing"),
        (
            broken(lambda d: d["kernels"][0]["resources"].pop("peak_bytes")),
            "kernels[0].resources.peak_bytes is missing",
        ),
        (broken(lambda d: d.update(extra=1)), "extra is not known"),
        (broken(lambda d: d.update(epoch="5")), "epoch is a string where a whole number belongs"),
        (broken(lambda d: d.update(epoch=5.5)), "epoch is the number 5.5 where a whole number belongs"),
        (broken(lambda d: d.update(final=1)), "final is the number 1 where true or false belongs"),
        (broken(lambda d: d.update(train_loss=None)), "train_loss is null where a number belongs"),
        (broken(lambda d: d.update(train_loss=True)), "train_loss is true or false where a number belongs"),
        (broken(lambda d: d.update(kernels={})), "kernels is a mapping where a list belongs"),
        (broken(lambda d: d.update(config=[])), "config is a list where a mapping belongs"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, make_record, write, told):
    path = tmp_path / "epoch=0005.eval0.json"
    write(path, make_record())
    with pytest.raises(UserError) as error:
        read_record(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)
    assert str(error.value).endswith(".")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json can't be read: No such file"):
        read_record(tmp_path / "nothing.json")


def test_a_whole_number_in_a_float_field_becomes_a_float(make_record):
    record = decode(encode(make_record()).replace('"train_loss": 0.4', '"train_loss": 1'))
    assert type(record.train_loss) is float
