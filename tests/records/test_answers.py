"""Answers to single test images, packed into a text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.records.answers import pack, unpack


@given(st.lists(st.booleans(), max_size=40))
def test_what_is_packed_is_unpacked(wrong):
    assert unpack(pack(np.array(wrong, dtype=bool)), len(wrong)).tolist() == wrong


def test_an_image_takes_a_bit():
    text = pack(np.arange(2000) % 3 == 0)
    assert len(text) == 4 * 84  # 250 bytes in base64
    assert text.isascii()
