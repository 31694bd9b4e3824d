"""The classifiers in scikit-learn's own tools."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
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
        by_hand.append(np.mean(predicted.numpy() == y_test))
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
    assert torch.equal(fresh.fit(K, y).decision_function(K), expected)
    assert torch.equal(pickle.loads(pickle.dumps(machine)).decision_function(K), expected)


def test_grid_search_over_the_options_of_a_backend():
    K, y = problem()
    y[::6] = 1 - y[::6]
    search = GridSearchCV(HardMarginSVM("exact"), {"soft_C": [1e-2, 1.0, 1e4]}, cv=4, error_score="raise")
    search.fit(K[:, :], y)
    best = search.best_estimator_
    assert best.backend.soft_C == search.best_params_["soft_C"]
    refitted = HardMarginSVM("exact", **search.best_params_).fit(K, y)
    assert torch.equal(best.dual_coef_, refitted.dual_coef_)
    assert search.predict(K).tolist() == refitted.predict(K).tolist()
    expected = [
        np.mean([np.mean(HardMarginSVM(soft_C=C).fit(a, b).predict(c).numpy() == d) for a, b, c, d in folds(K, y)])
        for C in (1e-2, 1.0, 1e4)
    ]
    assert search.cv_results_["mean_test_score"] == pytest.approx(expected)


def test_grid_search_over_backends():
    K, y = problem()
    grid = [{"backend": ["exact"]}, {"backend": ["jst"], "max_steps": [1, 50]}, {"backend": ["libsvm"], "C": [1e-3]}]
    search = GridSearchCV(HardMarginSVM(), grid, cv=3, error_score="raise").fit(K, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.backend.name == search.best_params_["backend"]


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
    assert pipeline[-1].backend.soft_C == 5.0
    by_hand = []
    for K_train, y_train, K_test, y_test in folds(K, y):
        centre = KernelCenterer().fit(K_train)
        svm = HardMarginSVM(soft_C=5.0).fit(centre.transform(K_train), y_train)
        by_hand.append(np.mean(svm.predict(centre.transform(K_test)).numpy() == y_test))
    assert cross_val_score(pipeline, K, y, cv=4, error_score="raise") == pytest.approx(by_hand)


def test_parameters():
    machine = HardMarginSVM("jst", max_steps=30)
    assert machine.get_params() == {"backend": "jst", "max_steps": 30}
    assert machine.set_params(tol=0.5) is machine
    assert (machine.backend.tol, machine.backend.max_steps) == (0.5, 30)
    with pytest.raises(UserError, match="soft_C is not an option of the jst backend"):
        machine.set_params(soft_C=1.0)
    with pytest.raises(UserError, match="max_steps=0 is too small"):
        machine.set_params(max_steps=0)
    with pytest.raises(UserError, match="ridge is not a parameter of KernelRidge: choose from ridges"):
        KernelRidge().set_params(ridge=1.0)
    with pytest.raises(UserError, match="ridges holds -1"):
        KernelRidge().set_params(ridges=[-1.0])
    assert repr(MinimumNormInterpolator(0.1)) == "MinimumNormInterpolator(cutoff=0.1, tol=1e-06)"
