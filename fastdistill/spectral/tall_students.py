"""Leave-one-out of many students of a tall design in one pass over its rows: the pure steps 0, 1, 2 of each penalty.

The columns of `kernels.two_pure_steps`, c_0, c_1, c_2 and c_0 + y, give the leave-one-out predictions by::

    loo_0 = (c_0 + y),  loo_1 = loo_0 − c_1,  loo_2 = loo_0 − 2 c_1 + c_2,  y = loo_0 − c_0

Sums of their products have the square of their condition number. So each column is first taken less its part along
those before. Were all leverages equal, the columns would be U times known coordinates, with one more for y − U z, and
their products would need no rows. With M the R of the QR factorisation of these coordinates, its rows divided by the
diagonal, the columns C M⁻¹ are nearly orthogonal. Where they turn out not to be, or a leverage is near one, a penalty
is left to `leave_one_out`.

Cost: that of the pass, see ``kernels/panels.py``, and O(P r²) before it for P penalties.
"""

from __future__ import annotations

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.coordinates import Coordinates, Rotated

EPS = float(np.finfo(np.float64).eps)
LEAST_PIVOT = 0.1  # of the normalised products: below this they are not nearly orthogonal
SIX = 6  # penalties whose residuals the kernel forms at once
DEPENDENT = 1e-12  # a column this close to the span of those before, relatively, is not orthogonalised
# [loo_0, loo_1, loo_2, y] of the columns [c_0, c_1, c_2, c_0 + y]
PREDICTIONS = np.array([[0.0, 0.0, 0.0, -1.0], [0.0, -1.0, -2.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
UPPER = np.triu_indices(4)
ABOVE = np.triu_indices(4, 1)


def is_served(coordinates: Coordinates, rotated: Rotated, xi: np.ndarray) -> bool:
    """Whether these are two pure steps of one target, and the rows of U are formed from a tall design."""
    return coordinates.tall is not None and rotated.z.shape[1] == 1 and xi.shape[1] == 2 and bool((xi == 1.0).all())


def two_step_factors(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R (P, 4, 4) of the QR factorisations of [loo_0 loo_1 loo_2 y], one per penalty, and for which (P,) it is valid."""
    tall, d, z = coordinates.tall, coordinates.d, rotated.z[:, 0]
    assert tall is not None
    a, complement = _filters(d, lam)
    diagonals = a[:, None] * complement[:, None] ** np.arange(3)[:, None]
    frame = coordinates.frame
    free = 1.0 - frame.fit_intercept / frame.n_samples
    y = np.append(z, np.sqrt(rotated.outside[0]))
    turn = _turns(diagonals * z, y, diagonals.sum(axis=2) / frame.n_samples, free)
    fit_directions, fit_up = _in_directions(diagonals * z)
    diagonal_down, diagonal_up = _in_directions(diagonals)
    even = len(lam) + len(lam) % 2
    turns = np.full((even, 7), free)
    turns[: len(lam), :6] = turn[:, *ABOVE]
    turns[len(lam) :, :6] = 0.0
    sums = np.zeros((even, len(UPPER[0]) + 1))
    fit_down, y = tall.inner @ fit_directions.T, rotated.scaled[:, 0]
    arrays = (y, tall.centre, tall.inner, fit_down, diagonal_down.T, _beside(fit_up, 2), _beside(diagonal_up, 2))
    compiled_kernels().two_pure_steps(tall.design, *map(np.ascontiguousarray, arrays), turns, sums)
    factors, is_accurate = _factored(sums[: len(lam), :-1])
    found = np.linalg.qr(factors @ turn @ PREDICTIONS, mode="r")
    return found, is_accurate & (sums[: len(lam), -1] == 0.0)


def ridge_left_out(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, *, stored: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """(y − loo) (L, n) of plain ridge for one target, or (L, 0) unless `stored`, and its sums of squares (L,).

    None where the rows are not formed from a tall design, or where a sample is next to interpolated.
    """
    tall, frame = coordinates.tall, coordinates.frame
    if tall is None or rotated.z.shape[1] != 1:
        return None
    z, complement = rotated.z[:, 0], _filters(coordinates.d, lam)[1][:, None]
    fit_directions, fit_up = _in_directions(complement * z)
    diagonal_directions, diagonal_up = _in_directions(complement)
    inner = np.hstack([np.eye(len(z)), fit_directions.T, z[:, None]])
    ones = np.ones((1, len(z)))
    arrays = (
        rotated.scaled[:, 0],
        tall.centre,
        tall.inner @ inner,
        np.concatenate([diagonal_directions, ones]).T,
        _beside(fit_up, SIX),
        _beside(diagonal_up, SIX),
    )
    left_out, squares = np.empty((len(lam), frame.n_samples * stored)), np.zeros(len(lam))
    free = 1.0 - frame.fit_intercept / frame.n_samples
    near = compiled_kernels().ridge_residuals(
        tall.design, *map(np.ascontiguousarray, arrays), free, left_out, squares
    )
    return None if near else (left_out, squares)


def _filters(d: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a and 1 − a (P, r)."""
    penalty = lam[:, None]
    with np.errstate(invalid="ignore"):
        complement = np.where(np.isinf(penalty), 1.0, penalty / (d + penalty))
    return d / (d + penalty), complement


def _turns(fits: np.ndarray, y: np.ndarray, leverages: np.ndarray, free: float) -> np.ndarray:
    """M (P, 4, 4) from g (P, 3, r) and y (r + 1,) in coordinates, and the means (P, 3) of h."""
    g = np.pad(fits, ((0, 0), (0, 0), (0, 1)))
    h1, h2 = leverages[:, 1:2], leverages[:, 2:]
    left = free - leverages[:, :1]
    c0 = (g[:, 0] - y) / left
    c1 = (g[:, 1] + c0 * h1) / left
    columns = np.stack([c0, c1, (g[:, 2] + c0 * h2 + c1 * h1) / left, y + c0], axis=2)
    if columns.shape[1] < 4:
        columns = np.pad(columns, ((0, 0), (0, 4 - columns.shape[1]), (0, 0)))
    sizes = np.linalg.norm(columns, axis=1)
    upper = np.linalg.qr(columns, mode="r")
    diagonal = upper.diagonal(axis1=1, axis2=2)
    usable = np.abs(diagonal) > DEPENDENT * sizes
    turn = np.where(usable[:, :, None], upper / np.where(usable, diagonal, 1.0)[:, :, None], 0.0)
    turn[:, range(4), range(4)] = 1.0
    return turn


def _in_directions(multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (f, r) and coefficients (P, k, f) whose products are the multipliers (P, k, r).

    To a rounding error of the first of the k, of which all predictions are differences.
    """
    flat = multipliers.reshape(-1, multipliers.shape[2])
    sizes = np.repeat(np.linalg.norm(multipliers[:, 0], axis=1), multipliers.shape[1])[:, None]
    _, s, vt = np.linalg.svd(flat / np.where(sizes > 0, sizes, 1.0), full_matrices=False)
    directions = vt[: max(1, np.count_nonzero(s > 2 * EPS * s[0]))]
    return directions, (flat @ directions.T).reshape(*multipliers.shape[:2], -1)


def _beside(coefficients: np.ndarray, count: int) -> np.ndarray:
    """Coefficients (P, k, f) of `count` penalties side by side, (P / count, f, count k), filled up with zeros."""
    missing = -len(coefficients) % count
    filled = np.pad(coefficients, ((0, missing), (0, 0), (0, 0)))
    return filled.reshape(len(filled) // count, count * filled.shape[1], -1).swapaxes(1, 2)


def _factored(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper Cholesky factors (P, 4, 4) of products, from their upper triangles (P, 10), and where they are accurate."""
    products = np.empty((len(sums), 4, 4))
    products[:, *UPPER] = products[:, UPPER[1], UPPER[0]] = sums
    sizes = np.sqrt(products.diagonal(axis1=1, axis2=2))
    factors, is_accurate = np.zeros_like(products), np.isfinite(sums).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = products / sizes[:, :, None] / sizes[:, None, :]
        for j in range(4):
            pivot = left[:, j, j].copy()
            is_accurate &= pivot > LEAST_PIVOT  # False of NaN
            factors[:, j, j:] = left[:, j, j:] / np.sqrt(pivot)[:, None]
            left = left - factors[:, j, :, None] * factors[:, j, None, :]
    factors *= sizes[:, None, :]
    return np.where(is_accurate[:, None, None], factors, 0.0), is_accurate
