import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import (
    BACKENDS,
    Backend,
    HardMarginSVM,
    KernelRidge,
    MinimumNormInterpolator,
    OneVsRestSVM,
    Outcome,
    SoftMarginPath,
    Solution,
)
from afterkernel.svm.exact import Exact
from afterkernel.svm.jst import JST
from afterkernel.svm.separability import Separability


def problem(n=40, p=60):
    X = normal(n, p)
    return X @ X.T, linear_labels(X)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda K, y: (K[:, :-1], y), r"K has shape \(40, 39\).*square"),
        (lambda K, y: (K[0], y), r"K has shape \(40,\).*square"),
        (lambda K, y: (K[:1, :1], y[:1]), "at least two"),
        (lambda K, y: (K + torch.eye(40).double().roll(1, 0), y), "not symmetric"),
        (lambda K, y: (K.float() * (1 + 1e-3 * normal(40, 40).float()), y), "not symmetric.*float32"),
        (lambda K, y: (K.index_fill(0, torch.tensor(3), float("nan")), y), "NaN or infinity"),
        (lambda K, y: (K / torch.zeros(()), y), "NaN or infinity"),
        (lambda K, y: (-K, y), "negative diagonal"),
        (lambda K, y: (K - K.diag().diag() * 0.9, y), "diagonal of at most"),
        (lambda K, y: (0 * K, y), "zero everywhere"),
        (lambda K, y: (K.half(), y), "float16.*float32 or float64"),
        (lambda K, y: (K.long(), y), "int64.*float32 or float64"),
        (lambda K, y: (K, y[:-1]), r"y has shape \(39,\).*\(40,\)"),
        (lambda K, y: (K, y[:, None]), r"y has shape \(40, 1\)"),
        (
            lambda K, y: (K, torch.arange(40) % 3),
            r"needs two classes, and y holds 3 \(0, 1, 2\); OneVsRestSVM fits",
        ),
        (lambda K, y: (K, y * 0.5), "0.0, 0.5: a continuous target has no classes"),
        (lambda K, y: (K, y * 0), "only one class, 0"),
        (lambda K, y: (K, y * 0 + 1), "only one class, 1"),
    ],
)
def test_wrong_input_is_reported_in_one_sentence(change, words):
    K, y = change(*problem())
    with pytest.raises(UserError, match=words):
        HardMarginSVM().fit(K, y)


def test_wrong_options_are_found_before_the_kernel_is_read():
    for machine, words in [
        (HardMarginSVM("svmlight"), r"backend=svmlight is not known.*exact.*jst.*libsvm.*thundersvm"),
        (HardMarginSVM(C=3.0), r"C is not an option of the exact backend: choose from tol, project, soft_C"),
        (HardMarginSVM("libsvm", tol=-1), r"tol=-1 is too small"),
        (HardMarginSVM("jst", tol="small"), r"tol='small' has the wrong type: it must be of type float"),
        (HardMarginSVM("jst", max_steps=2.5), r"max_steps=2.5 has the wrong type: it must be of type int"),
        (HardMarginSVM("libsvm", intercept=0), r"intercept=0 has the wrong type: it must be of type bool"),
        (HardMarginSVM("jst", algorithm=3), r"algorithm=3 is too large: it must be at most 2"),
        (HardMarginSVM("liblinear", loss="log"), r"loss=log is not known: choose one of squared_hinge, hinge"),
    ]:
        with pytest.raises(UserError, match=words):
            machine.fit(torch.zeros(0), torch.zeros(0))


def test_wrong_test_kernel():
    K, y = problem()
    with pytest.raises(UserError, match="not fitted"):
        HardMarginSVM().predict(K)
    machine = HardMarginSVM().fit(K, y)
    with pytest.raises(UserError, match=r"K_test has shape \(40, 39\).*\(m, 40\)"):
        machine.predict(K[:, :-1])
    with pytest.raises(UserError, match="K_test holds NaN"):
        machine.decision_function(K * float("nan"))


def test_numpy_and_torch_give_the_same():
    K, y = problem()
    one, other = HardMarginSVM().fit(K, y), HardMarginSVM().fit(K.numpy(), y.numpy())
    fortran = HardMarginSVM().fit(np.asfortranarray(K.numpy()), y.numpy().astype(bool))
    assert np.array_equal(one.dual_coef_.numpy(), other.dual_coef_)
    assert one.dual_coef_.numpy() == pytest.approx(fortran.dual_coef_, rel=1e-9, abs=1e-12)
    assert one.predict(K.numpy()).tolist() == other.predict(K).tolist() == fortran.predict(K).long().tolist()


@pytest.mark.parametrize("kind", [HardMarginSVM, KernelRidge, MinimumNormInterpolator, OneVsRestSVM, SoftMarginPath])
def test_results_are_of_the_kind_that_was_given(kind):
    K, y = problem()
    for matrix, labels, wanted in ((K, y, torch.Tensor), (K.numpy(), y, np.ndarray), (K, y.numpy(), torch.Tensor)):
        machine = kind().fit(matrix, labels)
        public = {name: value for name, value in vars(machine).items() if not name.startswith("_")}
        kinds = {type(value) for name, value in public.items() if hasattr(value, "shape") and name != "classes_"}
        assert kinds == {wanted}
        for given, found in ((K, torch.Tensor), (K.numpy(), np.ndarray), (K.tolist(), np.ndarray)):
            assert type(machine.predict(given)) is type(machine.decision_function(given)) is found
            assert machine.predict(given).dtype in (torch.int64, np.int64)


@pytest.mark.parametrize("names", [["no", "yes"], [-1, 1], [3.0, 7.0], [False, True]])
def test_classes_have_the_names_that_they_were_given(names):
    K, y = problem()
    plain = HardMarginSVM().fit(K, y)
    named = np.array(names)[y.numpy()]
    for labels in (named, named.astype(object) if isinstance(names[0], str) else torch.from_numpy(named)):
        for matrix in (K, K.numpy()):
            machine = HardMarginSVM().fit(matrix, labels)
            assert machine.classes_.tolist() == names
            assert np.array_equal(machine.dual_coef_, plain.dual_coef_)
            assert machine.predict(matrix).tolist() == np.array(names)[plain.predict(K).numpy()].tolist()
            assert machine.score(matrix, labels) == 1
            assert machine.score(matrix, labels, sample_weight=y.double()) == 1


def test_attributes_belong_together():
    K, y = problem()
    copy = K.clone()
    machine = HardMarginSVM().fit(K, y)
    assert torch.equal(K, copy)
    signs = 2 * y.double() - 1
    assert bool((machine.dual_coef_ * signs >= 0).all())
    assert torch.equal(machine.dual_coef_.nonzero().squeeze(1), machine.support_)
    assert machine.n_support_ == len(machine.support_)
    f = K @ machine.dual_coef_ + machine.intercept_
    assert torch.allclose(machine.decision_function(K), f)
    norm = float(machine.dual_coef_ @ K @ machine.dual_coef_) ** 0.5
    assert machine.margin_ == pytest.approx(float((signs * f).min()) / norm)
    assert torch.equal(machine.predict(K), y)
    assert machine.predict(K).dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decision_function_in_chunks_on_new_samples(dtype):
    X, T = normal(50, 20), normal(1300, 20, seed=9)
    machine = HardMarginSVM().fit((X @ X.T).to(dtype), linear_labels(X))
    K_test = (T @ X.T).to(dtype)
    expected = K_test.double() @ machine.dual_coef_
    assert torch.allclose(machine.decision_function(K_test), expected, rtol=0, atol=1e-10)
    assert machine.predict(K_test.numpy()).tolist() == (expected > 0).long().tolist()


def test_no_test_samples():
    K, y = problem()
    assert HardMarginSVM().fit(K, y).predict(K[:0]).shape == (0,)


class Liar(Exact):
    def solve(self, K, y, start=None):
        return Solution(
            torch.ones(len(K), dtype=torch.float64),
            0.0,
            "sure",
            ridge=1.0,
            separability=Separability(False, "sure", torch.ones(len(y)).double()),
        )


def test_a_backend_s_answer_is_certified_independently():
    K, y = problem()
    machine = HardMarginSVM(Liar()).fit(K, y)
    assert machine.outcome_ is Outcome.NOT_CONVERGED
    assert machine.separable_ is True
    assert np.isnan(machine.margin_)


class Soft(Exact):
    """Gives the soft-margin SVM for any data."""

    def solve(self, K, y, start=None):
        path = SoftMarginPath(C=[1e3]).fit(K, (y > 0).long())
        return Solution(path.dual_coef_ * y, 0.0, "soft", ridge=float(K.diagonal().max()) / 1e3)


@pytest.mark.parametrize(
    ("backend", "separable", "outcome"),
    [
        ("exact", True, Outcome.CONVERGED),
        ("exact", False, Outcome.NOT_SEPARABLE),
        (Soft(), True, Outcome.BELOW_ROUNDING),
        (JST(max_steps=50), True, Outcome.NOT_CONVERGED),
        (JST(max_steps=50), False, Outcome.NOT_SEPARABLE_NOT_CONVERGED),
    ],
)
def test_outcomes(backend, separable, outcome):
    X = normal(60, 100 if separable else 3)
    machine = HardMarginSVM(backend).fit(X @ X.T, random_labels(60))
    assert machine.outcome_ is outcome
    assert machine.separable_ is separable
    assert machine.converged_ is outcome.converged
    assert np.isfinite(machine.margin_) == (outcome in (Outcome.CONVERGED, Outcome.NOT_CONVERGED))


def test_outcomes_follow_from_what_a_record_stores():
    for outcome in Outcome:
        soft = outcome not in (Outcome.CONVERGED, Outcome.NOT_CONVERGED)
        assert Outcome.of(outcome.separable, outcome.converged, soft) is outcome


def test_backends_are_found_and_fit_a_structured_configuration():
    from omegaconf import OmegaConf

    assert set(BACKENDS) >= {"auto", "cuml", "exact", "jst", "liblinear", "libsvm", "thundersvm"}
    for name, backend in BACKENDS.items():
        config = OmegaConf.structured(backend)
        assert config.name == name
        assert isinstance(OmegaConf.to_object(config), backend)


def test_a_backend_must_say_how_to_solve():
    with pytest.raises(TypeError, match="does not define solve"):
        Backend().solve(torch.eye(2, dtype=torch.float64), torch.tensor([1.0, -1.0]).double())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: None, "svm=odd gives NoneType, where a Solution belongs"),
        (lambda made: replace(made, dual=made.dual.float()), r"gives a dual of shape \(30,\) in float32: it must be"),
        (lambda made: replace(made, dual=made.dual[1:]), r"gives a dual of shape \(29,\) in float64"),
        (lambda made: replace(made, dual=-made.dual), "a number that is negative or not finite"),
        (lambda made: replace(made, dual=made.dual * math.nan), "a number that is negative or not finite"),
        (lambda made: replace(made, intercept=0.5), "gives the intercept 0.5, but its has_intercept is False"),
        (lambda made: replace(made, intercept=math.nan), "gives the intercept nan, but its has_intercept is False"),
    ],
)
def test_what_is_no_solution_is_refused(change, message):
    class Odd(Exact):
        def solve(self, K, y, start=None):
            return change(super().solve(K, y, start))

    X = normal(30, 100)
    with pytest.raises(UserError, match=message):
        HardMarginSVM(Odd(name="odd")).fit(X @ X.T, random_labels(30))


def test_import_needs_torch_and_numpy_alone():
    heavy = "[m for m in ('sklearn', 'scipy', 'thundersvm', 'cuml', 'hydra', 'omegaconf') if sys.modules.get(m)]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, afterkernel.svm; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_backend_may_be_given_as_an_instance():
    X = normal(30, 100)
    y = random_labels(30)
    assert HardMarginSVM(Exact(tol=1e-9)).fit(X @ X.T, y).converged_ is True
