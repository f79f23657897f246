"""Tasks of distillation SGD, in the form of `benchmarks.comparisons`: epochs over the rows as they are.

Distillation of a loss with linear scores is plain SGD on targets between label and teacher, so that scikit-learn's
``SGDRegressor`` is a twin of it; softmax with batches has a loop in NumPy.

====================  =============================================================================================
task                  twins of fastdistill
====================  =============================================================================================
sgd_dense             ``SGDRegressor`` on mixed targets; the loop in NumPy
sgd_sparse            ``SGDRegressor`` on mixed targets, the same CSR matrix, with its penalty
sgd_configurations    ``SGDRegressor`` once for each weight
sgd_softmax           the loop in NumPy, batches of ten
====================  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.problems import Answers

# (samples, features, epochs)
DENSE_SIZES = {"small": (60, 7, 3), "medium": (5000, 40, 2), "full": (100_000, 100, 5)}
SPARSE_SIZES = {"small": (80, 30, 3), "medium": (4000, 500, 2), "full": (200_000, 10_000, 3)}
SOFTMAX_SIZES = {"small": (60, 7, 3), "medium": (1000, 100, 2), "full": (10_000, 784, 5)}
N_CONFIGURATIONS = 32
N_CLASSES = 10
BATCH = 10
STORED = 0.01
WEIGHT = 0.6
PENALTY = 1e-3


def dense_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
    """A design (n, p), targets (n,), a teacher (p,), a step size and epochs."""
    n, p, epochs = DENSE_SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, p))
    truth = rng.standard_normal(p)
    return X, X @ truth + rng.standard_normal(n), truth + 0.1, 0.05 / p, epochs


def sparse_problem(size: str) -> tuple[Any, np.ndarray, np.ndarray, float, int]:
    """A CSR design with 1 % of its values stored (at least one a row), targets, a teacher, a step size and epochs."""
    from scipy.sparse import csr_array

    n, p, epochs = SPARSE_SIZES[size]
    rng = np.random.default_rng(n)
    stored = max(1, round(STORED * p))
    columns = np.sort(rng.integers(0, p // stored, (n, stored)) + np.arange(stored) * (p // stored), axis=1)
    indptr = np.arange(n + 1) * stored
    X = csr_array((rng.standard_normal(n * stored), columns.ravel().astype(np.int32), indptr.astype(np.int32)), (n, p))
    truth = rng.standard_normal(p)
    return X, X @ truth + rng.standard_normal(n), truth + 0.1, 0.05 / stored, epochs


def softmax_problem(size: str, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
    """Pixels (n, p) in [0, 1], classes (n,), a teacher (p, 10), a step size and epochs."""
    n, p, epochs = SOFTMAX_SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.random((n, p)).astype(dtype)
    truth = rng.standard_normal((p, N_CLASSES)) / p**0.5
    y = (X @ truth + 0.1 * rng.gumbel(size=(n, N_CLASSES))).argmax(axis=1)
    y[:N_CLASSES] = np.arange(N_CLASSES)
    return X, y, truth.astype(dtype), 1.0 / p, epochs


def sgd_sklearn(
    X: Any, targets: np.ndarray, step: float, epochs: int, penalty: float = 0.0, shuffle: bool = False
) -> np.ndarray:
    """Coefficients after plain SGD, over the rows as they are or shuffled."""
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(
        penalty="l2" if penalty else None,
        alpha=penalty,
        fit_intercept=False,
        learning_rate="constant",
        eta0=step,
        shuffle=shuffle,
        max_iter=epochs,
        tol=None,
    )
    return model.fit(X, targets).coef_


def sgd_dense_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, teacher, step, epochs = dense_problem(size)
    options: dict[str, Any] = {"order": "sequential", "record_every": 0, "n_epochs": epochs, "step_size": step}
    return lambda: {"coef": fd.run_sgd(X, y, teacher=teacher, kd_weight=WEIGHT, **options).coef}


def sgd_dense_sklearn(size: str) -> Callable[[], Answers]:
    X, y, teacher, step, epochs = dense_problem(size)
    return lambda: {"coef": sgd_sklearn(X, (1 - WEIGHT) * y + WEIGHT * (X @ teacher), step, epochs)}


def sgd_dense_numpy(size: str) -> Callable[[], Answers]:
    X, y, teacher, step, epochs = dense_problem(size)

    def answer() -> Answers:
        x = np.zeros_like(teacher)
        for _ in range(epochs):
            for row, label in zip(X, y, strict=True):
                x -= step * ((row @ x - label) - WEIGHT * (row @ teacher - label)) * row
        return {"coef": x}

    return answer


def sgd_sparse_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, teacher, step, epochs = sparse_problem(size)
    mixed = (1 - WEIGHT) * y + WEIGHT * (X @ teacher)
    options: dict[str, Any] = {"order": "sequential", "record_every": 0, "n_epochs": epochs, "step_size": step}
    taught = fd.TeacherOutputs(mixed)  # without coefficients, as the twin has none to penalise
    return lambda: {"coef": fd.run_sgd(X, y, teacher=taught, kd_weight=1.0, l2=PENALTY, **options).coef}


def sgd_sparse_sklearn(size: str) -> Callable[[], Answers]:
    X, y, teacher, step, epochs = sparse_problem(size)
    mixed = (1 - WEIGHT) * y + WEIGHT * (X @ teacher)
    return lambda: {"coef": sgd_sklearn(X, mixed, step, epochs, PENALTY)}


def configurations_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, int]:
    """`dense_problem` with 32 weights of the teacher."""
    X, y, teacher, step, epochs = dense_problem(size)
    return X, y, teacher, np.linspace(0.0, 1.0, N_CONFIGURATIONS), step, epochs


def sgd_configurations_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, teacher, weights, step, epochs = configurations_problem(size)
    options: dict[str, Any] = {"order": "sequential", "record_every": 0, "n_epochs": epochs, "step_size": step}
    return lambda: {"coef": fd.run_sgd(X, y, teacher=teacher, kd_weight=weights, **options).coef}


def sgd_configurations_sklearn(size: str) -> Callable[[], Answers]:
    X, y, teacher, weights, step, epochs = configurations_problem(size)

    def answer() -> Answers:
        taught = X @ teacher
        return {"coef": np.stack([sgd_sklearn(X, (1 - w) * y + w * taught, step, epochs) for w in weights])}

    return answer


def sgd_softmax_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, teacher, step, epochs = softmax_problem(size)
    options: dict[str, Any] = {"order": "sequential", "record_every": 0, "n_epochs": epochs, "step_size": step}
    run = {"teacher": teacher, "kd_weight": WEIGHT, "batch_size": BATCH, **options}
    return lambda: {"coef": fd.run_sgd(X, y, "softmax", **run).coef}


def sgd_softmax_numpy(size: str) -> Callable[[], Answers]:
    X, y, teacher, step, epochs = softmax_problem(size)

    def answer() -> Answers:
        def softmax(z: np.ndarray) -> np.ndarray:
            e = np.exp(z - z.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)

        labels, x = np.eye(N_CLASSES)[y], np.zeros_like(teacher)
        for _ in range(epochs):
            for start in range(0, len(X), BATCH):
                A, b = X[start : start + BATCH], labels[start : start + BATCH]
                gradient = (softmax(A @ x) - b) - WEIGHT * (softmax(A @ teacher) - b)
                x -= step * A.T @ gradient / len(A)
        return {"coef": x}

    return answer


SGD_TASKS = {
    "sgd_dense": {
        "fastdistill": sgd_dense_fastdistill,
        "sklearn": sgd_dense_sklearn,
        "numpy": sgd_dense_numpy,
    },
    "sgd_sparse": {"fastdistill": sgd_sparse_fastdistill, "sklearn": sgd_sparse_sklearn},
    "sgd_configurations": {"fastdistill": sgd_configurations_fastdistill, "sklearn": sgd_configurations_sklearn},
    "sgd_softmax": {"fastdistill": sgd_softmax_fastdistill, "numpy": sgd_softmax_numpy},
}
