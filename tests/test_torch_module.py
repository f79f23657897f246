"""PyTorch modules as estimators: the loss of soft targets, weights, seeds, and distillation of bare modules."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

import fastdistill as fd

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")


def linear(p: int, m: int, bias: bool = True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(p, m, bias=bias).double()


def descent(parameters):
    """Of full batches: gradient descent, which converges on small convex problems."""
    return torch.optim.SGD(parameters, lr=0.2)


def full_batch(module, task, n_epochs=3000, **options):
    return fd.TorchEstimator(
        module, task, optimizer=descent, n_epochs=n_epochs, batch_size=10**6, random_state=0, **options
    )


@pytest.fixture(scope="module")
def labelled():
    return make_classification(80, 4, n_informative=4, n_redundant=0, n_classes=3, class_sep=0.8, random_state=1)


def squared_norm(module):
    """The penalty of scikit-learn's logistic regression with C = 1, over n = 80 samples."""
    return module.weight.square().sum() / (2 * 80)


def test_a_linear_classifier_is_logistic_regression(labelled):
    X, y = labelled
    names = np.array(["x", "y", "z"])[y]
    model = full_batch(linear(4, 3), "classifier", penalty=squared_norm).fit(X, names)
    wanted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, names)
    np.testing.assert_allclose(model.predict_proba(X), wanted.predict_proba(X), atol=1e-4)
    assert (model.predict(X) == wanted.predict(X)).all()
    assert model.score(X, names) == wanted.score(X, names)
    assert is_classifier(model)


def test_soft_targets_are_labels_repeated_with_weights(labelled, rng):
    X, _ = labelled
    soft = rng.dirichlet(np.ones(3), len(X))
    model = full_batch(linear(4, 3), "classifier", penalty=squared_norm).fit(X, soft, classes=["a", "b", "c"])
    wanted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    wanted.fit(np.tile(X, (3, 1)), np.repeat(["a", "b", "c"], len(X)), sample_weight=soft.T.ravel())
    np.testing.assert_allclose(model.predict_proba(X), wanted.predict_proba(X), atol=1e-4)
    assert model.classes_.tolist() == ["a", "b", "c"]


def test_a_linear_regressor_is_ridge_with_weights(rng):
    X, w = rng.standard_normal((50, 3)), rng.uniform(0, 2, 50)
    y = X @ [1.0, -1.0, 0.5] + rng.standard_normal(50)
    penalty = 5.0 / w.sum()
    model = full_batch(linear(3, 1), "regressor", penalty=lambda module: penalty * module.weight.square().sum())
    wanted = Ridge(5.0).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(model.fit(X, y, sample_weight=w).predict(X), wanted.predict(X), atol=1e-4)
    assert model.score(X, y) == pytest.approx(wanted.score(X, y), abs=1e-6)


def test_several_targets_images_and_own_losses(rng):
    X, Y = rng.standard_normal((30, 1, 4, 4)), rng.standard_normal((30, 2))

    def network():
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(12, 2)
        )

    def absolute(outputs, targets):
        return (outputs - targets).abs().sum(dim=1)

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.02)

    model = fd.TorchEstimator(network, "regressor", loss=absolute, optimizer=adam, n_epochs=300, random_state=0).fit(
        X, Y
    )
    assert model.predict(X).shape == (30, 2)
    assert np.abs(model.predict(X) - Y).mean() < 0.5 * np.abs(Y).mean()


def test_seeds_templates_and_the_global_generator(labelled):
    X, y = labelled
    template = linear(4, 3)
    before = [p.detach().clone() for p in template.parameters()]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, same, other = (
        fd.TorchEstimator(template, n_epochs=3, random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(before, template.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())

    def network():
        return torch.nn.Linear(4, 3)

    first, second = (fd.TorchEstimator(network, n_epochs=0, random_state=seed).fit(X, y) for seed in (1, 2))
    assert not torch.equal(first.module_.weight, second.module_.weight)


def test_it_is_an_estimator(labelled):
    X, y = labelled
    model = fd.TorchEstimator(linear(4, 3), optimizer=descent, n_epochs=2, random_state=0)
    assert clone(model).get_params()["n_epochs"] == 2
    with pytest.raises(NotFittedError):
        model.predict(X)
    restored = pickle.loads(pickle.dumps(model.fit(X, y)))
    np.testing.assert_array_equal(restored.predict_proba(X), model.predict_proba(X))
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:, :3])
    search = GridSearchCV(model, {"n_epochs": [1, 20]}, cv=3).fit(X, y)
    assert search.best_params_["n_epochs"] == 20


@pytest.mark.parametrize(
    ("options", "y", "error", "words"),
    [
        ({"task": "cluster"}, [0, 1, 2], ValueError, "task must be one of"),
        ({"n_epochs": -1}, [0, 1, 2], ValueError, "n_epochs must be at least 0"),
        ({"batch_size": 1.5}, [0, 1, 2], TypeError, "batch_size must be an integer"),
        ({}, [0, 1], ValueError, "X has 3 samples, but y has 2"),
        ({}, [0, 1, 1], ValueError, r"outputs of shape \(1, 3\).*needs \(1, 2\): classes"),
        ({"task": "regressor"}, [0.0, 1.0, np.nan], ValueError, "y contains NaN"),
        ({"task": "regressor"}, [0.0, 1.0, 2.0], ValueError, r"needs \(1, 1\): targets"),
        ({}, [[0.5, 0.5, 0.5]] * 3, ValueError, "sum of 1 in each row"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=np.inf)}, [0, 1, 2], ValueError, "loss became NaN or inf"),
    ],
)
def test_what_is_refused(options, y, error, words):
    with pytest.raises(error, match=words):
        fd.TorchEstimator(torch.nn.Linear(2, 3), **options).fit(np.eye(3)[:, :2], y)


# --- distilled ---


def test_students_of_a_classifier_learn_the_mixtures_themselves(labelled):
    X, y = labelled
    base = full_batch(linear(4, 3), "classifier", n_epochs=300, penalty=squared_norm)
    model = fd.SelfDistiller(base, xi=[0.6, 0.3], n_steps=None).fit(X, y)
    teacher, truth = model.estimators_[0], np.eye(3)[y]
    for xi, student in zip((0.6, 0.3), model.estimators_[1:], strict=True):
        alone = clone(base).fit(X, (1 - xi) * truth + xi * teacher.predict_proba(X))
        np.testing.assert_allclose(student.predict_proba(X), alone.predict_proba(X), atol=1e-12)
        teacher = student
    assert model.classes_.tolist() == [0, 1, 2]


def test_weights_of_a_regressor_are_estimated(rng):
    X = rng.standard_normal((60, 5))
    y = X @ rng.standard_normal(5) + 0.1 * rng.standard_normal(60)

    def shrink(module):
        return module.weight.square().sum()

    base = full_batch(linear(5, 1), "regressor", n_epochs=200, penalty=shrink)
    model = fd.SelfDistiller(base).fit(X, y)
    ridge = fd.SelfDistiller(Ridge(48.0)).fit(X, y)  # 48 training samples in a fold
    np.testing.assert_allclose(model.cv_results_["xi"], ridge.cv_results_["xi"], rtol=0.05)


def test_bare_modules(labelled, rng):
    X, y = labelled
    names = np.array(["x", "y", "z"])[y]
    template = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = fd.SelfDistiller(template, xi=0.5, n_steps=1).fit(X, names)
    assert is_classifier(model)
    assert model.estimator is template
    again = clone(model).fit(X, names)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert set(model.predict(X)) <= {"x", "y", "z"}
    assert model.predict_proba(X).shape == (80, 3)
    assert 0 < model.score(X, names) <= 1
    assert clone(model).xi == 0.5
    estimated = model.set_params(xi="estimate").fit(X[:40], names[:40])
    assert estimated.verdict_.n_steps in (0, 1)
    assert not hasattr(model.set_params(xi=0.5).fit(X, names), "verdict_")
    regressor = fd.SelfDistiller(torch.nn.Linear(4, 1), xi=-0.5, n_steps=1).fit(X, X[:, 0])
    assert not is_classifier(regressor)
    assert regressor.predict(X).shape == (80,)
    assert regressor.score(X, X[:, 0]) < 1


def test_a_fold_may_lack_a_class(labelled):
    X, y = labelled
    y = y.copy()
    y[:], y[[3, 50]] = y % 2, 2
    model = fd.SelfDistiller(
        fd.TorchEstimator(linear(4, 3), n_epochs=5, random_state=0),
        cv=[(np.arange(40, 80), np.arange(40)), (np.r_[0:3, 4:40], np.arange(40, 80))],
    )
    assert model.fit(X, y).classes_.tolist() == [0, 1, 2]
