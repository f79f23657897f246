"""Self-training on unlabelled inputs: leave-one-out against refits of the chain, GCV against simulated risk."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastdistill import SelfTrainedRidge, Spectrum

SPIKED = np.r_[np.full(5, 3.0), np.full(145, 0.3)]


def problem(seed=0, n=25, p=4, q=40):
    rng = np.random.default_rng(seed)
    X, U = rng.standard_normal((n, p)) + 1.0, rng.standard_normal((q, p)) + 1.0
    return X, X @ rng.standard_normal(p) + rng.standard_normal(n) + 3.0, U


def chain(X, y, blocks, alpha, fit_intercept=True, weight=None):
    """Ridge, and ridge on each block labelled by the one before; every one by scikit-learn."""
    total = len(y) if weight is None else weight.sum()
    models = [Ridge(alpha, fit_intercept=fit_intercept).fit(X, y, weight)]
    for rows in blocks:
        labels = models[-1].predict(rows)
        models.append(Ridge(alpha * len(rows) / total, fit_intercept=fit_intercept).fit(rows, labels))
    return models


@parametrize_with_checks([SelfTrainedRidge([0.1, 10.0])])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_leave_one_out_is_that_of_refits_of_the_whole_chain(intercept, fresh):
    X, y, U = problem(n=12)
    blocks = [U[t::3] for t in range(3)] if fresh else [U] * 3
    model = SelfTrainedRidge([0.5, 20.0], 3, fresh, "loo", intercept).fit(X, y, X_unlabelled=U)
    for alpha, scores in zip(model.alphas_, model.scores_, strict=True):
        errors = []
        for i in range(len(y)):
            keep = np.arange(len(y)) != i
            # the penalty of a step belongs to all n labelled samples
            of_step = [Ridge(alpha, fit_intercept=intercept).fit(X[keep], y[keep])]
            for rows in blocks:
                step = Ridge(alpha * len(rows) / len(y), fit_intercept=intercept)
                of_step.append(step.fit(rows, of_step[-1].predict(rows)))
            errors.append([(y[i] - each.predict(X[i : i + 1])[0]) ** 2 for each in of_step])
        np.testing.assert_allclose(scores, np.mean(errors, axis=0), rtol=1e-9)


def test_gcv_by_its_formula_with_weights():
    X, y, U = problem(1)
    weight = np.random.default_rng(5).integers(0, 3, len(y)).astype(float)
    model = SelfTrainedRidge(2.0, 2).fit(X, y, weight, U)
    blocks = [U[t::2] for t in range(2)]
    fits = chain(X, y, blocks, 2.0, weight=weight)
    smoothers = [
        np.column_stack([m.predict(X) for m in column])
        for column in zip(*(chain(X, e, blocks, 2.0, weight=weight) for e in np.eye(len(y))), strict=True)
    ]
    dof = [np.trace(H) / weight.sum() for H in smoothers]
    residuals = [y - m.predict(X) for m in fits]
    errors = [r + h * residuals[0] / (1 - dof[0]) for r, h in zip(residuals, dof, strict=True)]
    expected = [np.average(np.square(e), weights=weight) for e in errors]
    np.testing.assert_allclose(model.scores_[0], expected, rtol=1e-9)
    np.testing.assert_allclose(model.predict(U), fits[model.n_steps_].predict(U), rtol=1e-9)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    repeated = SelfTrainedRidge(2.0, 2).fit(X[rows], y[rows], X_unlabelled=U)
    np.testing.assert_allclose(model.scores_, repeated.scores_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(U), repeated.predict(U), rtol=1e-9)
    without_steps = Spectrum.from_design(X[rows], fit_intercept=True).path(y[rows], 2.0, [])
    assert model.scores_[0, 0] == pytest.approx(without_steps.gcv[0], rel=1e-12)


@pytest.mark.parametrize("criterion", ["gcv", "loo"])
def test_next_to_interpolation_and_at_any_scale(criterion):
    """More features than samples and next to no penalty: residuals and 1 − h vanish together."""
    X, y, U = problem(4, n=10, p=30)
    weight = np.random.default_rng(6).uniform(0.5, 2.0, len(y)) if criterion == "loo" else np.ones(len(y))
    model = SelfTrainedRidge(1e-7, 2, criterion=criterion).fit(X, y, weight, U)
    share = 1e-12 if criterion == "loo" else 1.0  # GCV takes weights for counts
    scaled = SelfTrainedRidge(1e-7 * share, 2, criterion=criterion).fit(X, 1e90 * y, share * weight, U)
    np.testing.assert_allclose(scaled.scores_, 1e180 * model.scores_, rtol=1e-6)
    tiny = SelfTrainedRidge([1e-3, 10.0], 2, criterion=criterion).fit(1e9 * X, y, weight, X_unlabelled=1e9 * U)
    np.testing.assert_allclose(tiny.scores_[0], model.scores_[0], rtol=1e-6)
    if criterion == "gcv":
        return
    errors = []
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        of_step = [Ridge(1e-7, solver="svd").fit(X[keep], y[keep], weight[keep])]
        for rows in (U[::2], U[1::2]):
            labels = of_step[-1].predict(rows)
            of_step.append(Ridge(1e-7 * len(rows) / weight.sum(), solver="svd").fit(rows, labels))
        errors.append([(y[i] - each.predict(X[i : i + 1])[0]) ** 2 for each in of_step])
    np.testing.assert_allclose(model.scores_[0], np.average(errors, axis=0, weights=weight), rtol=1e-6)


def test_the_model_is_the_chosen_student():
    X, y, U = problem(2)
    model = SelfTrainedRidge([0.1, 100.0], 4).fit(X, y, X_unlabelled=U)
    best = np.unravel_index(model.scores_.argmin(), (2, 5))
    assert (model.alpha_, model.n_steps_) == (model.alphas_[best[0]], best[1])
    last = chain(X, y, [U[t::4] for t in range(4)], model.alpha_)[model.n_steps_]
    np.testing.assert_allclose(model.coef_, last.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(U), last.predict(U), rtol=1e-9)
    two = SelfTrainedRidge([0.1, 100.0], 4).fit(X, np.column_stack([y, 2 * y]), X_unlabelled=U)
    np.testing.assert_allclose(two.predict(U), np.outer(model.predict(U), [1.0, 2.0]), rtol=1e-9)
    sparse = SelfTrainedRidge([0.1, 100.0], 4).fit(sp.csc_array(X), y, X_unlabelled=sp.csc_array(U))
    np.testing.assert_allclose(sparse.predict(U), model.predict(U), rtol=1e-9)


def spiked(seed, n=60, q=600):
    rng = np.random.default_rng(seed)
    X, U = rng.standard_normal((n, 150)) * SPIKED, rng.standard_normal((q, 150)) * SPIKED
    signal = np.r_[np.ones(5), np.zeros(145)]
    return X, X @ signal + 5.0 * rng.standard_normal(n), U, signal


def test_iterated_gcv_estimates_the_risk_and_finds_a_step_that_pays():
    """Penalty 1, far too small: the risk along the steps, estimated and true, and what is gained over 0 steps."""
    estimated, true = np.zeros(9), np.zeros(9)
    gains = []
    for seed in range(30):
        X, y, U, signal = spiked(seed)
        model = SelfTrainedRidge(1.0, 8, fit_intercept=False).fit(X, y, X_unlabelled=U)
        coef = [X.T @ np.linalg.solve(X @ X.T + np.eye(60), y)]
        for rows in (U[t::8] for t in range(8)):
            dual = np.linalg.solve(rows @ rows.T + len(rows) / 60 * np.eye(len(rows)), rows @ coef[-1])
            coef.append(rows.T @ dual)
        risks = np.square(SPIKED * (np.array(coef) - signal)).sum(axis=1) + 25.0
        estimated += model.scores_[0] / 30
        true += risks / 30
        gains.append(risks[0] / risks[model.n_steps_])
    np.testing.assert_allclose(estimated, true, rtol=0.1)
    assert 0 < true.argmin() < 8  # falls, then rises
    assert np.mean(gains) > 1.1


def test_without_unlabelled_inputs_it_is_tuned_ridge():
    X, y, _ = problem(3)
    model = SelfTrainedRidge([0.1, 1.0, 10.0], criterion="loo").fit(X, y)
    assert (model.n_steps_, model.scores_.shape) == (0, (3, 1))
    np.testing.assert_allclose(model.coef_, Ridge(model.alpha_).fit(X, y).coef_, rtol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"alphas": -1.0}, ValueError, "alphas"),
        ({"max_steps": -1}, ValueError, "max_steps must be at least 0"),
        ({"max_steps": 1.5}, TypeError, "max_steps must be an integer"),
        ({"fresh": 1}, TypeError, "fresh must be True or False"),
        ({"alphas": 0.0, "max_steps": 1}, ValueError, "criterion='gcv' says nothing of any penalty and step"),
        ({"criterion": "aic"}, ValueError, "criterion must be one of 'gcv', 'loo'"),
    ],
)
def test_bad_parameters(parameters, error, message):
    X, y, U = problem(n=4)
    with pytest.raises(error, match=message):
        SelfTrainedRidge(**parameters).fit(X, y, X_unlabelled=U)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (lambda X, y, U: (X, y, None, U[:, :2]), ValueError, "X_unlabelled cannot be used: X has 2 features"),
        (lambda X, y, U: (X, y, None, U[:0]), ValueError, "X_unlabelled cannot be used: Found array with 0 sample"),
        (
            lambda X, y, U: (X, y, None, np.abs(U) / 0.0),
            ValueError,
            "X_unlabelled cannot be used: Input X contains inf",
        ),
        (lambda X, y, U: (X, ["a"] * len(y), None, U), TypeError, "y must hold real numbers"),
        (lambda X, y, U: (X, 1e-200 * y, None, U), ValueError, "The scores underflow"),
        (lambda X, y, U: (X, y, 0.01, U), ValueError, "GCV takes weights for counts of samples; they sum to 0.25"),
        (lambda X, y, U: (X[:1], y[:1], None, U), ValueError, "needs at least 2 samples of positive weight"),
    ],
)
def test_bad_data(data, error, message):
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        SelfTrainedRidge().fit(*data(*problem()))
