"""A Gram matrix that is written to a file or to memory of the caller's."""

import numpy as np
import pytest
import torch
from kernel_oracle import Net
from torch import nn

import afterkernel as ak


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


X, Y = torch.rand(27, 4, generator=torch.Generator().manual_seed(0)).split([20, 7])


@pytest.mark.parametrize("y", [None, Y])
@pytest.mark.parametrize("budget", [2**28, 3000])
def test_the_result_is_written_where_it_belongs(model, y, budget, tmp_path):
    K = ak.ntk(model, X, y, output=0)
    shape = tuple(K.shape)
    close = {"rtol": 0, "atol": 1e-5 * float(K.max())}
    path = tmp_path / "K.npy"
    on_disk = ak.ntk(model, X, y, output=0, out=path, budget_bytes=budget)
    torch.testing.assert_close(on_disk, K, **close)
    assert np.array_equal(np.load(path, mmap_mode="r"), on_disk.numpy())
    places = [torch.full(shape, torch.nan), np.full(shape, np.nan, np.float32), torch.full(shape[::-1], torch.nan).T]
    for place in places:
        found = ak.ntk(model, X, y, output=0, out=place, budget_bytes=budget)
        assert found.data_ptr() == torch.as_tensor(place).data_ptr()
        torch.testing.assert_close(torch.as_tensor(place), K, **close)


def test_an_svm_reads_the_file(model, tmp_path):
    ak.ntk(model, X, output="trace", out=tmp_path / "K.npy")
    K, y = np.load(tmp_path / "K.npy", mmap_mode="r"), torch.arange(20) % 2
    found, expected = ak.HardMarginSVM().fit(K, y), ak.HardMarginSVM().fit(torch.tensor(np.array(K)), y)
    assert found.outcome_ == expected.outcome_
    assert np.array_equal(found.dual_coef_, expected.dual_coef_)


def test_places_that_are_refused(model, tmp_path):
    (tmp_path / "there.npy").write_text("mine")
    read_only = np.zeros((20, 20), np.float32)
    read_only.setflags(write=False)
    for given, message in (
        ({"out": tmp_path / "there.npy"}, "exists: name a new file"),
        ({"out": tmp_path / "no" / "K.npy"}, "can't be made with 1600 bytes: No such file or directory"),
        ({"out": torch.zeros(20, 19)}, r"out= is \(20, 19\) in float32, and the result is \(20, 20\) in float32"),
        ({"out": torch.zeros(20, 20), "dtype": "float64"}, "and the result is .* in float64"),
        ({"out": read_only}, "read-only"),
        ({"out": torch.zeros(20, 20, requires_grad=True)}, "requires a gradient"),
        ({"out": torch.zeros(40, 40), "output": "full"}, "can't hold output"),
        ({"out": torch.zeros(20, 20), "store": tmp_path / "store"}, "out= and store= are both given"),
    ):
        with pytest.raises(ak.UserError, match=message):
            ak.ntk(model, X, **{"output": 0, **given})
    assert (tmp_path / "there.npy").read_text() == "mine"
    assert not (tmp_path / "store").exists()


def test_a_file_that_does_not_fit_is_refused_and_removed(model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ak.UserError, match="can't be made with 1600 bytes: No space left on device"):
        ak.ntk(model, X, output=0, out=tmp_path / "K.npy")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_file_is_removed(model, tmp_path):
    """A result that fails, such as at a sample that is not finite, leaves no file that looks like one."""
    with pytest.raises(ak.UserError, match="not finite"):
        ak.ntk(
            model, torch.cat([X, torch.full((9, 4), torch.nan)]), output=0, out=tmp_path / "K.npy", budget_bytes=5000
        )
    assert not list(tmp_path.iterdir())


def test_a_computation_that_starts_over_keeps_its_place(tmp_path):
    branch = Net(
        lambda s, x: torch.cat([(s.a if row.sum() > 0 else s.b)(row[None]) for row in x]),
        a=nn.Linear(4, 1),
        b=nn.Linear(4, 1),
    )
    x = torch.cat([X, -X])
    found = ak.ntk(branch, x, out=tmp_path / "K.npy")
    torch.testing.assert_close(found, ak.ntk(branch, x))
    assert [path.name for path in tmp_path.iterdir()] == ["K.npy"]


def test_details_and_chosen_parameters_go_with_a_place(model):
    given = {"output": 0, "parameters": "*.bias", "details": True}
    place = torch.empty(20, 20)
    found, exact = ak.ntk(model, X, out=place, **given), ak.ntk(model, X, **given)
    assert found.kernel.data_ptr() == place.data_ptr()
    torch.testing.assert_close(place, exact.kernel)
    assert found.relative_error < 1e-5
    assert (found.plan, found.dtype) == (exact.plan, exact.dtype)
