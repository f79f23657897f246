"""Leave-one-out where no leverage is near one, and the triangular factors by which mixtures of students are scored.

Let H be the smoother of student 0, h = diag H the leverages, and D_j = diag H^(j+1). The prediction for a point that
neither a student nor its teachers have seen is that of a fit to targets in which the point's own is replaced by its
teacher's leave-one-out prediction::

    q_t = fit_t + Σ_{s<t} δ_s Π_{s<r≤t} ξ_r D_{t−s},   δ_t = (q_t − (1 − ξ_t) y − ξ_t loo_{t−1}) / (1 − h)
    loo_t = q_t + δ_t h

The subtraction in 1 − h has a relative error of eps / (1 − h); `leave_one_out` in ``filters.py`` avoids it.

==========================  ==================================
symbol                      here
==========================  ==================================
P: imitation parameter ξ_t  ``xi[t - 1]``
D_j                         ``power_diagonals[j]``
==========================  ==================================

Conventions as in ``filters.py``; allocated are only working arrays of (2 k + 5) n entries. Cost: O(n k²) a penalty.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums


@jit
def leave_one_out_direct(xi, y, power_diagonals, fit, out):
    """Leave-one-out predictions of students 0..k at n points with 1 − h well above 0.

    xi (k,), y (n,); power_diagonals (k+1, n) = Σ_r U_ir² a_r^(j+1) (plus an intercept's share), the first h;
    fit (k+1, n) -> out (k+1, n).
    """
    n = y.shape[0]
    inverse = np.empty(n)
    shift = np.empty((out.shape[0], n))
    for i in range(n):
        inverse[i] = 1.0 / (1.0 - power_diagonals[0, i])
    for t in range(out.shape[0]):
        for i in range(n):
            out[t, i] = fit[t, i]
        for s in range(t):
            for i in range(n):
                shift[s, i] *= xi[t - 1]
                out[t, i] += shift[s, i] * power_diagonals[t - s, i]
        # one array written in each loop: with more of them LLVM gives up proving that none overlap
        weight, teacher = (xi[t - 1], t - 1) if t > 0 else (0.0, 0)
        for i in range(n):
            shift[t, i] = (out[t, i] - (1.0 - weight) * y[i] - weight * out[teacher, i]) * inverse[i]
        for i in range(n):
            out[t, i] += shift[t, i] * power_diagonals[0, i]


@jit
def append_rows(columns, factor):
    """Append n rows to a QR factorisation: R (c, c), in `factor`, becomes that of [R; columnsᵀ].

    columns (c, n): each row of the array is one column of the new rows. Modified Gram-Schmidt, whose R is as accurate
    as Householder's; `columns` is overwritten. NaN where an entry is not finite.
    """
    before = np.empty(factor.shape)
    for j in range(factor.shape[0]):
        for c in range(factor.shape[0]):
            before[c, j] = factor[j, c]
    for j in range(factor.shape[0]):
        for c in range(j):
            factor[j, c] = 0.0
        square = _product(columns, before, j, j)
        norm = np.sqrt(square)
        factor[j, j] = norm
        for c in range(j + 1, factor.shape[0]):
            along = 0.0
            if norm != 0.0:
                along = _product(columns, before, j, c) / square
            factor[j, c] = along * norm
            for i in range(columns.shape[1]):
                columns[c, i] -= along * columns[j, i]
            for i in range(before.shape[1]):
                before[c, i] -= along * before[j, i]


@jit_sums
def _product(columns, before, j, c):
    """Of two columns that are stored in two parts each. (Views of rows would take half a second more to compile.)"""
    total, rest = 0.0, 0.0
    for i in range(columns.shape[1]):
        total += columns[j, i] * columns[c, i]
    for i in range(before.shape[1]):
        rest += before[j, i] * before[c, i]
    return total + rest


@jit_sums
def _dot(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@jit
def leave_one_out_factors(xi, y, root, power_diagonals, fit, skipped, factors):
    """Append √w [loo_0 .. loo_k y] of n points to the R factors of P families of students, with `append_rows`.

    xi (P, k), y (n,), root (n,) the square roots of the weights, or (0,) where all are 1; power_diagonals, fit
    (P, k+1, n) as in `leave_one_out_direct`; families with skipped (P,) are not touched -> factors (P, k+2, k+2).
    """
    steps, n = power_diagonals.shape[1], y.shape[0]
    columns = np.empty((steps + 1, n))
    for f in range(power_diagonals.shape[0]):
        if skipped[f]:
            continue
        leave_one_out_direct(xi[f], y, power_diagonals[f], fit[f], columns[:steps])
        for i in range(n):
            columns[steps, i] = y[i]
        if root.shape[0] > 0:
            for t in range(steps + 1):
                for i in range(n):
                    columns[t, i] *= root[i]
        append_rows(columns, factors[f])


@jit
def descend_weights(changes, error, low, high, sweeps, xi):
    """Coordinate descent over imitation weights within [low, high], in place.

    min ‖Σ_i S_i changes_i − error‖² over xi (k,) with the tail sums S_i = Π_{l > k−i} ξ_l; changes (k, c), error (c,).
    The sum is affine in each ξ_t, so that its best value is a quotient. Ends when no coordinate moves, or after
    `sweeps`, each of O(k² c).
    """
    k, c = xi.shape[0], error.shape[0]
    residual, change = np.empty(c), np.empty(c)
    for _ in range(sweeps):
        residual[:] = error
        tail = 1.0
        for i in range(k):
            tail *= xi[k - 1 - i]
            for j in range(c):
                residual[j] -= tail * changes[i, j]
        moved = False
        for t in range(k):
            tail = 1.0
            for later in range(t + 1, k):
                tail *= xi[later]
            change[:] = 0.0  # the derivative of the sum by ξ_t
            for i in range(k - 1 - t, k):
                for j in range(c):
                    change[j] += tail * changes[i, j]
                if i < k - 1:
                    tail *= xi[k - 2 - i]
            square = _dot(change, change)
            if square > 0.0:
                step = min(max(xi[t] + _dot(residual, change) / square, low), high) - xi[t]
                moved = moved or abs(step) > 1e-12 * abs(xi[t]) + 1e-14
                xi[t] += step
                for j in range(c):
                    residual[j] -= step * change[j]
        if not moved:
            return
