"""Students of small ridge problems, one or many, by one Cholesky factor each.

With centred rows X (n, p), weights W, G = XᵀWX and A = G + λI = L Lᵀ, the coefficients of student t are::

    b_0 = A⁻¹ XᵀWy,   b_t = A⁻¹ ((1 − ξ_t) XᵀWy + ξ_t G b_{t−1}),   A⁻¹ = L⁻ᵀ L⁻¹

The factor gives a bound on its own error: the coefficients are right to about eps times::

    inflation = Σ_j (A_jj + eps Σw x̄_j²) (A⁻¹)_jj

It bounds the condition number of A in any units of the columns. Its terms are variance inflation factors, so that it is
p for orthogonal columns. The part in eps is the rounding of the means, which is all that a constant column consists of.
It is inf or NaN where A is not positive definite, and then no coefficient means anything. Up to LARGEST_INFLATION
coefficients have ten digits.

`ridge_students` is one problem inside a loop of one's own: no allocation, no Python object, no exception, so that a
`numba.cfunc` around it serves C (``docs/examples/ridge_in_c.py``). 64 × 8 with three steps takes 4 us.

==========================  ==================================
paper                       here
==========================  ==================================
P: imitation parameter ξ_t  ``xi[t - 1]``
==========================  ==================================

Conventions as in ``filters.py``; `batched_students` allocates working arrays of the size of one problem's G. Cost of a
problem: O(n p (p + m) + p³ + k p² m).
"""

import numpy as np

from fastdistill.kernels._compile import jit

ACCURATE, ILL_CONDITIONED, SINGULAR = 0, 1, 2
# As GRAM_CONDITION in ``spectral/decompositions/eigen.py``: beyond this a Gram matrix gives fewer than ten digits.
LARGEST_INFLATION = 1e5
_EPS = 2.220446049250313e-16


@jit
def batched_students(X, y, weight, lam, xi, fit_intercept, coef, intercept, inflation):
    """Students 0..k of B problems of one shape.

    X (B, n, p), y (B, n, m), lam (B,); weight (B, n) or (1, n) for all, Σ weight > 0; xi (B, k) or (1, k) for all
    -> coef (B, k+1, p, m), intercept (B, k+1, m), inflation (B,).
    """
    p, m = X.shape[2], y.shape[2]
    mean = np.empty(p + m)
    gram = np.empty((p, p + m))
    inverse = np.empty((p, p))
    work = np.empty(p + m)
    for i in range(X.shape[0]):
        w = weight[min(i, weight.shape[0] - 1)]
        total = _centred_gram(X[i], y[i], w, fit_intercept, mean, gram, work)
        inflation[i] = _inverse_factor(gram, lam[i], total, mean, inverse)
        _recursion(gram, inverse, xi[min(i, xi.shape[0] - 1)], work, coef[i])
        _intercepts(mean, coef[i], intercept[i])


@jit
def ridge_students(X, y, weight, lam, xi, fit_intercept, coef, intercept, work):
    """Students 0..k of one problem, in memory of the caller: ridge of the penalty lam, distilled k times.

    X (n, p), y (n,), weight (n,) with a positive sum, or (0,) where all are 1, lam ≥ 0, xi (k,) -> coef (k+1, p) and
    intercept (k+1,), 0 without one: predictions of student t are X coef[t] + intercept[t]. `work` has
    `ridge_workspace(p)` entries, and need not be cleared. All arrays are contiguous float64.

    Returns ACCURATE, ILL_CONDITIONED (fewer than ten digits: raise lam, or take `fastdistill.Spectrum`) or SINGULAR
    (XᵀWX + lam I is not positive definite in floating point, or not finite: coefficients are NaN).
    """
    n, p = X.shape
    mean, row, rest = work[: p + 1], work[p + 1 : 2 * p + 2], work[2 * p + 2 :]
    gram, inverse = rest[: p * (p + 1)].reshape((p, p + 1)), rest[p * (p + 1) : p * (2 * p + 1)].reshape((p, p))
    students = coef.reshape((coef.shape[0], p, 1))
    total = _centred_gram(X, y.reshape((n, 1)), weight, fit_intercept, mean, gram, row)
    inflation = _inverse_factor(gram, lam, total, mean, inverse)
    _recursion(gram, inverse, xi, row, students)
    _intercepts(mean, students, intercept.reshape((intercept.shape[0], 1)))
    if inflation <= LARGEST_INFLATION:
        return ACCURATE
    return ILL_CONDITIONED if inflation < np.inf else SINGULAR


@jit
def ridge_workspace(p):
    """How many float64 numbers `ridge_students` works on for p features: 2 (p + 1) + p (2 p + 1)."""
    return 2 * (p + 1) + p * (2 * p + 1)


@jit
def _centred_gram(X, y, weight, fit_intercept, mean, gram, row):
    """XᵀW[X y] about the weighted means, and Σ w: -> mean (p+m,), zero without an intercept, gram (p, p+m); row (p+m,).

    weight (0,) stands for ones.
    """
    p, m, total = X.shape[1], y.shape[1], 0.0
    for j in range(p + m):
        mean[j] = 0.0
    for i in range(X.shape[0]):
        w = weight[i] if weight.shape[0] > 0 else 1.0
        total += w
        if fit_intercept:
            for j in range(p):
                mean[j] += w * X[i, j]
            for j in range(m):
                mean[p + j] += w * y[i, j]
    for j in range(p + m):
        mean[j] /= total
    for j in range(p):
        for c in range(p + m):
            gram[j, c] = 0.0
    for i in range(X.shape[0]):
        w = weight[i] if weight.shape[0] > 0 else 1.0
        for j in range(p):
            row[j] = X[i, j] - mean[j]
        for j in range(m):
            row[p + j] = y[i, j] - mean[p + j]
        for j in range(p):
            scaled = w * row[j]
            for c in range(p + m):
                gram[j, c] += scaled * row[c]
    return total


@jit
def _intercepts(mean, coef, out):
    """ȳ − x̄ᵀ b_t (k+1, m) from mean (p+m,) and coef (k+1, p, m)."""
    p = coef.shape[1]
    for t in range(coef.shape[0]):
        for c in range(coef.shape[2]):
            out[t, c] = mean[p + c]
            for j in range(p):
                out[t, c] -= mean[j] * coef[t, j, c]


@jit
def _inverse_factor(gram, penalty, total, mean, out):
    """L⁻¹ in the lower triangle of `out` (p, p), G + λI = L Lᵀ; returns the inflation; means have weight total."""
    p = out.shape[0]
    for i in range(p):
        for j in range(i + 1):
            entry = gram[i, j] + (penalty if i == j else 0.0)
            for c in range(j):
                entry -= out[i, c] * out[j, c]
            if i > j:
                out[i, j] = entry / out[j, j]
            elif entry > 0.0:
                out[i, i] = np.sqrt(entry)
            else:
                for j in range(p):
                    for c in range(p):
                        out[j, c] = np.nan
                return np.inf
    for i in range(p):
        for j in range(i):
            entry = 0.0
            for c in range(j, i):
                entry -= out[i, c] * out[c, j]
            out[i, j] = entry / out[i, i]
        out[i, i] = 1.0 / out[i, i]
    inflation = 0.0
    for j in range(p):
        diagonal = 0.0
        for i in range(j, p):
            diagonal += out[i, j] * out[i, j]
        inflation += (gram[j, j] + penalty + _EPS * total * mean[j] * mean[j]) * diagonal
    return inflation


@jit
def _recursion(gram, inverse, xi, work, coef):
    """b_0..b_k of one problem -> coef (k+1, p, m); gram (p, p+m) = [G XᵀWy], inverse = L⁻¹, work (p,) or longer."""
    p = inverse.shape[0]
    for t in range(coef.shape[0]):
        for c in range(coef.shape[2]):
            for i in range(p):
                right = gram[i, p + c]
                if t > 0:
                    of_teacher = 0.0
                    for j in range(p):
                        of_teacher += gram[i, j] * coef[t - 1, j, c]
                    right = (1.0 - xi[t - 1]) * right + xi[t - 1] * of_teacher
                coef[t, i, c] = right
            for i in range(p):
                work[i] = 0.0
                for j in range(i + 1):
                    work[i] += inverse[i, j] * coef[t, j, c]
            for j in range(p):
                coef[t, j, c] = 0.0
                for i in range(j, p):
                    coef[t, j, c] += inverse[i, j] * work[i]
