"""Leave-one-out of all penalties in one pass over the rows of a tall design, panel by panel of 32 samples in cache.

With U = (X − 1 x̄ᵀ) B, a = d / (d + λ), z the coordinates of y, and 1/n the leverage of an intercept::

    g_j = Σ_r U_r a_r (1 − a_r)^j z_r,      h_j = Σ_r U_r² a_r (1 − a_r)^j,       j = 0, 1, 2
    c_0 = (g_0 − y) / (1 − 1/n − h_0)
    c_j = (g_j + Σ_{s<j} c_s h_{j−s}) / (1 − 1/n − h_0)

c_0 + y is the leave-one-out prediction of ridge, and c_j, j ≥ 1, that of ridge of the residuals of ridge, j times over;
the intercept's smoother is 1/n in h_0 only. Leave-one-out predictions of the pure steps (ξ = 1) are their differences::

    loo_t = y + Σ_j (−1)^j binomial(t, j) c_j

As functions of d, the factors of z of all penalties and j span few directions, and so do those of U². The sums over r
are formed in two stages, through these directions.

==========================  ========================================================================
symbol                      here
==========================  ========================================================================
Bᵀ                          ``basis`` (r, p)
a (1 − a)^j z               ``fit_up @ fit_down``, with B already in ``fit_down`` (f, p)
a (1 − a)^j                 ``diagonal_up @ diagonal_down``, of directions ``diagonal_down`` (e, r)
==========================  ========================================================================

Conventions as in ``filters.py``. The last panel is filled up with samples x̄ of target 0, whose c are 0. Arguments are
C-contiguous but X. Cost: r p + f p + e r multiplications a sample, and f + e for each penalty and j: 100 000 × 50,
50 penalties of two steps with f = e = 20 take 43 ms, where blocks of matrix products take 130.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums
from fastdistill.kernels._intrinsics import PANEL, PANEL_ROWS, panel_pair, panel_products, panel_row

BLOCK = 128  # rows of which products are added up at once: of 50 columns, 64 take 8 % longer and 192 10 %
NEAR_INTERPOLATION = 1 / 64  # below this the subtraction from 1 costs two digits


@jit
def _fill_panel(X, start, means, panel):
    """Centred rows start, start + 1, ... of X, one sample a column: panel (p, PANEL)."""
    part = X[start : start + PANEL]
    if part.shape[0] == PANEL:
        for j in range(panel.shape[0]):
            for i in range(PANEL):
                panel[j, i] = part[i, j] - means[j]
        return
    for j in range(panel.shape[0]):
        for i in range(part.shape[0]):
            panel[j, i] = part[i, j] - means[j]
        for i in range(part.shape[0], PANEL):
            panel[j, i] = 0.0


@jit
def _fill_targets(y, start, part):
    """Targets start, start + 1, ..., and 0 beyond the last."""
    given = y[start : start + PANEL]
    for i in range(PANEL):
        part[i] = given[i] if i < given.shape[0] else 0.0


@jit
def _product(factors, first, panel, out):
    """Rows first, first + 1, ... of factorsᵀ panel (R, PANEL): factors (K, R), panel (K, PANEL)."""
    rows = factors.shape[1]
    whole = first + (rows - first) // PANEL_ROWS * PANEL_ROWS
    for i in range(first, whole, PANEL_ROWS):
        panel_products(factors, i, panel, out)
    for i in range(whole, rows - 1, 2):
        panel_pair(factors, i, panel, out)
    if (rows - whole) % 2:
        panel_row(factors, rows - 1, panel, out)


@jit
def _square(rows, out):
    for k in range(rows.shape[0]):
        for i in range(PANEL):
            out[k, i] = rows[k, i] * rows[k, i]


@jit
def add_centred_products(X, shift, gram, total):
    """Add Σ_i (x_i − c)(x_i − c)ᵀ to gram (p, p), and Σ_i (x_i − c) to total (p,): X (n, p), c = shift (p,).

    Some columns of some rows are a panel here. Below the diagonal of its panels gram is not read, but overwritten.
    """
    p = X.shape[1]
    rows, panel, part = np.empty((BLOCK, p + 1)), np.zeros((BLOCK, PANEL)), np.empty((p + 1, PANEL))
    for start in range(0, X.shape[0], BLOCK):
        block = X[start : start + BLOCK]
        for i in range(block.shape[0]):
            for j in range(p):
                rows[i, j] = block[i, j] - shift[j]
            rows[i, p] = 1.0
        rows[block.shape[0] :] = 0.0
        for first in range(0, p, PANEL):
            width = min(PANEL, p - first)
            for i in range(BLOCK):
                for j in range(width):
                    panel[i, j] = rows[i, first + j]
            _product(rows, first, panel, part)
            for i in range(first, p):
                for j in range(width):
                    gram[i, first + j] += part[i, j]
            for j in range(width):
                total[first + j] += part[p, j]
    for i in range(p):
        for j in range(i):
            gram[j, i] = gram[i, j]


@jit_sums
def _add_products(y, fits, diagonals, m, turn, sums):
    """Add the sums of products of family m of the two whose g and h are rows 3 m, 3 m + 1, 3 m + 2."""
    s00, s01, s02, s03, s11, s12, s13, s22, s23, s33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    t01, t02, t03, t12, t13, t23, free = turn[0], turn[1], turn[2], turn[3], turn[4], turn[5], turn[6]
    near = 0
    for i in range(PANEL):
        left = free - diagonals[3 * m, i]
        near |= not left > NEAR_INTERPOLATION
        inverse, h1 = 1.0 / left, diagonals[3 * m + 1, i]
        c0 = (fits[3 * m, i] - y[i]) * inverse
        c1 = (fits[3 * m + 1, i] + c0 * h1) * inverse
        c2 = (fits[3 * m + 2, i] + c0 * diagonals[3 * m + 2, i] + c1 * h1) * inverse
        q1 = c1 - t01 * c0
        q2 = c2 - t02 * c0 - t12 * q1
        q3 = y[i] + c0 - t03 * c0 - t13 * q1 - t23 * q2
        s00, s01, s02, s03 = s00 + c0 * c0, s01 + c0 * q1, s02 + c0 * q2, s03 + c0 * q3
        s11, s12, s13 = s11 + q1 * q1, s12 + q1 * q2, s13 + q1 * q3
        s22, s23, s33 = s22 + q2 * q2, s23 + q2 * q3, s33 + q3 * q3
    parts = (s00, s01, s02, s03, s11, s12, s13, s22, s23, s33, float(near))
    for k in range(11):
        sums[k] += parts[k]


@jit
def two_pure_steps(X, y, means, basis, fit_down, diagonal_down, fit_up, diagonal_up, turn, sums):
    """Sums over the samples of products of c_0, c_1, c_2 and y + c_0, for an even number P of penalties.

    X (n, p), y (n,) centred, means (p,); the matrices of the head, fit_up (3 P, f) and diagonal_up (3 P, e) with three
    rows a penalty; turn (P, 7) -> added to sums (P, 11). Products of columns that nearly depend on each other would
    lose digits. So column j is taken less t_0j q_0 + ... + t_{j−1,j} q_{j−1} of those before: turn has t_01, t_02,
    t_03, t_12, t_13, t_23, and 1 − 1/n. sums has the upper triangle of QᵀQ row by row, and how many panels have a
    sample with 1 − h below 1/64.
    """
    panel, rows = np.empty((X.shape[1], PANEL)), np.empty((basis.shape[1], PANEL))
    squares, targets = np.empty(rows.shape), np.empty(PANEL)
    few_fits, few_diagonals = np.empty((fit_down.shape[1], PANEL)), np.empty((diagonal_down.shape[1], PANEL))
    fits, diagonals = np.empty((PANEL_ROWS, PANEL)), np.empty((PANEL_ROWS, PANEL))
    for start in range(0, X.shape[0], PANEL):
        _fill_panel(X, start, means, panel)
        _fill_targets(y, start, targets)
        _product(basis, 0, panel, rows)
        _square(rows, squares)
        _product(fit_down, 0, panel, few_fits)
        _product(diagonal_down, 0, squares, few_diagonals)
        for pair in range(fit_up.shape[0]):
            panel_products(fit_up[pair], 0, few_fits, fits)
            panel_products(diagonal_up[pair], 0, few_diagonals, diagonals)
            for m in range(2):
                _add_products(targets, fits, diagonals, m, turn[2 * pair + m], sums[2 * pair + m])


@jit_sums
def _add_ridge(fits, diagonals, first, outside, unreached, start, out, squares):
    """Leave-one-out residuals of samples start, start + 1, ... at penalties first, first + 1, ..., one a row of fits."""
    count = min(PANEL_ROWS, squares.shape[0] - first)
    for k in range(count):
        total = 0.0
        for i in range(PANEL):
            value = (outside[i] + fits[k, i]) / (unreached[i] + diagonals[k, i])
            fits[k, i] = value
            total += value * value
        squares[first + k] += total
    width = min(PANEL, out.shape[1] - start)
    for k in range(count):
        row = out[first + k]
        for i in range(width):
            row[start + i] = fits[k, i]


@jit
def ridge_residuals(X, y, means, first, diagonal_down, fit_up, diagonal_up, free, out, squares):
    """Residuals (y − fit) / (1 − h) of ridge at L penalties, in out (L, n), and their squares added to squares (L,).

    Of arguments as in `two_pure_steps`, but for: first (p, r + f + 1) is B, fit_down and B z side by side; the last of
    the directions diagonal_down (r, e + 1) is 1; fit_up (L / 6, f, 6) and diagonal_up (L / 6, e, 6) are of (1 − a) z
    and 1 − a, of six penalties each; free = 1 − 1/n. Where out is (L, 0) nothing but squares is stored. Returns how
    many samples have a leverage above 63/64 at λ = 0, of which the differences from 1 are not exact.
    """
    panel, rows = np.empty((X.shape[1], PANEL)), np.empty((first.shape[1], PANEL))
    squared, targets = np.empty((diagonal_down.shape[0], PANEL)), np.empty(PANEL)
    few, outside, unreached = np.empty((diagonal_down.shape[1], PANEL)), np.empty(PANEL), np.empty(PANEL)
    fits, diagonals = np.empty((PANEL_ROWS, PANEL)), np.empty((PANEL_ROWS, PANEL))
    rank, few_fits, near = squared.shape[0], rows[diagonal_down.shape[0] :], 0
    for start in range(0, X.shape[0], PANEL):
        _fill_panel(X, start, means, panel)
        _fill_targets(y, start, targets)
        _product(first, 0, panel, rows)
        _square(rows[:rank], squared)
        _product(diagonal_down, 0, squared, few)
        for i in range(PANEL):
            outside[i] = targets[i] - rows[rows.shape[0] - 1, i]
            unreached[i] = free - few[few.shape[0] - 1, i]
            near += not unreached[i] > NEAR_INTERPOLATION
        for six in range(fit_up.shape[0]):
            panel_products(fit_up[six], 0, few_fits, fits)
            panel_products(diagonal_up[six], 0, few, diagonals)
            _add_ridge(fits, diagonals, PANEL_ROWS * six, outside, unreached, start, out, squares)
    return near
