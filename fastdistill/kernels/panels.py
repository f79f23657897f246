"""Leave-one-out of all penalties in one pass over the rows of a tall design, panel by panel of 32 samples in cache.

With U = (X − 1 x̄ᵀ) B, a = d / (d + λ), z the coordinates of y, and s = 1/n for an intercept, the fits and the
diagonals of the powers of the smoother are::

    f_t = Σ_r U_r a_r^(t+1) z_r,      D_t = s + Σ_r U_r² a_r^(t+1),       t = 0, 1, 2

from which the leave-one-out predictions of the pure steps (ξ = 1) follow as in ``scores.py``. As functions of d, the
factors a^(t+1) z of all penalties and steps span few directions, and so do those of U². So the sums over r are formed
in two stages, through these directions.

==========================  ========================================================================
symbol                      here
==========================  ========================================================================
B                           ``basis`` (p, r)
a^(t+1) z                   coefficients ``fit_up`` of f directions, with B in ``fit_down`` (p, f)
a^(t+1)                     coefficients ``diagonal_up`` of e directions ``diagonal_down`` (r, e)
==========================  ========================================================================

Conventions as in ``filters.py``. The last panel is filled up with samples x̄ of target 0, of which everything is 0. All
arguments are C-contiguous but X. Cost: p r + p f + r e multiplications a sample, and f + e for each penalty and step:
100 000 × 50, 50 penalties of two steps with f = e = 20, take 41 ms, of which products take 24, at 90 GFLOP/s; by matrix
products of blocks of rows, which store what they form, it was 130.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums
from fastdistill.kernels._intrinsics import PANEL, PANEL_ROWS, panel_pair, panel_products, panel_row, prefetch

BLOCK = 96  # rows of which products are added up at once: of 50 columns, 64 take 12 % longer and 128 8 %
LINE = 8  # values of a cache line
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
def _ask(X, start, part, parts):
    """Ask for one of so many parts of the panel of samples start, start + 1, ..., while another one is worked on.

    The arithmetic of a panel takes longer than the processor looks ahead by itself: without it, 46 ms instead of 42.
    """
    if X.strides[1] == X.itemsize and X.strides[0] == X.shape[1] * X.itemsize:
        lines = (PANEL * X.shape[1] // LINE + parts - 1) // parts
        for k in range(part * lines, (part + 1) * lines):
            prefetch(X, start * X.shape[1] + LINE * k)


@jit
def _fill_targets(y, start, part):
    """Targets start, start + 1, ..., and 0 beyond the last."""
    given = y[start : start + PANEL]
    for i in range(PANEL):
        part[i] = given[i] if i < given.shape[0] else 0.0


@jit
def _product(factors, panel, out):
    """factorsᵀ panel (R, PANEL) of factors (K, R) and panel (K, PANEL)."""
    rows = factors.shape[1]
    whole = rows // PANEL_ROWS * PANEL_ROWS
    for i in range(0, whole, PANEL_ROWS):
        panel_products(factors, i, panel, 0, out)
    for i in range(whole, rows - 1, 2):
        panel_pair(factors, i, panel, 0, out)
    if (rows - whole) % 2:
        panel_row(factors, rows - 1, panel, 0, out)


@jit
def _square(rows, count):
    """The first rows, in place: with fewer arrays more of them stay in the first-level cache."""
    for k in range(count):
        for i in range(PANEL):
            rows[k, i] *= rows[k, i]


@jit
def add_centred_products(X, shift, gram, total):
    """Add Σ_i (x_i − c)(x_i − c)ᵀ to gram (p, p), and Σ_i (x_i − c) to total (p,): X (n, p), c = shift (p,).

    Some columns of some rows are a panel here. Below the diagonal of its panels gram is not read, but overwritten.
    """
    p = X.shape[1]
    # rows of whole panels, whose length is no power of two
    rows = np.zeros((BLOCK, (p + PANEL) // PANEL * PANEL + LINE))
    part = np.empty((p + PANEL_ROWS, PANEL))
    for start in range(0, X.shape[0], BLOCK):
        block = X[start : start + BLOCK]
        for i in range(block.shape[0]):
            for j in range(p):
                rows[i, j] = block[i, j] - shift[j]
            rows[i, p] = 1.0
        rows[block.shape[0] :] = 0.0
        for first in range(0, p, PANEL):
            width = min(PANEL, p - first)
            for i in range(first, p + 1, PANEL_ROWS):
                panel_products(rows, i, rows, first, part)
            for i in range(first, p):
                for j in range(width):
                    gram[i, first + j] += part[i, j]
            for j in range(width):
                total[first + j] += part[p, j]
    for i in range(p):
        for j in range(i):
            gram[j, i] = gram[i, j]


@jit_sums
def _add_products(y, fits, diagonals, m, turn, share, sums):
    """Add the sums of products of family m of the two whose f and D − s are rows 3 m, 3 m + 1, 3 m + 2."""
    s00, s01, s02, s03, s11, s12, s13, s22, s23, s33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    t01, t02, t03, t12, t13, t23 = turn[0], turn[1], turn[2], turn[3], turn[4], turn[5]
    near = 0
    for i in range(PANEL):
        h, d1 = diagonals[3 * m, i] + share, diagonals[3 * m + 1, i] + share
        left = 1.0 - h
        near |= not left > NEAR_INTERPOLATION
        inverse = 1.0 / left
        shift0 = (fits[3 * m, i] - y[i]) * inverse
        q0 = fits[3 * m, i] + shift0 * h
        moved = fits[3 * m + 1, i] + shift0 * d1
        shift1 = (moved - q0) * inverse
        loo1 = moved + shift1 * h
        moved = fits[3 * m + 2, i] + shift0 * (diagonals[3 * m + 2, i] + share) + shift1 * d1
        q1 = loo1 - t01 * q0
        q2 = moved + (moved - loo1) * inverse * h - t02 * q0 - t12 * q1
        q3 = y[i] - t03 * q0 - t13 * q1 - t23 * q2
        s00, s01, s02, s03 = s00 + q0 * q0, s01 + q0 * q1, s02 + q0 * q2, s03 + q0 * q3
        s11, s12, s13 = s11 + q1 * q1, s12 + q1 * q2, s13 + q1 * q3
        s22, s23, s33 = s22 + q2 * q2, s23 + q2 * q3, s33 + q3 * q3
    parts = (s00, s01, s02, s03, s11, s12, s13, s22, s23, s33, float(near))
    for k in range(11):
        sums[k] += parts[k]


@jit
def two_pure_steps(X, y, means, basis, fit_down, diagonal_down, fit_up, diagonal_up, turn, sums):
    """Sums over the samples of products of loo_0, loo_1, loo_2 and y, for an even number P of penalties.

    X (n, p), y (n,) centred, means (p,); the matrices of the head, fit_up (P / 2, f, 6) and diagonal_up (P / 2, e, 6)
    with three columns a penalty; turn (P, 7) -> added to sums (P, 11). Products of columns that nearly depend on each
    other would lose digits. So each column is taken less a part of those before, q_j = column_j − Σ_{i<j} t_ij q_i:
    turn has t_01, t_02, t_03, t_12, t_13, t_23, and s. sums has the upper triangle of QᵀQ row by row, and how many
    panels have a sample with 1 − h below 1/64.
    """
    panel, rows = np.empty((X.shape[1], PANEL)), np.empty((basis.shape[1], PANEL))
    targets = np.empty(PANEL)
    few_fits, few_diagonals = np.empty((fit_down.shape[1], PANEL)), np.empty((diagonal_down.shape[1], PANEL))
    fits, diagonals = np.empty((PANEL_ROWS, PANEL)), np.empty((PANEL_ROWS, PANEL))
    for start in range(0, X.shape[0], PANEL):
        _fill_panel(X, start, means, panel)
        _fill_targets(y, start, targets)
        _product(basis, panel, rows)
        _square(rows, rows.shape[0])
        _product(fit_down, panel, few_fits)
        _product(diagonal_down, rows, few_diagonals)
        for pair in range(fit_up.shape[0]):
            _ask(X, start + PANEL, pair, fit_up.shape[0])
            panel_products(fit_up[pair], 0, few_fits, 0, fits)
            panel_products(diagonal_up[pair], 0, few_diagonals, 0, diagonals)
            for m in range(2):
                family = 2 * pair + m
                _add_products(targets, fits, diagonals, m, turn[family], turn[family, 6], sums[family])


@jit_sums
def _add_ridge(fits, diagonals, first, outside, unreached, start, out, squares):
    """Residuals left out of samples start, start + 1, ... at penalties first, first + 1, ..., one a row of fits."""
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
    and 1 − a, of six penalties each; free = 1 − s. Where out is (L, 0) nothing but squares is stored. Returns how
    many samples have a leverage above 63/64 at λ = 0, of which the differences from 1 are not exact.
    """
    panel, rows = np.empty((X.shape[1], PANEL)), np.empty((first.shape[1], PANEL))
    targets, outside, unreached = np.empty(PANEL), np.empty(PANEL), np.empty(PANEL)
    rank, few = diagonal_down.shape[0], np.empty((diagonal_down.shape[1], PANEL))
    fits, diagonals = np.empty((PANEL_ROWS, PANEL)), np.empty((PANEL_ROWS, PANEL))
    few_fits, near = rows[rank:], 0
    for start in range(0, X.shape[0], PANEL):
        _fill_panel(X, start, means, panel)
        _fill_targets(y, start, targets)
        _product(first, panel, rows)
        _square(rows, rank)
        _product(diagonal_down, rows[:rank], few)
        for i in range(PANEL):
            outside[i] = targets[i] - rows[rows.shape[0] - 1, i]
            unreached[i] = free - few[few.shape[0] - 1, i]
            near += not unreached[i] > NEAR_INTERPOLATION
        for six in range(fit_up.shape[0]):
            _ask(X, start + PANEL, six, fit_up.shape[0])
            panel_products(fit_up[six], 0, few_fits, 0, fits)
            panel_products(diagonal_up[six], 0, few, 0, diagonals)
            _add_ridge(fits, diagonals, PANEL_ROWS * six, outside, unreached, start, out, squares)
    return near
