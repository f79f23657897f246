"""How far from the optimum a fit has stalled because its features are on different scales.

From the model x that was found, conjugate gradients take a few steps in the coordinates of standardised features
(a_j − mean_j) / s_j, on the quadratic that lies above the objective J and touches it at x::

    J(x + d) ≤ J(x) + ⟨∇J(x), d⟩ + ½ c mean w_n ⟨a_n, d⟩² + (l2 / 2) ‖d‖²,    c = 1, ¼, ½ (squared, logistic, softmax)

so that J there bounds the optimum from above. Cost: two products with X for each of `STEPS`, and four.
"""

from __future__ import annotations

import numpy as np

from fastdistill.sgd.problem import CURVATURE, Model, Problem

STEPS = 5
UNLIKE = 3.0  # times the smallest standard deviation: the largest root mean square of features on one scale
FAR, VISIBLE = 0.05, 0.01  # shares of the objective, and of that of the best constant, that a stalled fit leaves


class Features:
    """Means (p,), 0 without an intercept, and inverse standard deviations (p,) of the columns; 0 of constant ones."""

    def __init__(self, problem: Problem) -> None:
        total, squares = np.zeros(problem.p), np.zeros(problem.p)
        for rows, X in problem.blocks():
            total += problem.weight[rows] @ X
            squares += problem.weight[rows] @ (X.multiply(X) if problem.is_sparse else np.square(X))
        mean, square = total / problem.n, squares / problem.n
        self.mean = mean if problem.fit_intercept else np.zeros(problem.p)
        variance = square - self.mean**2
        varies = variance > 1e-12 * square
        self.inverse = np.where(varies, 1.0, 0.0) / np.sqrt(np.where(varies, variance, 1.0))
        self.are_alike = not varies.any() or np.sqrt(square.max()) * self.inverse.max() <= UNLIKE

    def preconditioned(self, gradient: np.ndarray) -> np.ndarray:
        """A gradient (C, p or p + 1) taken to the coordinates of standardised features and back."""
        p = len(self.mean)
        intercept = gradient[:, p:]
        coef = (gradient[:, :p] - (self.mean * intercept if intercept.size else 0.0)) * self.inverse**2
        return np.column_stack([coef, intercept - (coef @ self.mean)[:, None]]) if intercept.size else coef


def improved(problem: Problem, features: Features, state: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The state (C, p or p + 1) after some steps of conjugate gradients, from the gradient of J at it."""
    p, curvature = problem.p, CURVATURE[problem.loss]
    moved, residual = state.copy(), -gradient
    direction = features.preconditioned(residual)
    product = _products(residual, direction)
    for _ in range(STEPS):
        along = problem.scores(
            Model(direction[:, :p], direction[:, p] if direction.shape[1] > p else np.zeros(len(direction)))
        )
        bent = curvature * problem.mean_gradient(along)
        bent[:, :p] += problem.l2 * direction[:, :p]
        size = _ratio(product, _products(direction, bent))
        moved += size * direction
        residual = residual - size * bent
        new = features.preconditioned(residual)
        last, product = product, _products(residual, new)
        direction = new + _ratio(product, last) * direction
    return moved


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("cp,cp->c", a, b)[:, None]


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
