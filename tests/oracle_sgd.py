"""Distillation SGD from its definition, many runs side by side: what theory is checked against."""

from __future__ import annotations

import numpy as np


def predictions(loss, z):
    if loss == "squared":
        return z
    if loss == "logistic":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def simulate(
    problem,
    teacher,
    start,
    step_size,
    kd_weight,
    *,
    n_steps,
    n_runs,
    seed,
    variant="kd",
    batch_size=1,
    replace=True,
    keep=1.0,
):
    """All iterates (n_steps + 1, n_runs, P…), the start first; batches are independent.

    x⁺ = C(x − γ (∇f_B(x) − λ ∇f_B(θ) [+ λ ∇f(θ)])): C keeps a coordinate with probability `keep`, divided by it.
    """
    rng = np.random.default_rng(seed)
    loss, X, b = problem.loss, problem.X, problem.targets
    if problem.fit_intercept:
        X = np.column_stack([X, np.ones(len(X))])
    penalty = np.full((X.shape[1], *[1] * (start.ndim - 1)), problem.l2)
    if problem.fit_intercept:
        penalty[-1] = 0.0
    n = len(X)
    outer = "nj,n->nj" if start.ndim == 1 else "nj,nc->njc"
    at_teacher = np.einsum(outer, X, predictions(loss, X @ teacher) - b) + penalty * teacher  # (n, P…)
    if variant == "kd_unbiased":
        at_teacher = at_teacher - at_teacher.mean(axis=0)
    x = np.broadcast_to(start, (n_runs, *start.shape)).copy()
    iterates = np.empty((n_steps + 1, *x.shape))
    iterates[0] = x
    scores, pull = ("rtj,rj->rt", "rtj,rt->rj") if start.ndim == 1 else ("rtj,rjc->rtc", "rtj,rtc->rjc")
    for t in range(n_steps):
        if replace:
            batch = rng.integers(0, n, (n_runs, batch_size))
        else:
            batch = rng.permuted(np.tile(np.arange(n), (n_runs, 1)), axis=1)[:, :batch_size]
        r = predictions(loss, np.einsum(scores, X[batch], x)) - b[batch]
        g = np.einsum(pull, X[batch], r) / batch_size + penalty * x - kd_weight * at_teacher[batch].mean(axis=1)
        x = x - step_size * g
        if keep < 1.0:
            x = x * (rng.uniform(size=x.shape) < keep) / keep
        iterates[t + 1] = x
    return iterates
