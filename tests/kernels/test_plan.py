"""The plan keeps within its budget and says truly what will be done."""

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import afterkernel.kernels.gram as gram_module
from afterkernel.errors import UserError
from afterkernel.kernels import train_test_grams
from afterkernel.kernels.plan import plan


@given(n=st.integers(1, 5000), m=st.integers(0, 3000), size=st.integers(1, 10_000), held=st.integers(2, 6000))
def test_the_embeddings_held_fit_the_budget(n, m, size, held):
    steps = plan(n, m, size, 4, held * size * 4)
    assert steps.embedding_bytes <= held * size * 4
    assert 1 <= steps.rows_per_block <= n
    assert steps.embedded >= n + m


def test_a_budget_for_everything_embeds_everything_once():
    steps = plan(1000, 200, 50, 4, 10**9)
    assert (steps.rows_per_block, steps.embedded) == (1000, 1200)


class Counting:
    """An embedding that counts the samples it is asked for and the most rows that were alive at once."""

    size, dtype, device = 5, torch.float64, torch.device("cpu")

    def __init__(self):
        self.embedded = self.most_alive = 0
        self._made = []

    def __call__(self, x):
        rows = x.double().repeat(1, 5)
        self.embedded += len(x)
        self._made = [made for made in self._made if made() is not None] + [weakref.ref(rows)]
        self.most_alive = max(self.most_alive, sum(len(made()) for made in self._made))
        return rows


@pytest.mark.parametrize("held", [4, 7, 30, 1000])
def test_what_is_planned_is_what_is_done(held, monkeypatch):
    done = []
    monkeypatch.setattr(gram_module, "progress", _recorder(done))
    phi, x, y = Counting(), torch.rand(23, 1), torch.rand(9, 1)
    steps = plan(23, 9, 5, 8, held * 40)
    train_test_grams(phi, x, y, budget_bytes=held * 40)
    assert phi.embedded == steps.embedded + 1  # one sample shows the size
    total, amounts = done
    assert total == steps.multiplications
    assert sum(amounts) == total
    assert phi.most_alive * 40 <= steps.embedding_bytes <= held * 40


@pytest.mark.parametrize("held", [4, 7, 30])
def test_x_against_y_keeps_within_its_budget_too(held):
    phi, x, y = Counting(), torch.rand(23, 1), torch.rand(9, 1)
    K = gram_module.cross_gram(phi, x, y, budget_bytes=held * 40)
    torch.testing.assert_close(K, 5 * x.double() @ y.double().T)
    assert phi.most_alive <= held


def _recorder(done):
    import contextlib

    @contextlib.contextmanager
    def recorder(description, total):
        amounts = []
        done.extend([total, amounts])
        yield amounts.append

    return recorder


def test_a_budget_below_two_embeddings_is_told():
    with pytest.raises(UserError, match=r"kernel\.budget_bytes=10 is too small: .* need 800 bytes"):
        plan(5, 5, 100, 4, 10)


def test_the_description_names_blocks_and_memory():
    text = plan(12_000, 2_000, 95_267, 4, 2 * 1024**3).describe()
    assert "12,000 and 2,000" in text
    assert "GiB" in text
