"""Students of a tridiagonal kernel matrix T, for every penalty and schedule, by recurrences of length n.

With T + λI = (I + R) D (I + R)ᵀ, D diagonal and R below the diagonal, and u_0 = v::

    a_t = (T + λI)⁻¹ u_t     w_t = T a_t = u_t − λ a_t     u_{t+1} = (1 − ξ_{t+1}) v + ξ_{t+1} w_t
    v − w_t = λ a_t + ξ_t (v − w_{t−1})

a_t are the dual coefficients of student t, and w_t its fit to the targets v, in coordinates in which the kernel is T.

T + λI is positive definite, so that no pivoting is due. Cost: O(n) per student; what counts is the time that a number
waits for the one before it, 3.2 n ns a student.

Conventions as in ``filters.py``; allocated are working arrays of 5 n entries.
"""

import numpy as np

from fastdistill.kernels._compile import jit, jit_sums


@jit
def _factor(diagonal, off, lam, inverse, ratio):
    """-> inverse (n,), 1 / D, and ratio (n − 1,), the subdiagonal of R; False where T + λI is not positive definite."""
    pivot = diagonal[0] + lam
    for i in range(diagonal.shape[0]):
        if not pivot > 0.0:
            return False
        inverse[i] = 1.0 / pivot
        if i < off.shape[0]:
            ratio[i] = off[i] * inverse[i]
            pivot = diagonal[i + 1] + lam - off[i] * ratio[i]
    return True


@jit
def _norm(diagonal, off):
    """The largest absolute row sum of T, no less than its largest eigenvalue."""
    largest = 0.0
    for i in range(diagonal.shape[0]):
        total = abs(diagonal[i])
        if i > 0:
            total += abs(off[i - 1])
        if i < off.shape[0]:
            total += abs(off[i])
        largest = max(largest, total)
    return largest


@jit
def _product(diagonal, off, a, out):
    """T a (n,) -> out."""
    for i in range(a.shape[0]):
        out[i] = diagonal[i] * a[i]
    for i in range(off.shape[0]):
        out[i] += off[i] * a[i + 1]
    for i in range(off.shape[0]):
        out[i + 1] += off[i] * a[i]


@jit_sums
def _step(inverse, ratio, lam, weight, v, fit, residual, a):
    """One student: fit w_{t−1} and residual v − w_{t−1} (n,) become w_t and v − w_t; a_t -> a. Returns ‖v − w_t‖²."""
    n, total = v.shape[0], 0.0
    for i in range(n):
        fit[i] = (1.0 - weight) * v[i] + weight * fit[i]  # the targets u_t
    a[0] = fit[0]
    for i in range(1, n):
        a[i] = fit[i] - ratio[i - 1] * a[i - 1]
    for i in range(n):
        a[i] *= inverse[i]  # in the loop below, a number would wait for this product too: 8.6 us, not 6.5, at n = 2000
    for i in range(n - 2, -1, -1):
        a[i] -= ratio[i] * a[i + 1]
    for i in range(n):
        residual[i] = lam * a[i] + weight * residual[i]
        fit[i] -= lam * a[i]
    for i in range(n):
        total += residual[i] * residual[i]
    return total


@jit
def tridiagonal_students(diagonal, off, lam, xi, targets, duals, misfits):
    """Students of P families, each of one penalty and one schedule.

    diagonal (n,) and off (n − 1,) of T, lam (P,), xi (P, k), targets v (m, n) -> duals a (P, k+1, m, n) and misfits
    ‖v − w‖² (P, k+1, m). An array passed with m = 0 is not filled. Neighbouring families of one penalty share its
    factor. Returns -1, or the first family whose T + λI is not positive definite.
    """
    n, steps = diagonal.shape[0], xi.shape[1] + 1
    work = np.empty((5, n))
    inverse, ratio, fit, residual, a = work[0], work[1], work[2], work[3], work[4]  # rows by iteration have strides
    norm = _norm(diagonal, off)
    for p in range(lam.shape[0]):
        if (p == 0 or lam[p] != lam[p - 1]) and not _factor(diagonal, off, lam[p], inverse, ratio):
            return p
        for j in range(targets.shape[0]):
            fit[:] = 0.0
            residual[:] = 0.0
            for t in range(steps):
                weight = xi[p, t - 1] if t > 0 else 0.0
                if duals.shape[2] > 0:
                    a = duals[p, t, j]
                total = _step(inverse, ratio, lam[p], weight, targets[j], fit, residual, a)
                if lam[p] > norm:  # the subtraction would lose all digits of a small fit
                    _product(diagonal, off, a, fit)
                if misfits.shape[2] > 0:
                    misfits[p, t, j] = total
    return -1


@jit
def fits_and_duals(lam, xi, targets, large, duals, fits):
    """Fits K a_t = u_t − λ a_t (P, k+1, m, n) from the dual coefficients a_t in `duals`, for targets u_0 (m, n).

    Families with large (P,), λ > ‖K‖, have K a_t in `duals` instead, and get a_t = (u_t − K a_t) / λ there: so no
    difference loses digits.
    """
    for p in range(lam.shape[0]):
        for t in range(xi.shape[1] + 1):
            weight = xi[p, t - 1] if t > 0 else 0.0
            for j in range(targets.shape[0]):
                before = fits[p, t - 1, j] if t > 0 else targets[j]
                for i in range(targets.shape[1]):
                    u = (1.0 - weight) * targets[j, i] + weight * before[i]
                    other = u - duals[p, t, j, i] * (1.0 if large[p] else lam[p])
                    fits[p, t, j, i] = duals[p, t, j, i] if large[p] else other
                    duals[p, t, j, i] = other / lam[p] if large[p] else duals[p, t, j, i]
