"""Naive twins of the spectral core: every student refitted from scratch, nothing shared with the package.

Student 0 minimises `sum_i w_i (y_i - f(x_i))^2 + lam |f|^2`; student t does the same with the targets
`(1 - xi_t) y + xi_t f_{t-1}(x)`. An intercept is never penalised. Slow and obviously right:

* a design is fitted by least squares on the augmented system `[sqrt(w) (X - mean); sqrt(lam) I]`, which stays
  accurate where the normal equations would square the condition number;
* a kernel is fitted by the bordered system `[[K + lam / W, 1], [1', 0]]` over the samples of positive weight;
* an intercept absorbs whatever constant the targets share, so the mean of y is taken off before the chain of refits and
  put back after it: the targets of late steps are nearly constant, and their variation would drown in their mean;
* degrees of freedom come from pushing the identity matrix through the whole chain of students;
* the best mixtures are solved in exact rational arithmetic.

Targets are always (n, m) here, and every result keeps the axes (k + 1, ..., m).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
from scipy.optimize import brentq

Fit = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@dataclass
class Students:
    """All students of one penalty and one schedule; `parameters` are coefficients or dual coefficients."""

    parameters: np.ndarray  # (k + 1, p or n, m)
    intercept: np.ndarray  # (k + 1, m)
    fitted: np.ndarray  # (k + 1, n, m)
    dof: np.ndarray  # (k + 1,)
    train_mse: np.ndarray  # (k + 1, m)
    gcv: np.ndarray  # (k + 1, m)

    def predict(self, queries: np.ndarray) -> np.ndarray:
        """(k + 1, q, m) from (q, p) rows of a design or (q, n) rows kernel(query, train)."""
        return queries @ self.parameters + self.intercept[:, None, :]


def _weights(sample_weight: np.ndarray | None, n: int) -> np.ndarray:
    return np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=float)


def fit_design(X: np.ndarray, fit_intercept: bool, sample_weight: np.ndarray | None) -> Fit:
    """Ridge on the rows of X: a function (targets, lam) -> (coefficients, intercept)."""
    w = _weights(sample_weight, len(X))
    root = np.sqrt(w)[:, None]

    def fit(u: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
        x_mean = w @ X / w.sum() if fit_intercept else np.zeros(X.shape[1])
        u_mean = w @ u / w.sum() if fit_intercept else np.zeros(u.shape[1])
        rows = np.vstack([root * (X - x_mean), np.sqrt(lam) * np.eye(X.shape[1])])
        goal = np.vstack([root * (u - u_mean), np.zeros((X.shape[1], u.shape[1]))])
        coef = np.linalg.lstsq(rows, goal, rcond=None)[0]
        return coef, u_mean - x_mean @ coef

    return fit


def fit_kernel(K: np.ndarray, fit_intercept: bool, sample_weight: np.ndarray | None) -> Fit:
    """Kernel ridge on K: a function (targets, lam) -> (dual coefficients, intercept); 0 at zero weight."""
    w = _weights(sample_weight, len(K))
    used = np.flatnonzero(w > 0)

    def fit(u: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
        dual = np.zeros((len(K), u.shape[1]))
        system = K[np.ix_(used, used)] + np.diag(lam / w[used])
        if not fit_intercept:
            dual[used] = np.linalg.solve(system, u[used])
            return dual, np.zeros(u.shape[1])
        border = np.abs(np.diag(system)).mean()  # any number does; one of the size of the system keeps it well scaled
        ones = np.full((len(used), 1), border)
        bordered = np.block([[system, ones], [ones.T, np.zeros((1, 1))]])
        solution = np.linalg.solve(bordered, np.vstack([u[used], np.zeros((1, u.shape[1]))]))
        dual[used] = solution[:-1]
        return dual, border * solution[-1]

    return fit


def _chain(fit: Fit, rows: np.ndarray, y: np.ndarray, lam: float, xi: np.ndarray) -> tuple[np.ndarray, ...]:
    """Parameters, intercepts and fitted values of students 0..k, each one refitted on its own targets."""
    out = []
    u = y
    for t in range(len(xi) + 1):
        parameters, intercept = fit(u, lam)
        fitted = rows @ parameters + intercept
        out.append((parameters, intercept, fitted))
        if t < len(xi):
            u = (1 - xi[t]) * y + xi[t] * fitted
    return tuple(np.array(part) for part in zip(*out, strict=True))


def students(
    rows: np.ndarray,
    y: np.ndarray,
    lam: float,
    xi: np.ndarray,
    *,
    kernel: bool,
    fit_intercept: bool = False,
    sample_weight: np.ndarray | None = None,
) -> Students:
    """Students 0..k of one penalty and one (k,) schedule; `rows` is the design X or the kernel matrix K."""
    n, m = y.shape
    w = _weights(sample_weight, n)
    fit = (fit_kernel if kernel else fit_design)(rows, fit_intercept, sample_weight)
    goal = np.hstack([y, np.eye(n)])
    mean = w @ goal / w.sum() if fit_intercept else np.zeros(n + m)
    parameters, intercept, fitted = _chain(fit, rows, goal - mean, lam, np.asarray(xi, dtype=float))
    intercept, fitted = intercept + mean, fitted + mean
    dof = np.trace(fitted[:, :, m:], axis1=1, axis2=2)
    train_mse = np.einsum("i,tij->tj", w, (y - fitted[:, :, :m]) ** 2) / w.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        gcv = train_mse / (1 - dof / np.count_nonzero(w))[:, None] ** 2
    return Students(parameters[:, :, :m], intercept[:, :m], fitted[:, :, :m], dof, train_mse, gcv)


def smoother(fit: Fit, rows: np.ndarray, lam: float) -> np.ndarray:
    """The (n, n) matrix of the map from targets to fitted values, column by column."""
    parameters, intercept = fit(np.eye(len(rows)), lam)
    return rows @ parameters + intercept


def limit(
    rows: np.ndarray,
    y: np.ndarray,
    lam: float,
    xi: float,
    *,
    kernel: bool,
    fit_intercept: bool = False,
    sample_weight: np.ndarray | None = None,
) -> Students:
    """The student after so many steps that nothing changes any more (its step axis has length 1)."""
    fit = (fit_kernel if kernel else fit_design)(rows, fit_intercept, sample_weight)
    H = smoother(fit, rows, lam)
    goal = np.hstack([y, np.eye(len(y))])
    fitted = H @ goal
    for _ in range(200_000):
        before, fitted = fitted, H @ ((1 - xi) * goal + xi * fitted)
        if np.abs(fitted - before).max() <= 1e-15 * np.abs(goal).max():
            break
    m = y.shape[1]
    w = _weights(sample_weight, len(y))
    parameters, intercept = fit(((1 - xi) * goal + xi * fitted)[:, :m], lam)
    dof = np.array([np.trace(fitted[:, m:])])
    train_mse = (w @ (y - fitted[:, :m]) ** 2 / w.sum())[None]
    gcv = train_mse / (1 - dof / np.count_nonzero(w))[:, None] ** 2
    return Students(parameters[None], intercept[None], fitted[None, :, :m], dof, train_mse, gcv)


@dataclass
class Rounds:
    """Mobahi's rounds: multipliers c_t of G = K / n, fitted values, and whether the rounds collapsed."""

    multipliers: np.ndarray  # (T,)
    fitted: np.ndarray  # (T, n)
    collapsed: bool


def tolerance_rounds(
    rows: np.ndarray,
    y: np.ndarray,
    eps: float,
    *,
    kernel: bool = True,
    fit_intercept: bool = False,
    sample_weight: np.ndarray | None = None,
    max_rounds: int = 100,
) -> Rounds:
    """Fit the last round to a (weighted) mean squared residual of eps, until the zero fit is enough."""
    w = _weights(sample_weight, len(y))
    fit = (fit_kernel if kernel else fit_design)(rows, fit_intercept, sample_weight)

    def fitted_at(log_c: float, u: np.ndarray) -> np.ndarray:
        parameters, intercept = fit(u[:, None], np.exp(log_c) * w.sum())
        return (rows @ parameters + intercept)[:, 0]

    def excess(log_c: float, u: np.ndarray) -> float:
        return w @ (fitted_at(log_c, u) - u) ** 2 / w.sum() - eps

    multipliers: list[float] = []
    fits: list[np.ndarray] = []
    u = np.asarray(y, dtype=float)
    for _ in range(max_rounds):
        centre = w @ u / w.sum() if fit_intercept else 0.0
        if w @ (u - centre) ** 2 / w.sum() <= eps:
            return Rounds(np.array(multipliers), np.array(fits).reshape(-1, len(u)), True)
        scale = np.log(np.abs(rows).max() ** (1 if kernel else 2))
        log_c = brentq(excess, scale - 25, scale + 25, args=(u,), xtol=1e-14, rtol=1e-14)
        u = fitted_at(log_c, u)
        multipliers.append(float(np.exp(log_c)))
        fits.append(u)
    return Rounds(np.array(multipliers), np.array(fits), False)


def mixture(xi: np.ndarray) -> np.ndarray:
    """Weights of the pure steps in student k: `f_t = a ((1 - xi_t) + xi_t f_{t-1})` as a polynomial in a."""
    weights = [1.0]
    for step in xi:
        weights = [1.0 - step] + [step * v for v in weights]
    return np.array(weights)


def best_mixture(columns: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
    """Affine weights minimising `mean((goal - columns @ w)^2)`: normal equations in rational numbers."""
    exact = [[Fraction(float(v)) for v in column] for column in np.asarray(columns, dtype=float).T]
    rest = [Fraction(float(v)) - a for v, a in zip(goal, exact[0], strict=True)]
    steps = [[v - a for v, a in zip(column, exact[0], strict=True)] for column in exact[1:]]
    table = [[_dot(a, b) for b in steps] + [_dot(a, rest)] for a in steps]
    solution = _eliminate(table)
    for weight, step in zip(solution, steps, strict=True):
        rest = [r - weight * v for r, v in zip(rest, step, strict=True)]
    weights = [1 - sum(solution, Fraction(0)), *solution]
    return np.array([float(v) for v in weights]), float(_dot(rest, rest) / len(rest))


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _eliminate(table: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan on an augmented, nonsingular system of rational numbers."""
    size = len(table)
    for i in range(size):
        pivot = next(j for j in range(i, size) if table[j][i] != 0)
        table[i], table[pivot] = table[pivot], table[i]
        table[i] = [v / table[i][i] for v in table[i]]
        for j in range(size):
            if j != i:
                table[j] = [v - table[j][i] * a for v, a in zip(table[j], table[i], strict=True)]
    return [row[-1] for row in table]


def greedy_schedule(
    fit: Fit, rows: np.ndarray, y: np.ndarray, lam: float, queries: np.ndarray, goal: np.ndarray, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best weight of each step, earlier ones kept, from two refits: (k,) weights and (k + 1,) scores."""
    parameters, intercept = fit(y, lam)
    fitted, plain = rows @ parameters + intercept, queries @ parameters + intercept
    xi, scores = [], [np.mean((goal - plain) ** 2)]
    for _ in range(n_steps):
        pure, pure_intercept = fit(fitted, lam)
        towards = queries @ pure + pure_intercept - plain
        best = np.sum((goal - plain) * towards) / np.sum(towards**2)
        parameters, intercept = fit((1 - best) * y + best * fitted, lam)
        fitted = rows @ parameters + intercept
        xi.append(best)
        scores.append(np.mean((goal - queries @ parameters - intercept) ** 2))
    return np.array(xi), np.array(scores)


def grid_search(columns: np.ndarray, goal: np.ndarray, grid: np.ndarray, n_steps: int) -> float:
    """The smallest mean squared error over all schedules with weights on `grid`; columns are pure steps."""
    return min(np.mean((goal - columns @ mixture(np.array(xi))) ** 2) for xi in product(grid, repeat=n_steps))


# -- Problems and the measure of equality ----------------------------------------------------------

REGIMES = (
    "wide",
    "tall",
    "square",
    "rank_deficient",
    "zero",
    "duplicate_rows",
    "constant_column",
    "condition_1e2",
    "condition_1e4",
    "condition_1e8",
    "condition_1e12",
)
WEIGHTS = ("none", "random", "some_zero", "counts")


def design(regime: str, rng: np.random.Generator) -> np.ndarray:
    """A small design (n, p) with the property its regime names."""
    n, p = {"wide": (9, 15), "tall": (17, 5), "square": (10, 10)}.get(regime, (13, 6))
    X = rng.standard_normal((n, p))
    if regime == "rank_deficient":
        X = X[:, :3] @ rng.standard_normal((3, p))
    elif regime == "zero":
        X[:] = 0.0
    elif regime == "duplicate_rows":
        X[n // 2 :] = X[: n - n // 2]
    elif regime == "constant_column":
        X[:, 2] = 7.5
    elif regime.startswith("condition"):
        U, _, Vt = np.linalg.svd(X, full_matrices=False)
        X = U * np.logspace(0, -np.log10(float(regime.split("_")[1])), p) @ Vt
    return X


def weights(kind: str, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Sample weights (n,) of the named kind."""
    if kind == "none":
        return None
    if kind == "counts":
        return rng.integers(1, 4, n).astype(float)
    w = rng.uniform(0.2, 3.0, n)
    if kind == "some_zero":
        w[rng.choice(n, n // 4, replace=False)] = 0.0
    return w


def rbf(A: np.ndarray, B: np.ndarray, gamma: float) -> np.ndarray:
    """The kernel exp(-gamma |a - b|^2) between the rows of A and B."""
    return np.exp(-gamma * ((A[:, None, :] - B[None, :, :]) ** 2).sum(axis=2))


def relative_error(ours: np.ndarray, exact: np.ndarray, scale: float, axis: tuple[int, ...] = ()) -> float:
    """The worst norm over `axis` of a difference, over that of `exact` or, where it is zero, `scale`."""
    ours, exact = np.asarray(ours, dtype=float), np.asarray(exact, dtype=float)
    assert ours.shape == exact.shape, f"shape {ours.shape} where the twin has {exact.shape}"
    if exact.size == 0:
        return 0.0
    size = np.sqrt((exact**2).sum(axis=axis))
    size = np.where(size > 1e-14 * scale, size, scale)
    return float((np.sqrt(((ours - exact) ** 2).sum(axis=axis)) / size).max())


def leave_one_out(
    rows: np.ndarray,
    y: np.ndarray,
    lam: float,
    xi: np.ndarray,
    *,
    kernel: bool,
    fit_intercept: bool = False,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """Predictions (k + 1, n, m) for each sample by students, teachers included, refitted without it."""
    predictions = []
    for i in range(len(y)):
        rest = np.delete(np.arange(len(y)), i)
        refitted = students(
            rows[np.ix_(rest, rest)] if kernel else rows[rest],
            y[rest],
            lam,
            xi,
            kernel=kernel,
            fit_intercept=fit_intercept,
            sample_weight=None if sample_weight is None else sample_weight[rest],
        )
        predictions.append(refitted.predict(rows[i : i + 1, rest] if kernel else rows[i : i + 1])[:, 0])
    return np.stack(predictions, axis=1)
