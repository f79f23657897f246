"""Retraining any estimator: kinds of data it takes, and what it says of bad parameters and bad data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fastdistill import SelfDistiller
from tests.test_self_distiller import close, problem

# -- Kinds of data ---------------------------------------------------------------------------------


def test_data_frames_with_text(rng):
    X, y = problem(rng)
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(kind=np.where(X[:, 0] > 0, "up", "down"))
    columns = ColumnTransformer([("text", OneHotEncoder(), ["kind"])], remainder="passthrough")
    model = SelfDistiller(make_pipeline(columns, Ridge(60.0))).fit(frame, pd.Series(y, index=np.arange(40)[::-1]))
    assert list(model.feature_names_in_) == [*"abcdef", "kind"]
    assert model.n_features_in_ == 7
    numbers = np.column_stack([X[:, 0] <= 0, X[:, 0] > 0, X])
    assert close(model.predict(frame), SelfDistiller(Ridge(60.0)).fit(numbers, y).predict(numbers))
    codes = pd.Series(np.where(y > 3, "high", "low"), dtype="category")
    classifier = SelfDistiller(make_pipeline(columns, LogisticRegression()), xi=0.5).fit(frame, codes)
    assert set(classifier.predict(frame)) == {"high", "low"}


@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse_equals_dense(form, rng):
    X, y = problem(rng)
    X[X < 0.3] = 0.0
    for inner, targets in ((Ridge(60.0, solver="lsqr", tol=1e-12), y), (RidgeClassifier(60.0, solver="lsqr"), y > 3)):
        dense = SelfDistiller(inner, n_steps=2).fit(X, targets)
        sparse = SelfDistiller(inner, n_steps=2).fit(form(X), targets)
        assert close(sparse.cv_results_["error"], dense.cv_results_["error"], 1e-6)
        assert close(sparse.estimator_.coef_, dense.estimator_.coef_, 1e-6)


def test_inputs_are_not_written_to(rng):
    (X, y), w = problem(rng), np.ones(40)
    for array in (X, y, w):
        array.flags.writeable = False
    SelfDistiller(Ridge(60.0), n_steps=2).fit(X, y, sample_weight=w)
    SelfDistiller(LogisticRegression(), xi=0.5).fit(X, y > 3, sample_weight=w)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": "ridge"}, TypeError, "must be an instance of a regressor or a classifier, got 'ridge'"),
        ({"estimator": Ridge}, TypeError, "must be an instance of a regressor"),
        ({"estimator": KMeans()}, TypeError, r"got KMeans\(\)"),
        ({"estimator": BaseEstimator()}, TypeError, "must be an instance of a regressor"),
        ({"xi": "best"}, ValueError, "xi must be one of 'estimate', got 'best'"),
        ({"xi": np.nan}, ValueError, "xi contains NaN"),
        ({"xi": [[0.5]]}, ValueError, "xi must be 0-D or 1-D"),
        ({"xi": [0.5, 0.2]}, ValueError, "schedule of 2 steps, but n_steps=1"),
        ({"n_steps": None}, TypeError, "n_steps must be an integer, got None"),
        ({"n_steps": -1}, ValueError, "n_steps must be at least 0, got -1"),
        ({"n_steps": 1.5, "xi": 0.5}, TypeError, "n_steps must be an integer"),
        ({"cv": [(np.arange(30), np.arange(30, 40))]}, ValueError, "needs at least 2 folds, but cv gives 1"),
        ({"cv": 1}, ValueError, "n_splits=1"),
        ({"cv": 41}, ValueError, "n_splits=41"),
    ],
)
def test_bad_parameters(params, error, message, rng):
    with pytest.raises(error, match=message):
        SelfDistiller(**{"estimator": Ridge(), **params}).fit(*problem(rng))


def test_bad_data(rng):
    X, y = problem(rng)
    model = SelfDistiller(Ridge())
    for w, message in (
        (np.zeros(40), "sample_weight is zero for every sample"),
        (-np.ones(40), "sample_weight must not be negative, got -1"),
        (np.ones(39), "sample_weight has 39 entries, but there are 40 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, sample_weight=w)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(X, np.full(40, np.nan))
    with pytest.raises(ValueError, match="Unknown label type"):
        SelfDistiller(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="1d array"):
        SelfDistiller(DecisionTreeClassifier()).fit(X, np.column_stack([y > 3, y > 2]))
    with pytest.raises(ValueError, match=r"xi must lie within \[0, 1\] for LogisticRegression.*got 1.5 at step 2"):
        SelfDistiller(LogisticRegression(), n_steps=2, xi=[0.5, 1.5]).fit(X, y > 3)
    with pytest.raises(ValueError, match="sample_weight is zero for all classes but one"):
        SelfDistiller(SVC()).fit(X, y > 3, sample_weight=y > 3)
    assert not hasattr(model, "estimator_")
