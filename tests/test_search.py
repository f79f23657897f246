"""The search that the tuned estimators share: how often targets are rotated, and targets of very different sizes."""

from __future__ import annotations

import numpy as np
import pytest

from fastdistill import DistilledKernelRidgeCV, DistilledRidgeClassifierCV, DistilledRidgeCV
from fastdistill.spectral.coordinates import Coordinates

MODELS = [DistilledRidgeCV, DistilledKernelRidgeCV]


@pytest.fixture
def data():
    """A design with one large direction, and two targets: one of it alone, which is distilled, one of all columns."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 30))
    X[:, 0] *= 5.0
    noise = rng.standard_normal((200, 2))
    return X, np.column_stack([X[:, 0], X @ rng.standard_normal(30)]) + noise


@pytest.fixture
def rotations(monkeypatch):
    """The number of rotated targets of each decomposition, in the order of the decompositions."""
    counts, decompositions = [], []
    initialise, rotate = Coordinates.__init__, Coordinates.rotate

    def counted_initialise(self, *args, **options):
        initialise(self, *args, **options)
        decompositions.append(self)
        counts.append(0)

    def counted_rotate(self, targets):
        counts[next(i for i, known in enumerate(decompositions) if known is self)] += targets.count
        return rotate(self, targets)

    monkeypatch.setattr(Coordinates, "__init__", counted_initialise)
    monkeypatch.setattr(Coordinates, "rotate", counted_rotate)
    return counts


OPTIONS = [
    {},
    {"n_steps": 2},
    {"strategy": "joint", "n_steps": 2},
    {"scoring": "gcv"},
    {"scoring": "r2"},
    {"store_cv_results": True},
    {"store_cv_results": True, "strategy": "joint", "n_steps": 2},
    {"store_cv_results": True, "scoring": "r2"},
]


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("Model", MODELS)
def test_each_target_is_rotated_once(Model, options, per_target, data, rotations):
    X, Y = data
    Model(alphas=np.logspace(-2, 4, 7), alpha_per_target=per_target, **options).fit(X, Y)
    # of targets on their own, one with evidence against ridge is then taken up alone
    alone = (
        per_target and Model is DistilledRidgeCV and options.get("strategy") is None and options.get("scoring") != "r2"
    )
    assert rotations[0] == (3 if alone else 2)
    assert set(rotations[1:]) <= {1, 2}  # folds of the default's own check, for one target or both


@pytest.mark.parametrize("options", [{}, {"scoring": "r2"}])
@pytest.mark.parametrize("Model", MODELS)
def test_folds_are_refitted_for_a_score_only(Model, options, data, rotations):
    """Squared errors of samples left out come from the decomposition of all."""
    X, Y = data
    Model(alphas=np.logspace(-2, 4, 7), cv=3, strategy="ridge", **options).fit(X, Y)
    assert rotations == [2] * (4 if options else 1)


@pytest.mark.parametrize("n_steps", [None, 2])
def test_a_target_whose_filter_is_accepted_is_rotated_once(n_steps, data, rotations):
    X, Y = data
    model = DistilledRidgeCV(alphas=np.logspace(-2, 4, 13), n_steps=n_steps).fit(X, Y[:, 0])
    assert model.n_steps_ > 0
    assert rotations == [1] * 6  # the fit, and five folds


def test_each_kernel_rotates_once(data, rotations):
    X, Y = data
    DistilledKernelRidgeCV(gamma=[0.01, 0.1], strategy="ridge").fit(X, Y)
    assert rotations == [2, 2]


def test_labels_are_rotated_once(data, rotations):
    X, Y = data
    DistilledRidgeClassifierCV(scoring="accuracy", strategy="ridge").fit(X, np.digitize(Y[:, 1], [-3.0, 3.0]))
    assert rotations == [3]


@pytest.mark.parametrize("options", [{}, {"strategy": "joint", "n_steps": 1}, {"cv": 3}, {"store_cv_results": True}])
@pytest.mark.parametrize("Model", MODELS)
def test_a_tiny_target_is_chosen_for_as_a_large_one(Model, options, data):
    """Beside those of the other target float64 could not hold its squares."""
    X, Y = data
    tiny = 2.0**-400
    model = Model(alpha_per_target=True, **options).fit(X, np.column_stack([Y[:, 1], Y[:, 1] * tiny]))
    assert model.alpha_[0] == model.alpha_[1]
    assert model.best_score_[1] == pytest.approx(model.best_score_[0] * tiny**2, rel=1e-12, abs=0.0)
    large, small = model.predict(X).T
    np.testing.assert_allclose(small / tiny, large, rtol=0, atol=1e-12 * np.abs(large).max())
