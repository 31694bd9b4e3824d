import importlib.util

import pytest
import torch

from afterkernel.cli import doctor
from afterkernel.svm import BACKENDS, HardMarginSVM


@pytest.mark.parametrize("name", ["auto", "exact", "jst", "liblinear", "libsvm", "thundersvm"])
def test_backend_is_right_on_the_known_problem(name):
    if name == "thundersvm" and importlib.util.find_spec("thundersvm") is None:
        pytest.skip("thundersvm is not installed")
    row = doctor.check_backend(name)
    assert row.ok
    assert row.margin_error <= 1e-3
    assert row.gap <= 1e-3
    assert row.advice == ""


def test_known_margin_is_that_of_two_samples():
    # (1/2, 1/2) against (1/2, -1/2) after signs: the smallest combination of (+-e_i / 2, 1/2) has norm^2 1/4 + 1/8
    K, y, margin = doctor.known_problem(pairs=1)
    assert K.tolist() == [[0.5, -0.25], [-0.25, 0.5]]
    assert y.tolist() == [0, 1]
    assert margin**2 == pytest.approx(0.375)


def test_main_succeeds_and_names_every_backend(capsys):
    assert doctor.main([]) == 0
    shown = capsys.readouterr().out
    for name in (*BACKENDS, f"torch {torch.__version__}"):
        assert name in shown


def test_wrong_required_backend_fails(monkeypatch, capsys):
    def wrong(self, K, y):
        fit(self, K, y)
        if self.backend_.name == "exact":
            self.margin_ *= 1.01
        return self

    fit = HardMarginSVM.fit
    monkeypatch.setattr(HardMarginSVM, "fit", wrong)
    assert doctor.main([]) == 1
    assert "do not use svm=exact" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuml may work here")
def test_a_backend_that_can_not_run_here_comes_with_what_to_do():
    row = doctor.check_backend("cuml")
    assert not row.ok
    assert not row.required
    assert "pip install afterkernel[gpu-svm]" in row.advice


def test_broken_optional_backend_is_reported_and_does_not_fail(monkeypatch, capsys):
    def broken(self, K, y, start=None):
        raise OSError("library does not load")

    monkeypatch.setattr(BACKENDS["libsvm"], "solve", broken)
    assert doctor.main([]) == 0
    assert "library does not load" in capsys.readouterr().out
