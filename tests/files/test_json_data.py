"""Dataclasses as JSON: later and earlier versions of the same version number read each other's."""

import dataclasses
import json

import pytest

from afterkernel.files.json_data import decode, encode


@dataclasses.dataclass(frozen=True)
class Facts:
    epoch: int
    loss: float
    note: str = "none"
    names: list[str] = dataclasses.field(default_factory=list)


FACTS = Facts(3, 0.5, "x", ["a"])


def changed(**changes):
    found = {name: value for name, value in (json.loads(encode(FACTS)) | changes).items() if value is not None}
    return json.dumps(found)


def test_what_is_written_is_read():
    assert decode(Facts, encode(FACTS)) == FACTS


def test_a_missing_optional_field_reads_as_its_default():
    assert decode(Facts, changed(note=None, names=None)) == Facts(3, 0.5)


def test_an_unknown_field_is_ignored():
    assert decode(Facts, changed(later=[1])) == FACTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": None}, "epoch is missing"),
        ({"epoch": "3"}, "epoch: Input should be a valid integer"),
        ({"names": [1]}, "names.0: Input should be a valid string"),
        ({"version": 9}, "its version is 9"),
        ({"version": 0}, "its version is 0"),
        ({"version": None}, "it names no version"),
    ],
)
def test_what_is_damaged_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        decode(Facts, changed(**changes))
