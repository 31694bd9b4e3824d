"""Answers of a classifier as a short text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.records.answers import pack, unpack


@given(st.lists(st.booleans(), max_size=70))
def test_answers_come_back(wrong):
    assert unpack(pack(wrong), len(wrong)).tolist() == wrong
    assert pack(torch.tensor(wrong, dtype=torch.bool)) == pack(np.array(wrong, dtype=bool)) == pack(wrong)


def test_two_thousand_images_take_336_characters():
    assert len(pack([True] * 2000)) == 336


@pytest.mark.parametrize(("text", "reason"), [("AAA=", "16 answers"), ("AAAA", "24 answers"), ("%%%", "not base64")])
def test_another_text_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        unpack(text, 8)
