"""Students of a tridiagonal kernel matrix T, for every penalty and schedule, by recurrences of length n.

With T + λI = (I + R) D (I + R)ᵀ, D diagonal and R below the diagonal, and u_0 = v::

    a_t = (T + λI)⁻¹ u_t     w_t = T a_t = u_t − λ a_t     u_{t+1} = (1 − ξ_{t+1}) v + ξ_{t+1} w_t
    v − w_t = λ a_t + ξ_t (v − w_{t−1})

T + λI is positive definite, so that no pivoting is due. Each recurrence waits for its last number: eight targets go
through it side by side at the price of one. Cost: O(n) per student and eight targets, COSTNS n ns on one core.

Conventions as in ``filters.py``; allocated are working arrays of 34 n entries.
"""

import numpy as np

from fastdistill.kernels._compile import jit

_LANES = 8  # targets side by side: what a vector register of 64 bytes holds


@jit
def _factor(diagonal, off, lam, inverse, ratio):
    """1 / D (n,) and the diagonal of R (n − 1,); False where T + λI is not positive definite."""
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
def _solve(inverse, ratio, block):
    """(T + λI)⁻¹ block (n, _LANES), in place."""
    last = block.shape[0] - 1
    for i in range(1, last + 1):
        for c in range(_LANES):
            block[i, c] -= ratio[i - 1] * block[i - 1, c]
    for c in range(_LANES):
        block[last, c] *= inverse[last]
    for i in range(last - 1, -1, -1):
        for c in range(_LANES):
            block[i, c] = block[i, c] * inverse[i] - ratio[i] * block[i + 1, c]


@jit
def _product(diagonal, off, block, out):
    """T block (n, _LANES) -> out."""
    for i in range(block.shape[0]):
        for c in range(_LANES):
            out[i, c] = diagonal[i] * block[i, c]
    for i in range(off.shape[0]):
        for c in range(_LANES):
            out[i, c] += off[i] * block[i + 1, c]
            out[i + 1, c] += off[i] * block[i, c]


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
def _lanes(diagonal, off, penalty, xi, targets, inverse, ratio, work, duals, misfits):
    """Students of one penalty and schedule for up to _LANES targets (w, n): duals (k+1, w, n), misfits (k+1, w).

    `work` holds v, w, a and v − w, (n, _LANES) each, 0 where there is no target. Either output may be empty.
    """
    n, width = diagonal.shape[0], targets.shape[0]
    v, reached, dual, residual = work[0], work[1], work[2], work[3]
    subtract = penalty <= _norm(diagonal, off)  # beyond it u − λ a would lose all digits of a small fit
    for c in range(width):
        for i in range(n):
            v[i, c] = targets[c, i]
    residual[:] = 0.0
    for t in range(xi.shape[0] + 1):
        weight = xi[t - 1] if t > 0 else 0.0
        for i in range(n):
            for c in range(_LANES):
                reached[i, c] = (1.0 - weight) * v[i, c] + weight * reached[i, c]
                dual[i, c] = reached[i, c]
        _solve(inverse, ratio, dual)
        for i in range(n):
            for c in range(_LANES):
                residual[i, c] = penalty * dual[i, c] + weight * residual[i, c]
                reached[i, c] -= penalty * dual[i, c]
        if not subtract:
            _product(diagonal, off, dual, reached)
        if duals.size:
            for c in range(width):
                for i in range(n):
                    duals[t, c, i] = dual[i, c]
        if misfits.size:
            for c in range(width):
                total = 0.0
                for i in range(n):
                    total += residual[i, c] * residual[i, c]
                misfits[t, c] = total


@jit
def tridiagonal_students(diagonal, off, lam, xi, targets, duals, misfits):
    """Students of families of penalties lam (P,) and weights xi (P, k): diagonal (n,), off (n − 1,), targets v (m, n).

    -> duals a (P, k+1, m, n) and misfits ‖v − w‖² (P, k+1, m); either is left out where its m is 0. Neighbouring
    families of one penalty share its factor. Returns -1, or the first family whose T + λI is not positive definite.
    """
    n, m = diagonal.shape[0], targets.shape[0]
    inverse, ratio = np.empty(n), np.empty(max(n - 1, 0))
    work = np.zeros((4, n, _LANES))
    for p in range(lam.shape[0]):
        if (p == 0 or lam[p] != lam[p - 1]) and not _factor(diagonal, off, lam[p], inverse, ratio):
            return p
        for first in range(0, m, _LANES):
            last = min(first + _LANES, m)
            work[:] = 0.0
            a, squares = duals[p, :, first:last], misfits[p, :, first:last]
            _lanes(diagonal, off, lam[p], xi[p], targets[first:last], inverse, ratio, work, a, squares)
    return -1
