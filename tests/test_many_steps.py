"""More steps than the rank, than the samples, than double precision can tell apart: every strategy and criterion."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from sklearn.linear_model import Ridge

import fastdistill as fd
from tests import oracle

GRID = np.logspace(-2, 3, 6)
MANY = 12 if numba.config.DISABLE_JIT else 40  # descent over 40 weights takes a minute without the compiler


def data(shape, rng, m=None):
    """(X, y) of a shape that many steps found difficult."""
    n, p = {"wide": (8, 20), "pair": (2, 3), "tall": (30, 6)}.get(shape, (20, 4))
    X = rng.standard_normal((n, p))
    if shape.startswith("rank"):
        rank = int(shape[-1])
        X = X[:, :rank] @ rng.standard_normal((rank, p)) + 3.0
    if shape == "repeated":
        X = np.kron(np.eye(4), np.ones((5, 1)))
    return X, rng.standard_normal(n if m is None else (n, m)) + X @ rng.standard_normal(p if m is None else (p, m))


@pytest.mark.parametrize("shape", ["rank0", "rank1", "rank2", "wide", "pair", "tall", "repeated"])
@pytest.mark.parametrize("strategy", ["joint", "greedy", "safe"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"criterion": "gcv"},
        {"cv": 2},
        {"bounds": (0, 1)},
        {"bounds": (-0.5, 2.0)},
        {"targets": 2},
        {"holdout": True},
    ],
    ids=["loo", "gcv", "cv", "convex", "bounded", "targets", "holdout"],
)
def test_many_steps_of_anything(shape, strategy, options, rng):
    options = dict(options)
    X, y = data(shape, rng, options.pop("targets", None))
    if options.pop("holdout", False):
        options["criterion"] = fd.Holdout(X + 0.1, y)
    if shape == "pair" and "cv" in options:
        pytest.skip("two samples have no two folds that an intercept can be learned on")
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    found = fd.tune(S, y, GRID, MANY, strategy=strategy, **options)
    assert found.xi.shape == (MANY,)
    assert found.mixture.shape == (MANY + 1,)
    assert found.scores.shape == (len(GRID), MANY + 1)
    assert np.isfinite(found.xi).all()
    assert np.isfinite(found.mixture).all()
    assert abs(found.mixture.sum() - 1.0) <= 1e-10 * np.abs(found.mixture).sum()
    defined = found.scores[np.isfinite(found.scores[:, 0])]
    if strategy == "joint":
        assert (np.diff(defined, axis=1) <= 1e-9 * defined[:, :-1] + 1e-14).all()
    assert (defined.min(axis=1) <= defined[:, 0]).all()
    if "bounds" in options:
        low, high = options["bounds"]
        assert (found.xi >= low).all()
        assert (found.xi <= high).all()
    # students of the reported weights, retrained one after the other, have the filter and the coefficients reported
    student = Ridge(alpha=found.lam).fit(X, y)
    targets, sizes = student.predict(X), [np.abs(y).max()]
    for step in found.xi:
        used = (1 - step) * y + step * targets
        sizes.append(np.abs(used).max() + abs(step) * sizes[-1])  # what rounding of all steps so far is relative to
        student = Ridge(alpha=found.lam).fit(X, used)
        targets = student.predict(X)
    if sizes[-1] < 1e9 * sizes[0]:  # beyond, single students of the chain are too large to be trained in the open
        np.testing.assert_allclose(found.path.fitted[-1], targets, rtol=0, atol=1e-9 * sizes[0] + 1e-13 * sizes[-1])


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("lam", [0.3, 5.0])
def test_steps_beyond_the_rank_have_the_least_error_of_any_filter(kernel, rank, lam, rng):
    """Least squares over the rank's filters, one number for each direction, knows nothing of steps or mixtures."""
    X, Q = rng.standard_normal((12, rank)), rng.standard_normal((15, rank))
    y, yq = rng.standard_normal(12), rng.standard_normal(15)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    if kernel:
        S, queries = fd.Spectrum.from_kernel(X @ X.T), Q @ X.T
    else:
        S, queries = fd.Spectrum.from_design(X), Q
    columns = (Q @ Vt.T) / s * (U.T @ y)
    least = np.mean((columns @ np.linalg.lstsq(columns, yq)[0] - yq) ** 2)
    for steps in (rank, rank + 1, 7, 40):
        found = fd.tune(S, y, lam, steps, strategy="joint", criterion=fd.Holdout(queries, yq))
        assert found.score == pytest.approx(least, rel=1e-7)
        assert found.path.mse(queries, yq)[-1] == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("criterion", ["loo", "holdout"])
@pytest.mark.parametrize("k", [2, 4, 5])
def test_weights_up_to_the_rank_are_the_best_in_exact_arithmetic(criterion, k, rng):
    X = rng.standard_normal((12, 5)) * [4.0, 2.0, 1.0, 0.5, 0.25]
    y, lam = X @ rng.standard_normal(5) + rng.standard_normal(12), 1.0
    if criterion == "loo":
        columns = oracle.leave_one_out(X, y[:, None], lam, np.ones(k), kernel=False)[:, :, 0].T
        wanted, judge = y, "loo"
    else:
        Q, wanted = rng.standard_normal((20, 5)), rng.standard_normal(20)
        columns = oracle.students(X, y[:, None], lam, np.ones(k), kernel=False).predict(Q)[:, :, 0].T
        judge = fd.Holdout(Q, wanted)
    found = fd.tune(fd.Spectrum.from_design(X), y, lam, k, strategy="joint", criterion=judge)
    exact = [oracle.best_mixture(columns[:, : steps + 1], wanted)[1] for steps in range(k + 1)]
    # the twin's columns carry 1e-15, which weights of up to 1e6 raise to 1e-9 of a prediction
    np.testing.assert_allclose(found.scores[0], exact, rtol=1e-7)


def test_repeated_eigenvalues_do_not_end_the_search(rng):
    """Leave-one-out changes eigenvalues that are equal, so a second step can still help it."""
    X, y = data("repeated", rng)
    found = fd.tune(fd.Spectrum.from_design(X), y, 1.0, 2, strategy="joint")
    columns = oracle.leave_one_out(X, y[:, None], 1.0, np.ones(1), kernel=False)[:, :, 0].T
    assert found.scores[0, 1] == pytest.approx(oracle.best_mixture(columns, y)[1], rel=1e-9)
    assert found.scores[0, 2] <= found.scores[0, 1]


@pytest.mark.parametrize("scoring", [None, "gcv", "r2"])
@pytest.mark.parametrize("cv", [None, 4])
def test_estimators_of_forty_steps(scoring, cv, rng):
    if scoring == "gcv" and cv:
        scoring = "neg_mean_squared_error"
    X, y = data("rank2", rng)
    for strategy in ("joint", "greedy", "safe"):
        model = fd.DistilledRidgeCV(alphas=GRID, n_steps=40, strategy=strategy, scoring=scoring, cv=cv).fit(X, y)
        again = fd.DistilledRidge(alpha=model.alpha_, n_steps=40, xi=model.xi_).fit(X, y)
        np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-9, atol=1e-12)
        assert model.cv_results_["scores"].shape == (len(GRID), 41)


def test_an_indefinite_kernel_of_many_steps(rng):
    X = rng.standard_normal((12, 3))
    model = fd.DistilledKernelRidgeCV(kernel="sigmoid", alphas=[20.0, 50.0], n_steps=30, strategy="joint")
    with pytest.warns(RuntimeWarning, match="indefinite"):
        model.fit(X, X[:, 0] + rng.standard_normal(12))
    assert np.isfinite(model.predict(X)).all()
    assert len(model.xi_) == 30


def test_a_diagnosis_of_forty_steps_on_a_table_of_rank_two(rng):
    X, y = data("rank2", rng)
    found = fd.diagnose(X, y, penalties=GRID, n_steps=40, folds=3)
    short = [fd.diagnose(X, y, penalties=GRID, n_steps=k, folds=0).steps[-1].error for k in (1, 2)]
    errors = [row.error for row in found.steps]
    assert errors[1:3] == pytest.approx(short, rel=1e-9)
    assert errors[3:] == pytest.approx([errors[2]] * 38, rel=1e-6)
    assert [row.n_steps for row in found.steps] == list(range(41))
