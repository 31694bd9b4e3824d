import pytest
import torch
from svm_problems import normal, oracle_margin, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM, Solution
from afterkernel.svm import auto as module
from afterkernel.svm.cuml import CuML
from afterkernel.svm.exact import Exact


def problem(n=40, p=60):
    X = normal(n, p) + 0.5
    return X, X @ X.T, random_labels(n)


class OnGPU(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


@pytest.mark.parametrize("intercept", [False, True])
def test_exact_wherever_it_fits(intercept):
    X, K, y = problem()
    machine = HardMarginSVM("auto", intercept=intercept).fit(K, y)
    assert machine.path_.startswith("auto chose exact (n = 40 on cpu): active set")
    assert machine.converged_ is True
    assert (machine.intercept_ != 0) is intercept
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=intercept), rel=1e-6)
    assert torch.equal(machine.dual_coef_, HardMarginSVM(intercept=intercept).fit(K, y).dual_coef_)


def test_a_start_is_passed_on(monkeypatch):
    def solve(self, K, y, start=None):
        given.append(start.tolist())
        return original(self, K, y, start)

    given, original = [], Exact.solve
    monkeypatch.setattr(Exact, "solve", solve)
    HardMarginSVM("auto").fit(*problem()[1:], start=[1, 3])
    assert given == [[1, 3]]


def test_libsvm_with_intercept_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: 0)
    X, K, y = problem()
    machine = HardMarginSVM("auto", intercept=True, tol=1e-3).fit(K, y)
    assert machine.path_.startswith("auto chose libsvm (0.0 GB of working memory is more than is free; intercept)")
    assert machine.intercept_ != 0
    assert machine.converged_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=True), rel=1e-4)


def test_not_separable_is_passed_on():
    X = normal(60, 3)
    machine = HardMarginSVM("auto").fit(X @ X.T, random_labels(60))
    assert machine.separable_ is False
    assert machine.soft_certificate_ is not None


@pytest.mark.parametrize(("free", "chosen"), [(4 * 40**2 - 1, "jst"), (4 * 40**2, "exact"), (None, "exact")])
def test_jst_where_memory_is_short(monkeypatch, free, chosen):
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    machine = HardMarginSVM("auto", tol=0.1).fit(*problem()[1:])
    assert machine.path_.startswith(f"auto chose {chosen} (")
    assert machine.converged_ is True


def test_jst_where_exact_runs_out_of_memory(monkeypatch):
    def solve(self, K, y, start=None):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 TiB")

    monkeypatch.setattr(Exact, "solve", solve)
    machine = HardMarginSVM("auto", tol=0.1).fit(*problem()[1:])
    assert machine.path_.startswith("auto chose jst (")
    assert "exact failed: CUDA out of memory.)" in machine.path_


def test_what_exact_finds_about_the_kernel_is_reported(monkeypatch):
    def solve(self, K, y, start=None):
        raise UserError("K is not a kernel.")

    monkeypatch.setattr(Exact, "solve", solve)
    with pytest.raises(UserError, match="K is not a kernel"):
        HardMarginSVM("auto").fit(*problem()[1:])


@pytest.fixture
def with_cuml(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(module, "free_bytes", lambda device: 0)
    _, K, y = problem()
    return K.as_subclass(OnGPU), 2.0 * y.double() - 1


def test_cuml_on_a_gpu_with_intercept(monkeypatch, with_cuml):
    answer = Solution(torch.ones(40).double(), 2.0, "cuml: 3 outer iterations")
    monkeypatch.setattr(CuML, "solve", lambda self, K, y, start: answer if self.intercept else None)
    solution = module.Auto(intercept=True).solve(*with_cuml)
    assert solution.path == (
        "auto chose cuml (0.0 GB of working memory is more than is free; intercept, on a GPU): cuml: 3 outer iterations"
    )
    assert solution.intercept == 2.0


def test_cuml_that_does_not_load_is_passed_over(monkeypatch, with_cuml):
    def solve(self, K, y, start=None):
        raise UserError("cuML does not load (OSError: libcuml.so): use the backend exact.")

    monkeypatch.setattr(CuML, "solve", solve)
    K, y = with_cuml
    solution = module.Auto(intercept=True).solve(K, y)
    assert solution.path.startswith("auto chose libsvm (")
    assert "cuml failed: cuML does not load" in solution.path


def test_cuml_that_is_missing_is_no_candidate(monkeypatch, with_cuml):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    names = [backend.name for backend, _ in module.Auto(intercept=True).candidates(with_cuml[0])]
    assert names == ["libsvm"]
