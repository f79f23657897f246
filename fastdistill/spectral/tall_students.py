"""Leave-one-out of many students of one target of a tall design, in one pass over its rows.

For ridge the residuals (y − fit) / (1 − h) themselves; for mixtures of the pure steps 0, 1, 2 the products of their
leave-one-out predictions p_0, p_1, p_2 and y, of which the best mixture needs the QR factorisation.

Products of nearly dependent columns lose digits. So each column is first taken less its part along those before, which
is nearly known: were all leverages equal, the columns would be U times coordinates, with one more for y − U z. With M
the R of the QR factorisation of these coordinates, its rows divided by the diagonal, the columns [p_0 p_1 p_2 y] M⁻¹
are nearly orthogonal: with S their products, R = chol(S) M. Where they turn out not to be, a second pass starts from
the R of the first (Cholesky QR, twice). Where that fails too, or a leverage is near one, a penalty is left to
`leave_one_out`.

Cost: that of the pass, see ``kernels/panels.py``, and O(P r²) before it for P penalties.
"""

from __future__ import annotations

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.decompositions.tall import TallRows

EPS = float(np.finfo(np.float64).eps)
# Pivots of the normalised products: above the first the columns are nearly orthogonal, above the second they are next
# time, as the factor has some digits.
ORTHOGONAL, INDEPENDENT = 1e-3, 1e-10
# Each panel reads the matrices of the pass, which leave the cache where they have more columns: of 2500 × 600 the pass
# takes 1.3 of the time of products of blocks of rows, of 2700 × 400 0.7 to 1.3 (200 penalties), of 5000 × 250 0.7.
MOST_COLUMNS = 320
SIX = 6  # penalties whose residuals the kernel forms at once
SMALLEST = 1e-140  # of a column: products of smaller ones lose their digits at the end of the range
DEPENDENT = 1e-12  # a column this close to the span of those before, relatively, is not orthogonalised
UPPER = np.triu_indices(4)
ABOVE = np.triu_indices(4, 1)


def is_served(coordinates: Coordinates, rotated: Rotated, xi: np.ndarray) -> bool:
    """Whether these are two pure steps of one target of a tall design that is worth a pass."""
    return _passed(coordinates, rotated) is not None and xi.shape[1] == 2 and bool((xi == 1.0).all())


def _passed(coordinates: Coordinates, rotated: Rotated) -> TallRows | None:
    """The rows of U where they are formed from a tall design of not too many columns, for one target."""
    return coordinates.tall if rotated.z.shape[1] == 1 and coordinates.rank <= MOST_COLUMNS else None


def two_step_factors(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R (P, 4, 4) of the QR factorisations of [p_0 p_1 p_2 y], one per penalty, and for which (P,) it is valid."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # factors that are not valid
        return _in_two_passes(coordinates, rotated, lam)


def _in_two_passes(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R and its validity; a second pass where the columns of the first were not nearly orthogonal."""
    frame, z = coordinates.frame, rotated.z[:, 0]
    powers = (coordinates.d / (coordinates.d + lam[:, None]))[:, None] ** np.arange(1, 4)[:, None]
    share = frame.fit_intercept / frame.n_samples
    turn = _turns(powers * z, np.append(z, np.sqrt(rotated.outside[0])), powers.sum(axis=2) / frame.n_samples + share)
    found, is_valid = np.empty_like(turn), np.zeros(len(lam), dtype=bool)
    which = np.arange(len(lam))
    for _ in range(2):
        factors, pivots = _factored(_products(coordinates, rotated, powers[which], turn[which]))
        found[which] = factors @ turn[which]
        is_valid[which] = pivots > ORTHOGONAL
        which = which[(pivots > INDEPENDENT) & ~is_valid[which]]
        if not len(which):
            break
        turn[which] = found[which] / found[which].diagonal(axis1=1, axis2=2)[:, :, None]
    return found, is_valid


def _products(coordinates: Coordinates, rotated: Rotated, powers: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Upper triangles (P, 10) of the products of [p_0 p_1 p_2 y] M⁻¹; NaN where a leverage is near one."""
    tall, frame, z = coordinates.tall, coordinates.frame, rotated.z[:, 0]
    assert tall is not None
    fit_directions, fit_up = _in_directions(powers * z)
    diagonal_directions, diagonal_up = _in_directions(powers)
    turns = np.zeros((len(turn) + len(turn) % 2, 7))
    turns[: len(turn), :6] = turn[:, *ABOVE]
    turns[:, 6] = frame.fit_intercept / frame.n_samples
    sums = np.zeros((len(turns), len(UPPER[0]) + 1))
    fit_down, y = tall.inner @ fit_directions.T, rotated.scaled[:, 0]
    arrays = (y, tall.centre, tall.inner, fit_down, diagonal_directions.T, _beside(fit_up, 2), _beside(diagonal_up, 2))
    compiled_kernels().two_pure_steps(tall.design, *map(np.ascontiguousarray, arrays), turns, sums)
    sums[sums[:, -1] > 0.0] = np.nan
    return sums[: len(turn), :-1]


def ridge_left_out(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, *, stored: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """(y − loo) (L, n) of plain ridge for one target, or (L, 0) unless `stored`, and its sums of squares (L,).

    None where the design is not worth a pass, or where a sample is next to interpolated.
    """
    tall, frame = _passed(coordinates, rotated), coordinates.frame
    if tall is None:
        return None
    z, penalty = rotated.z[:, 0], lam[:, None, None]
    with np.errstate(invalid="ignore"):
        complement = np.where(np.isinf(penalty), 1.0, penalty / (coordinates.d + penalty))
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
    with np.errstate(divide="ignore", invalid="ignore"):
        near = compiled_kernels().ridge_residuals(
            tall.design, *map(np.ascontiguousarray, arrays), free, left_out, squares
        )
    return None if near else (left_out, squares)


def _turns(fits: np.ndarray, y: np.ndarray, diagonals: np.ndarray) -> np.ndarray:
    """M (P, 4, 4) from fits (P, 3, r) and y (r + 1,) in coordinates, and the means (P, 3) of the diagonals D."""
    fits = np.pad(fits, ((0, 0), (0, 0), (0, 1)))
    h, d1, d2 = diagonals.T[:, :, None]
    shift0 = (fits[:, 0] - y) / (1.0 - h)
    loo0, moved = fits[:, 0] + shift0 * h, fits[:, 1] + shift0 * d1
    shift1 = (moved - loo0) / (1.0 - h)
    loo1, moved = moved + shift1 * h, fits[:, 2] + shift0 * d2 + shift1 * d1
    loo2 = moved + (moved - loo1) / (1.0 - h) * h
    columns = np.stack([loo0, loo1, loo2, np.broadcast_to(y, loo0.shape)], axis=2)
    if columns.shape[1] < 4:
        columns = np.pad(columns, ((0, 0), (0, 4 - columns.shape[1]), (0, 0)))
    sizes = np.linalg.norm(columns, axis=1)
    upper = np.asarray(np.linalg.qr(columns, mode="r"))
    diagonal = upper.diagonal(axis1=1, axis2=2)
    usable = np.abs(diagonal) > DEPENDENT * sizes
    turn = np.where(usable[:, :, None], upper / np.where(usable, diagonal, 1.0)[:, :, None], 0.0)
    turn[:, range(4), range(4)] = 1.0
    return turn


def _in_directions(multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (f, r) and coefficients (P, k, f) whose products are the multipliers (P, k, r).

    What is cut of a student's multipliers is a rounding error of their own norm.
    """
    flat = multipliers.reshape(-1, multipliers.shape[2])
    directions = spanned_directions(flat)
    return directions, (flat @ directions.T).reshape(*multipliers.shape[:2], -1)


def spanned_directions(rows: np.ndarray) -> np.ndarray:
    """Orthonormal directions (f, r), at least one, that span all rows (N, r) but for rounding errors of their norms."""
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    _, s, vt = np.linalg.svd(rows / np.where(sizes > 0, sizes, 1.0), full_matrices=False)
    return np.asarray(vt[: max(1, np.count_nonzero(s > 2 * EPS * s[0]))])


def _beside(coefficients: np.ndarray, count: int) -> np.ndarray:
    """Coefficients (P, k, f) of `count` penalties side by side, (P / count, f, count k), filled up with zeros."""
    missing = -len(coefficients) % count
    filled = np.pad(coefficients, ((0, missing), (0, 0), (0, 0)))
    return filled.reshape(len(filled) // count, count * filled.shape[1], -1).swapaxes(1, 2)


def _factored(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper Cholesky factors (P, 4, 4) of products, from their upper triangles (P, 10), and the least pivot of each.

    The pivots are those of the products divided by the sizes of the columns; NaN where factors are not finite.
    """
    products = np.empty((len(sums), 4, 4))
    products[:, *UPPER] = products[:, UPPER[1], UPPER[0]] = sums
    sizes = np.sqrt(products.diagonal(axis1=1, axis2=2))
    sizes[sizes < SMALLEST] = np.nan
    factors, pivots = np.zeros_like(products), np.empty((len(sums), 4))
    left = products / sizes[:, :, None] / sizes[:, None, :]
    for j in range(4):
        pivots[:, j] = left[:, j, j]
        factors[:, j, j:] = left[:, j, j:] / np.sqrt(pivots[:, j, None])
        left = left - factors[:, j, :, None] * factors[:, j, None, :]
    return factors * sizes[:, None, :], pivots.min(axis=1)
