"""Solvers report their steps and gaps while they run, the last gap is that of the answer, and no bit depends on it."""

from collections import namedtuple
from itertools import groupby

import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.progress.work import Stage, watched
from afterkernel.svm import HardMarginSVM
from afterkernel.svm.libsvm import LibSVM
from afterkernel.svm.search import Search

Report = namedtuple("Report", "stage detail step gap")


def full_rank():
    X = normal(400, 600)
    return X @ X.T, random_labels(400)


def low_rank():
    X = normal(300, 12)
    return X @ X.T, linear_labels(X)


@pytest.fixture
def reports(monkeypatch):
    """All reports of all stages, in order."""
    found = []
    monkeypatch.setattr(
        Stage, "log_line", lambda self: found.append(Report(self.name, self.detail, self.step, self.gap))
    )
    return found


def fitted(backend, problem, **options):
    with watched():
        return HardMarginSVM(backend, **options).fit(*problem)


@pytest.mark.parametrize("problem", [full_rank, low_rank])
@pytest.mark.parametrize("backend", ["exact", "jst", "auto"])
def test_the_answer_is_the_same_bit_for_bit(problem, backend, reports):
    alone = HardMarginSVM(backend).fit(*problem())
    assert reports == []  # outside a run nothing is reported
    seen = fitted(backend, problem())
    assert len(reports) >= 2
    assert torch.equal(alone.dual_coef_, seen.dual_coef_)
    assert (alone.margin_, alone.gap_, alone.path_) == (seen.margin_, seen.gap_, seen.path_)


@pytest.mark.parametrize("problem", [full_rank, low_rank])
@pytest.mark.parametrize("backend", ["exact", "jst"])
def test_the_last_gap_is_that_of_the_answer(problem, backend, reports):
    machine = fitted(backend, problem())
    assert {report.stage for report in reports} == {f"SVM {backend}"}
    gaps = [report.gap for report in reports if report.gap is not None]
    # a gap near 0 is rounding
    assert max(gaps[-1], 0.0) == pytest.approx(machine.gap_, rel=1e-6, abs=1e-10)


def test_auto_reports_in_the_stage_of_the_backend_that_it_chose(reports):
    fitted("auto", full_rank())
    assert {report.stage for report in reports} == {"exact"}


def methods(reports):
    return list(dict.fromkeys(report.detail for report in reports))


def test_exact_names_its_methods(reports):
    fitted("exact", low_rank())
    assert methods(reports) == ["factor", "least squares in 12 dimensions"]
    reports.clear()
    fitted("exact", full_rank())
    assert methods(reports) == ["active set on 250 of 400 samples", "active set on 400 of 400 samples"]


def test_each_method_counts_its_own_steps(reports, monkeypatch):
    monkeypatch.setattr(Search, "_is_singular", lambda self: False)
    fitted("exact", low_rank())
    assert methods(reports)[0] == "active set on 250 of 300 samples"
    runs = [list(run) for detail, run in groupby(reports, lambda report: report.detail) if "interior point" in detail]
    for first, *steps in runs:
        assert (first.step, first.gap) == (None, None)  # those of the method before are cleared
        assert [report.step for report in steps] == list(range(len(steps)))
    assert min(report.gap for report in runs[0][1:]) < 1e-6


def test_jst_reports_at_each_check(reports):
    machine = fitted("jst", full_rank(), check_every=10)
    assert [report.step for report in reports] == [10 * (i + 1) for i in range(len(reports))]
    assert f"{reports[-1].step} steps" in machine.path_
    assert reports[-1].gap <= machine.backend_.tol < reports[-2].gap


def test_a_backend_that_reports_nothing_is_shown_as_running(monkeypatch):
    seen, solve = [], LibSVM.solve
    with watched() as run:
        monkeypatch.setattr(LibSVM, "solve", lambda *given: (seen.append(run.progress()), solve(*given))[1])
        HardMarginSVM("libsvm").fit(*full_rank())
    assert (seen[0].words, seen[0].fraction) == ("SVM libsvm", None)
    assert seen[0].began <= seen[0].silent_since <= seen[0].written
