import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.measures import MeasureState
from afterkernel.measures.state import HistoryEntry, packed, unpacked


def gram(n=5, dtype=torch.float32):
    factors = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=dtype)
    half = (factors @ factors.T).triu()
    return half + half.triu(1).T


@given(st.integers(1, 30), st.sampled_from([torch.float32, torch.float64]))
def test_a_triangle_is_the_whole_matrix(n, dtype):
    K = gram(n, dtype)
    assert packed(K).size == n * (n + 1) // 2
    assert torch.equal(unpacked(packed(K)), K)


def test_what_was_saved_comes_back(tmp_path):
    state, path = MeasureState(), tmp_path / "a" / "state.npz"
    state.save(path)
    assert not path.exists()  # nothing has been seen
    state.update(HistoryEntry(0, "id", {"ntk": gram(4), "ntk/layers.1": gram(3, torch.float64)}))
    state.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["state.npz"]
    found = MeasureState()
    assert found.load(path, 0)
    for one in (found.initial, found.previous):
        assert (one.epoch, one.sample, set(one.grams)) == (0, "id", {"ntk", "ntk/layers.1"})
        assert all(torch.equal(one.grams[name], state.previous.grams[name]) for name in one.grams)
    first = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == first


def test_the_initialisation_stays_and_the_snapshot_before_moves_on():
    state = MeasureState()
    for epoch in (0, 1, 4):
        state.update(HistoryEntry(epoch, "id", {"ntk": gram()}))
    assert (state.initial.epoch, state.previous.epoch) == (0, 4)


def damaged(tmp_path):
    state, path = MeasureState(), tmp_path / "state.npz"
    state.update(HistoryEntry(2, "id", {"ntk": gram()}))
    state.save(path)
    return path


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_not_taken(tmp_path, part):
    path = damaged(tmp_path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    state = MeasureState()
    assert not state.load(path, 2)
    assert state.initial is state.previous is None


def test_a_file_with_a_changed_byte_is_not_taken(tmp_path):
    path = damaged(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(packed(gram()).tobytes()) + 7
    content[at] ^= 1
    path.write_bytes(content)
    assert not MeasureState().load(path, 2)


def test_another_epoch_an_absent_file_and_foreign_content_are_not_taken(tmp_path):
    path = damaged(tmp_path)
    assert MeasureState().load(path, 2)
    assert not MeasureState().load(path, 3)
    assert not MeasureState().load(tmp_path / "absent.npz", 2)
    contents = [
        {"epoch": 2, "sample": "id"},
        {"epoch": 2, "sample": "id", "gram ntk": np.ones(4)},
        {"epoch": 2, "sample": "id", "gram ntk": np.full(3, np.nan)},
        {"epoch": 2, "sample": "id", "gram ntk": np.ones(3, np.int64)},
        {"epoch": np.asarray([1, 2]), "sample": "id", "gram ntk": np.ones(3)},
    ]
    for content in contents:
        np.savez(path, **content)
        assert not MeasureState().load(path, 2)
    np.savez(path, epoch=2, sample="id", **{"gram ntk": np.asarray([{}], dtype=object)})
    assert not MeasureState().load(path, 2)
