"""What the solvers say as they work: step and gap, where a run watches; and that no bit of the answer depends on it."""

import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.progress.work import Stage, watched
from afterkernel.svm import HardMarginSVM
from afterkernel.svm.search import Search


def full_rank():
    X = normal(400, 600)
    return X @ X.T, random_labels(400)


def low_rank():
    X = normal(300, 12)
    return X @ X.T, linear_labels(X)


PROBLEMS = {"full rank": full_rank, "low rank": low_rank}


@pytest.fixture
def said(monkeypatch):
    """What stages said: words, step, gap."""
    found = []
    monkeypatch.setattr(Stage, "line", lambda self: found.append((self.name, self.detail, self.step, self.gap)))
    return found


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("backend", ["exact", "jst", "auto"])
def test_gaps_are_told_and_the_answer_is_the_same_bit_for_bit(problem, backend, said):
    K, y = PROBLEMS[problem]()
    alone = HardMarginSVM(backend).fit(K, y)
    assert said == []
    with watched():
        seen = HardMarginSVM(backend).fit(K, y)
    assert torch.equal(alone.dual_coef_, seen.dual_coef_)
    assert (alone.margin_, alone.gap_, alone.path_) == (seen.margin_, seen.gap_, seen.path_)
    assert {name for name, *_ in said} == {"exact" if backend == "auto" else f"SVM {backend}"}
    gaps = [gap for *_, gap in said if gap is not None]
    if "least squares" in seen.path_:
        # the first active set is the last
        assert gaps[-1] <= 1e-10
    else:
        assert len(gaps) >= 2
        assert gaps[-1] < max(gaps)
    if problem == "full rank":
        # The last gap reported is near what the certificate then finds.
        assert gaps[-1] == pytest.approx(seen.gap_, abs=1e-4)


def test_exact_says_which_method_it_takes(said, monkeypatch):
    K, y = low_rank()
    with watched():
        HardMarginSVM().fit(K, y)
    methods = list(dict.fromkeys(detail for _, detail, *_ in said))
    assert methods == ["factor", "least squares in 12 dimensions"]

    said.clear()
    monkeypatch.setattr(Search, "_is_singular", lambda self: False)
    with watched():
        HardMarginSVM().fit(K, y)
    methods = list(dict.fromkeys(detail for _, detail, *_ in said))
    assert methods[0] == "active set on 250 of 300 samples"
    assert any(method.startswith("interior point on ") for method in methods)
    by_method = [(step, gap) for _, detail, step, gap in said if detail.startswith("interior") and step is not None]
    assert [step for step, _ in by_method][:3] == [0, 1, 2]
    assert by_method[-1][1] < 1e-6


def test_jst_tells_at_each_look(said):
    K, y = full_rank()
    with watched():
        machine = HardMarginSVM("jst", check_every=10).fit(K, y)
    assert [step for _, _, step, _ in said] == list(range(10, 10 * len(said) + 1, 10))
    assert f"{said[-1][2]} steps" in machine.path_
    assert said[-1][3] <= 1e-3 < said[-2][3]


def test_a_backend_that_says_nothing_is_a_stage_of_its_own():
    K, y = full_rank()
    seen = []
    with watched() as work:
        machine = HardMarginSVM("libsvm")
        solve = machine.backend.solve
        machine.backend.solve = lambda *given: (seen.append(work.report()), solve(*given))[1]
        machine.fit(K, y)
    assert (seen[0].words, seen[0].fraction) == ("SVM libsvm", None)
    assert seen[0].silent_since is not None
