"""What the tasks of several modules share: their types, a kernel matrix, and the recursion by refits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Answers = dict[str, np.ndarray]
Setup = Callable[[str], Callable[[], Answers]]


def gaussian_kernel(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian kernel matrix (n, n) of ten features and targets (n,)."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, 10))
    squares = np.square(X).sum(axis=1)
    K = np.exp(-0.05 * np.maximum(squares[:, None] + squares - 2.0 * X @ X.T, 0.0))
    return (K + K.T) / 2, np.sin(X[:, 0]) + 0.3 * rng.standard_normal(n)


def chain(fit: Callable[[np.ndarray], np.ndarray], y: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """Predictions (k+1, ...) of every student, `fit` being one refit: targets -> predictions on them."""
    students = [fit(y)]
    for weight in xi:
        students.append(fit((1.0 - weight) * y + weight * students[-1]))
    return np.stack(students)
