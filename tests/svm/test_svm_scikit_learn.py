"""The classifiers in scikit-learn's own tools."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer
from sklearn.utils import get_tags
from svm_problems import linear_labels, normal

from afterkernel.errors import UserError
from afterkernel.svm import (
    HardMarginSVM,
    KernelRidge,
    MinimumNormInterpolator,
    OneVsRestSVM,
    SoftMarginPath,
)
from afterkernel.svm.jst import JST

ALL = [HardMarginSVM, KernelRidge, MinimumNormInterpolator, OneVsRestSVM, SoftMarginPath]


def problem(n=60, p=40):
    X = normal(n, p)
    return (X @ X.T).numpy(), linear_labels(X).numpy()


def folds(K, y, count=4):
    for train, test in StratifiedKFold(count).split(K, y):
        yield K[np.ix_(train, train)], y[train], K[np.ix_(test, train)], y[test]


@pytest.mark.parametrize("kind", ALL)
def test_cross_validation_cuts_rows_and_columns_together(kind):
    K, y = problem()
    by_hand = []
    for K_train, y_train, K_test, y_test in folds(K, y):
        predicted = kind().fit(K_train, y_train).predict(K_test)
        by_hand.append(np.mean(predicted == y_test))
    assert cross_val_score(kind(), K, y, cv=4, error_score="raise") == pytest.approx(by_hand)
    assert cross_val_score(kind(), torch.from_numpy(K), torch.from_numpy(y), cv=4) == pytest.approx(by_hand)


@pytest.mark.parametrize("kind", ALL)
def test_tags(kind):
    tags = get_tags(kind())
    assert tags.input_tags.pairwise is True
    assert is_classifier(kind())
    assert tags.classifier_tags.multi_class is (kind is OneVsRestSVM)


@pytest.mark.parametrize(
    "machine",
    [
        HardMarginSVM(),
        HardMarginSVM("jst", tol=0.1, max_steps=30),
        HardMarginSVM(JST(max_steps=30), tol=0.1),
        KernelRidge([0.1, 1.0]),
        KernelRidge(np.array([0.1, 1.0])),
        MinimumNormInterpolator(cutoff=1e-3),
        OneVsRestSVM("jst", max_steps=30),
        SoftMarginPath([2.0]),
    ],
    ids=repr,
)
def test_clone_and_pickle(machine):
    K, y = problem()
    assert not hasattr(machine, "classes_")
    machine.fit(K, y)
    assert machine.classes_.tolist() == [0, 1]
    fresh = clone(machine)
    assert type(fresh) is type(machine)
    assert repr(fresh) == repr(machine)
    with pytest.raises(UserError, match="not fitted"):
        fresh.predict(K)
    expected = machine.decision_function(K)
    assert np.array_equal(fresh.fit(K, y).decision_function(K), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(machine)).decision_function(K), expected)


def test_grid_search_over_the_options_of_a_backend():
    K, y = problem()
    y[::6] = 1 - y[::6]
    search = GridSearchCV(HardMarginSVM("exact"), {"soft_C": [1e-2, 1.0, 1e4]}, cv=4, error_score="raise")
    search.fit(K[:, :], y)
    best = search.best_estimator_
    assert best.backend_.soft_C == search.best_params_["soft_C"]
    refitted = HardMarginSVM("exact", **search.best_params_).fit(K, y)
    assert np.array_equal(best.dual_coef_, refitted.dual_coef_)
    assert search.predict(K).tolist() == refitted.predict(K).tolist()
    expected = [
        np.mean([np.mean(HardMarginSVM(soft_C=C).fit(a, b).predict(c) == d) for a, b, c, d in folds(K, y)])
        for C in (1e-2, 1.0, 1e4)
    ]
    assert search.cv_results_["mean_test_score"] == pytest.approx(expected)


def test_grid_search_over_backends():
    K, y = problem()
    grid = [{"backend": ["exact"]}, {"backend": ["jst"], "max_steps": [1, 50]}, {"backend": ["libsvm"], "C": [1e-3]}]
    search = GridSearchCV(HardMarginSVM(), grid, cv=3, error_score="raise").fit(K, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.backend_.name == search.best_params_["backend"]


@pytest.mark.parametrize(
    ("machine", "grid"),
    [
        (KernelRidge(), {"ridges": [[1e-3], [1.0]]}),
        (MinimumNormInterpolator(), {"cutoff": [None, 0.5]}),
        (SoftMarginPath(), {"C": [[1.0], [10.0, 100.0]]}),
        (OneVsRestSVM(), {"backend": ["exact", "jst"]}),
    ],
)
def test_grid_search_over_parameters(machine, grid):
    K, y = problem()
    search = GridSearchCV(machine, grid, cv=3, error_score="raise").fit(K, y)
    name, values = next(iter(grid.items()))
    scores = [cross_val_score(type(machine)(**{name: value}), K, y, cv=3).mean() for value in values]
    assert search.cv_results_["mean_test_score"] == pytest.approx(scores)
    assert search.score(K, y) == search.best_estimator_.score(K, y)


def test_other_scores_and_predictions():
    K, y = problem()
    found = cross_validate(HardMarginSVM(), K, y, cv=4, scoring=["accuracy", "roc_auc", "f1"], error_score="raise")
    assert all(np.isfinite(found[f"test_{name}"]).all() for name in ("accuracy", "roc_auc", "f1"))
    values = cross_val_predict(KernelRidge(), K, y, cv=4, method="decision_function")
    assert values.shape == (60,)
    assert np.mean((values > 0) == y) == pytest.approx(cross_val_score(KernelRidge(), K, y, cv=4).mean())
    several = np.arange(60) % 3
    assert cross_val_predict(OneVsRestSVM(), K, several, cv=4, method="decision_function").shape == (60, 3)


def test_pipeline_with_a_centred_kernel():
    K, y = problem()
    pipeline = make_pipeline(KernelCenterer(), HardMarginSVM())
    pipeline.set_params(hardmarginsvm__soft_C=5.0)
    assert pipeline[-1].get_params() == {"backend": "exact", "soft_C": 5.0}
    by_hand = []
    for K_train, y_train, K_test, y_test in folds(K, y):
        centre = KernelCenterer().fit(K_train)
        svm = HardMarginSVM(soft_C=5.0).fit(centre.transform(K_train), y_train)
        by_hand.append(np.mean(svm.predict(centre.transform(K_test)) == y_test))
    assert cross_val_score(pipeline, K, y, cv=4, error_score="raise") == pytest.approx(by_hand)


def test_parameters():
    K, y = problem()
    machine = HardMarginSVM("jst", max_steps=30)
    assert machine.get_params() == {"backend": "jst", "max_steps": 30}
    assert machine.set_params(tol=0.5) is machine
    machine.fit(K, y)
    assert (machine.backend_.tol, machine.backend_.max_steps) == (0.5, 30)
    with pytest.raises(UserError, match=r"max_stepz is not an option of any backend: choose from .*max_steps"):
        machine.set_params(max_stepz=0)
    with pytest.raises(UserError, match="soft_C is not an option of the jst backend"):
        clone(machine).set_params(soft_C=1.0).fit(K, y)
    with pytest.raises(UserError, match="max_steps=0 is too small"):
        clone(machine).set_params(max_steps=0).fit(K, y)
    with pytest.raises(UserError, match="ridge is not a parameter of KernelRidge: choose from ridges"):
        KernelRidge().set_params(ridge=1.0)
    with pytest.raises(UserError, match="ridges holds -1"):
        KernelRidge().set_params(ridges=[-1.0]).fit(K, y)
    assert repr(MinimumNormInterpolator(0.1)) == "MinimumNormInterpolator(cutoff=0.1, tol=1e-06)"


def test_not_fitted_is_what_scikit_learn_calls_it():
    for kind in ALL:
        with pytest.raises(NotFittedError, match=f"{kind.__name__} is not fitted") as caught:
            kind().predict(np.eye(2))
        assert isinstance(caught.value, UserError)


def test_weights_are_refused_where_they_mean_nothing():
    K, y = problem()
    weights = np.ones(60)
    for kind, words in [
        (HardMarginSVM, "a hard margin holds for every sample alike; SoftMarginPath and KernelRidge take weights"),
        (OneVsRestSVM, "a hard margin holds"),
        (MinimumNormInterpolator, "an interpolator fits every label exactly"),
    ]:
        with pytest.raises(UserError, match=f"{kind.__name__} takes no sample_weight: {words}"):
            kind().fit(K, y, sample_weight=weights)
        kind().fit(K, y, sample_weight=None)
        with pytest.raises(UserError, match=f"weight is not an argument of {kind.__name__}.fit"):
            kind().fit(K, y, weight=1)


@pytest.mark.parametrize("kind", [KernelRidge, SoftMarginPath])
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.zeros(60), "sample_weight is zero everywhere"),
        (-np.ones(60), "negative or not finite"),
        (np.full(60, np.nan), "sample_weight contains NaN|Input contains NaN"),
        (torch.full((60,), np.inf), "negative or not finite"),
        (np.ones(59), r"sample_weight has shape \(59,\)"),
        (np.ones((60, 1)), r"sample_weight has shape \(60, 1\)"),
        (["a"] * 60, "could not convert string to float"),
        (problem()[1], "only one class, 1 among the samples of weight above 0"),
    ],
)
def test_wrong_weights(kind, weights, words):
    with pytest.raises(UserError, match=words):
        kind().fit(*problem(), sample_weight=weights)


def test_weights_in_a_search():
    K, y = problem()
    weights = np.linspace(0, 1, 60)
    search = GridSearchCV(KernelRidge(), {"ridges": [[1e-3], [10.0]]}, cv=3, error_score="raise")
    search.fit(K, y, sample_weight=weights)
    alone = KernelRidge(**search.best_params_).fit(K, y, sample_weight=weights)
    assert np.array_equal(search.best_estimator_.dual_coef_, alone.dual_coef_)


def test_a_data_frame_is_known_by_its_columns():
    K, y = problem()
    frame = pd.DataFrame(K, columns=[f"sample {i}" for i in range(60)])
    machine = KernelRidge().fit(frame, pd.Series(y))
    assert machine.feature_names_in_[1] == "sample 1"
    assert np.array_equal(machine.predict(frame), KernelRidge().fit(K, y).predict(K))
    with pytest.raises(UserError, match="feature names should match"):
        machine.predict(frame[frame.columns[::-1]])
    with pytest.raises(UserError, match=r"K_test has shape \(60, 59\): it must be \(m, 60\)"):
        machine.predict(frame[frame.columns[1:]])


def test_sparse_kernels_and_other_shapes_are_refused_in_one_sentence():
    K, y = problem()
    machine = KernelRidge().fit(K, y)
    for given, words in [
        (scipy.sparse.csr_array(K), "Sparse data was passed for K.*but dense data is required"),
        (None, "is a NoneType that holds no numbers"),
        (K[0], "Expected 2D array, got 1D array instead"),
        (K + 1j, "Complex data not supported"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            machine.predict(given)
        assert "\n" not in str(caught.value)


CHECKS = """
import json, sys, warnings
import afterkernel as ak
from sklearn.utils.estimator_checks import check_estimator
warnings.simplefilter("ignore")
kind = getattr(ak, sys.argv[1])
results = check_estimator(kind(), expected_failed_checks=json.loads(sys.argv[2]), on_fail=None, on_skip=None)
print(json.dumps([[each["check_name"], each["status"], str(each["exception"])] for each in results]))
"""
# What a precomputed kernel excuses, with the reason.
EXCUSED = {
    "check_positive_only_tag_during_fit": "it subtracts the mean from a kernel, which leaves an indefinite matrix",
    "check_estimators_dtypes": "it rounds a kernel down to integers, which leaves an indefinite matrix",
}


@pytest.mark.parametrize("kind", ALL)
def test_checks_of_scikit_learn(kind):
    # in a process of its own: the checks also pass arguments of wrong types, which the tests' checks of types refuse
    words = [sys.executable, "-c", CHECKS, kind.__name__, json.dumps(EXCUSED)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [each for each in results if each[1] not in ("passed", "skipped", "xfail")] == []
    assert {name for name, status, _ in results if status == "xfail"} == set(EXCUSED)
    assert {name for name, status, _ in results if status == "skipped"} <= {"check_array_api_input"}
    assert sum(status == "passed" for _, status, _ in results) > 50
