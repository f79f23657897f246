"""The minimiser of a run's objective, for the best weight of a teacher where the user gives no reference.

    x* = argmin (1/N) Σ_n w_n ℓ(⟨a_n, x⟩, b_n) + (l2 / 2) ‖x‖²

The squared loss by L-BFGS would take as many passes as its conditioning asks for: up to `LARGEST_GRAM` columns it is
solved from the Gram matrix, O(N p² + p³). Everything else is L-BFGS with exact gradients, O(N p C) an iteration.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lstsq
from scipy.optimize import minimize

from fastdistill.base.linear_losses import loss_values, residuals
from fastdistill.sgd.problem import Model, Problem

LARGEST_GRAM = 2000
MOST_ITERATIONS = 2000


def minimiser(problem: Problem) -> Model:
    """x*; the one of least norm where the squared loss has several."""
    if problem.loss == "squared" and problem.p <= LARGEST_GRAM:
        stacked = _least_squares(problem)
    else:
        start = np.zeros((problem.n_outputs, problem.width))
        found = minimize(
            lambda flat: _value_and_gradient(problem, flat.reshape(start.shape)),
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "ftol": 0.0, "gtol": 1e-9},
        )
        stacked = found.x.reshape(start.shape)
    return _model(stacked, problem.p)


def _model(stacked: np.ndarray, p: int) -> Model:
    return Model(stacked[:, :p], stacked[:, p] if stacked.shape[1] > p else np.zeros(len(stacked)))


def _value_and_gradient(problem: Problem, stacked: np.ndarray) -> tuple[float, np.ndarray]:
    z, b = problem.scores(_model(stacked, problem.p)), problem.targets
    losses = loss_values(problem.loss, *((z[:, 0], b[:, 0]) if problem.loss == "logistic" else (z, b)))
    penalised = stacked.copy()
    penalised[:, problem.p :] = 0.0
    value = float(problem.weight @ losses) / problem.n + 0.5 * problem.l2 * float(np.vdot(penalised, penalised))
    gradient = problem.mean_gradient(residuals(problem.loss, z, b)) + problem.l2 * penalised
    return value, gradient.ravel()


def _least_squares(problem: Problem) -> np.ndarray:
    gram = np.zeros((problem.width, problem.width))
    for rows, X in problem.blocks():
        dense = X.toarray() if problem.is_sparse else X
        block = np.column_stack([dense, np.ones(len(dense))]) if problem.fit_intercept else dense
        gram += (block * problem.weight[rows, None]).T @ block
    gram /= problem.n
    gram[np.arange(problem.p), np.arange(problem.p)] += problem.l2
    return lstsq(gram, problem.mean_gradient(problem.targets).T)[0].T
