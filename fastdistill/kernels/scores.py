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

# Rows appended to a triangular factor by a Cholesky factor of I + ZᵀZ may have this squared size, in units of the rows
# before: rounding is that many times eps.
MOST_GROWTH = 64.0
SAMPLES = 32  # whose squares are turned from rows into columns at once


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


@jit_sums
def _append_two_steps(xi, y, root, power_diagonals, fit, factor):
    """`leave_one_out_factors` of one family, k = 2, in one loop; False, and nothing done, where it would lose digits.

    100 000 points and 50 penalties take 28 ms; stored predictions, orthogonalised in passes, 46.
    With Z = √w [loo_0 loo_1 loo_2 y] R⁻¹ the new factor is U R, Uᵀ U = I + Zᵀ Z: well conditioned for rows that are not
    much larger, in any direction, than all those before. root (n,) has the square roots of the weights.
    """
    r = factor
    if not min(r[0, 0], r[1, 1], r[2, 2], r[3, 3]) > 0.0:
        return False
    i0, i1, i2, i3 = 1.0 / r[0, 0], 1.0 / r[1, 1], 1.0 / r[2, 2], 1.0 / r[3, 3]
    r01, r02, r03, r12, r13, r23 = r[0, 1], r[0, 2], r[0, 3], r[1, 2], r[1, 3], r[2, 3]
    first, second = xi[0], xi[1]
    g00, g01, g02, g03, g11, g12, g13, g22, g23, g33 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(y.shape[0]):
        inverse = 1.0 / (1.0 - power_diagonals[0, i])
        # loo_t = (1 − ξ_t) y + ξ_t loo_{t−1} + δ_t
        shift = (fit[0, i] - y[i]) * inverse
        loo0 = y[i] + shift
        goal1, shift1 = y[i] + first * (loo0 - y[i]), first * shift
        new1 = (fit[1, i] + shift1 * power_diagonals[1, i] - goal1) * inverse
        loo1 = goal1 + new1
        goal2 = y[i] + second * (loo1 - y[i])
        moved = second * (shift1 * power_diagonals[2, i] + new1 * power_diagonals[1, i])
        loo2 = goal2 + (fit[2, i] + moved - goal2) * inverse
        z0 = root[i] * loo0 * i0
        z1 = (root[i] * loo1 - z0 * r01) * i1
        z2 = (root[i] * loo2 - z0 * r02 - z1 * r12) * i2
        z3 = (root[i] * y[i] - z0 * r03 - z1 * r13 - z2 * r23) * i3
        g00, g01, g02, g03 = g00 + z0 * z0, g01 + z0 * z1, g02 + z0 * z2, g03 + z0 * z3
        g11, g12, g13 = g11 + z1 * z1, g12 + z1 * z2, g13 + z1 * z3
        g22, g23, g33 = g22 + z2 * z2, g23 + z2 * z3, g33 + z3 * z3
    if not g00 + g11 + g22 + g33 < MOST_GROWTH:
        return False
    u = np.array(
        [[1.0 + g00, g01, g02, g03], [0.0, 1.0 + g11, g12, g13], [0.0, 0.0, 1.0 + g22, g23], [0.0, 0.0, 0.0, 1.0 + g33]]
    )
    _times_cholesky(u, factor)
    return True


@jit
def _times_cholesky(square, factor):
    """R (c, c), in `factor`, becomes U R with Uᵀ U = `square`, of which the upper triangle is read and overwritten."""
    c = factor.shape[0]
    for j in range(c):
        square[j, j] = np.sqrt(square[j, j])
        for m in range(j + 1, c):
            square[j, m] /= square[j, j]
        for i in range(j + 1, c):
            for m in range(i, c):
                square[i, m] -= square[j, i] * square[j, m]
    for j in range(c):
        for m in range(j, c):
            total = 0.0
            for i in range(j, m + 1):
                total += square[j, i] * factor[i, m]
            factor[j, m] = total  # the rows before are read no more


@jit
def leave_one_out_factors(xi, y, root, power_diagonals, fit, skipped, factors):
    """Append √w [loo_0 .. loo_k y] of n points to the R factors of P families of students, with `append_rows`.

    xi (P, k), y (n,), root (n,) the square roots of the weights, or (0,) where all are 1; power_diagonals, fit
    (P, k+1, n) as in `leave_one_out_direct`; families with skipped (P,) are not touched -> factors (P, k+2, k+2).
    """
    steps, n = power_diagonals.shape[1], y.shape[0]
    root_or_ones = root if root.shape[0] > 0 else np.ones(n)
    columns = np.empty((steps + 1, n))
    for f in range(power_diagonals.shape[0]):
        if skipped[f]:
            continue
        if steps == 3 and _append_two_steps(xi[f], y, root_or_ones, power_diagonals[f], fit[f], factors[f]):
            continue
        leave_one_out_direct(xi[f], y, power_diagonals[f], fit[f], columns[:steps])
        for i in range(n):
            columns[steps, i] = y[i]
        if root.shape[0] > 0:
            for t in range(steps + 1):
                for i in range(n):
                    columns[t, i] *= root[i]
        append_rows(columns, factors[f])


@jit_sums
def left_out_squares(residuals, outside, inverse, out):
    """Add Σ_i (inverse_i (residual_i + outside_i))² of ridge at L penalties and m targets to out (m, L).

    residuals (L, m, n) of fits within the range of the samples, outside (m, n) beyond it; inverse (L, n) =
    sqrt(w) / (1 − h). One pass over the residuals while they are in cache.
    """
    for i in range(residuals.shape[0]):
        for j in range(residuals.shape[1]):
            total = 0.0
            for k in range(residuals.shape[2]):
                value = inverse[i, k] * (residuals[i, j, k] + outside[j, k])
                total += value * value
            out[j, i] += total


@jit_sums
def left_out_residuals(residuals, outside, inverse, start, out, squares):
    """inverse_i (residual_i + outside_i) of samples start, start + 1, ... in out (m, L, n); squares added to (m, L).

    residuals (L, m, rows), outside (m, rows) and inverse (L, rows) as of `left_out_squares`.
    """
    for j in range(residuals.shape[1]):
        for i in range(residuals.shape[0]):
            total = 0.0
            for k in range(residuals.shape[2]):
                value = inverse[i, k] * (residuals[i, j, k] + outside[j, k])
                out[j, i, start + k] = value
                total += value * value
            squares[j, i] += total


@jit
def sums_of_groups(values, group, out):
    """Σ value² (m, L, G) over the samples of each group: values (m, L, n), group (m, n) from 0 to G − 1.

    Of some samples after the other, all L sums of a sample's group side by side, so that they are added by vectors:
    2 ms of 20 × 100 000 values; one value after the other, 7.
    """
    n, count = values.shape[2], values.shape[1]
    squares, sums = np.empty((SAMPLES, count)), np.empty((out.shape[2], count))
    for j in range(values.shape[0]):
        sums[:] = 0.0
        for start in range(0, n, SAMPLES):
            width = min(SAMPLES, n - start)
            for i in range(count):
                for k in range(width):
                    squares[k, i] = values[j, i, start + k] * values[j, i, start + k]
            for k in range(width):
                to = sums[np.uintp(group[j, start + k])]
                for i in range(count):
                    to[i] += squares[k, i]
        for i in range(count):
            for g in range(out.shape[2]):
                out[j, i, g] = sums[g, i]


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
