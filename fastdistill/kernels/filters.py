"""Spectral filters of self-distillation: one recursion over the eigenvalues of the kernel matrix.

With eigenvalues d (r,), penalties λ_t (t = 0..k) and imitation weights ξ_t (t = 1..k)::

    a_t = d / (d + λ_t),   f_0 = a_0,   f_t = a_t ((1 − ξ_t) + ξ_t f_{t−1})

A student's fit multiplies the coordinates of the targets by its filter f_t. Its coefficients and residuals take other
multipliers, computed with no division by a small d and no subtraction from one (s = sqrt(d), the singular values of a
design)::

    dual         q_t = f_t / d  = ((1 − ξ_t) + ξ_t f_{t−1}) / (d + λ_t)
    primal       f_t / s        = s q_t
    complement   g_t = 1 − f_t  = λ_t / (d + λ_t) + a_t ξ_t g_{t−1}

===========================  =======================================  ==========================
paper                        its symbol                               here
===========================  =======================================  ==========================
Pareek, Du, Oh 2024          imitation parameter ξ_t                  ``xi[t - 1]``
Borup, Andersen 2021         ground-truth weight α_t                  ``xi[t - 1] = 1 − α_t``
Mobahi et al. 2020           multiplier c_t of G = g / n              ``lam[t] = n c_t``, ``xi = 1``
Mobahi et al. 2020           B, the product of the rounds' filters    ``multistep_filter`` with ``xi = 1``
===========================  =======================================  ==========================

Conventions of every function here:

* arrays are float64 and C-contiguous; `out` is filled and nothing is allocated (but `tolerance_rounds` copies z2);
* a component with d = 0 lies outside the range of the kernel matrix: its filter is 0, also for λ = 0;
* λ = inf gives the filter 0;
* a negative d, of an indefinite kernel matrix, needs λ > −d (not in `tolerance_root` and `tolerance_rounds`);
* arguments are not checked; the public functions of the package do that first.

Cost: O(k r), one division per entry.
"""

import numpy as np

from fastdistill.kernels._compile import jit

FILTER, RESIDUAL, DUAL, PRIMAL = 0, 1, 2, 3
COLLAPSED, UNFINISHED, INFEASIBLE = 0, 1, 2

_ROOT_ITERATIONS = 200
_ROOT_TOLERANCE = 4.0 * 2.220446049250313e-16


@jit
def multistep_filter(d, lam, xi, out):
    """Filters f_t of every student: d (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(d.shape[0]):
            a = d[j] / (d[j] + lam[t]) if d[j] != 0.0 else 0.0
            out[t, j] = a if t == 0 else a * ((1.0 - xi[t - 1]) + xi[t - 1] * out[t - 1, j])


@jit
def residual_filter(d, lam, xi, out):
    """1 − f_t without cancellation: d (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(d.shape[0]):
            a = d[j] / (d[j] + lam[t]) if d[j] != 0.0 else 0.0
            complement = lam[t] / (d[j] + lam[t]) if a != 0.0 else 1.0
            out[t, j] = complement if t == 0 else complement + a * xi[t - 1] * out[t - 1, j]


@jit
def dual_multipliers(d, lam, xi, out):
    """f_t / d, the multipliers of the dual coefficients: d (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(d.shape[0]):
            inverse = 1.0 / (d[j] + lam[t]) if d[j] + lam[t] != 0.0 else 0.0
            of_targets = 1.0 if t == 0 else (1.0 - xi[t - 1]) + xi[t - 1] * d[j] * out[t - 1, j]
            out[t, j] = inverse * of_targets


@jit
def primal_multipliers(s, lam, xi, out):
    """f_t / s, the multipliers of the primal coefficients: s (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(s.shape[0]):
            shrunk = s[j] / (s[j] * s[j] + lam[t]) if s[j] > 0.0 else 0.0
            of_targets = 1.0 if t == 0 else (1.0 - xi[t - 1]) + xi[t - 1] * s[j] * out[t - 1, j]
            out[t, j] = shrunk * of_targets


@jit
def student_grid(values, lam, xi, form, out):
    """Multipliers of P families of students, each with its own penalties and imitation weights.

    lam (P, k+1), xi (P, k); values (r,) holds d, but s = sqrt(d) for the form PRIMAL -> out (P, k+1, r). `form` says
    which multipliers: FILTER f (of fits), RESIDUAL 1 − f (of targets less fits), DUAL f / d (of dual coefficients) or
    PRIMAL f / s (of primal coefficients).
    """
    for i in range(out.shape[0]):
        penalties, weights, students = lam[i], xi[i], out[i]
        if form == FILTER:
            multistep_filter(values, penalties, weights, students)
        elif form == RESIDUAL:
            residual_filter(values, penalties, weights, students)
        elif form == DUAL:
            dual_multipliers(values, penalties, weights, students)
        else:
            primal_multipliers(values, penalties, weights, students)


@jit
def filter_powers(d, lam, out):
    """Filters a^(j+1), j = 0..k, of the pure steps (ξ = 1): d (r,), lam a number -> out (k+1, r).

    Every student of one penalty is a mixture of these, see `mixture_from_xi`.
    """
    for j in range(d.shape[0]):
        a = d[j] / (d[j] + lam) if d[j] != 0.0 else 0.0
        power = a
        for t in range(out.shape[0]):
            out[t, j] = power
            power *= a


@jit
def mixture_from_xi(xi, out):
    """Weights of the pure steps, w_i = (1 − ξ_{k−i}) Π_{l>k−i} ξ_l with ξ_0 = 0, Σ w = 1: xi (k,) -> out (k+1,)."""
    k = xi.shape[0]
    tail = 1.0  # w_i + ... + w_k
    for i in range(k):
        out[i] = (1.0 - xi[k - 1 - i]) * tail
        tail *= xi[k - 1 - i]
    out[k] = tail


@jit
def xi_from_mixture(w, out):
    """Imitation weights of a mixture, by ratios of its tail sums: w (k+1,) -> out (k,).

    Returns 0, or the step t >= 1 at which no finite ξ exists: ξ_{t+1} = 0 removes steps whose weights are not all zero.
    """
    k = out.shape[0]
    tail, size, largest = 0.0, 0.0, 0.0
    for i in range(k, -1, -1):
        # out[k - i] = ξ_{k−i+1} = tail_i / tail_{i−1}, filled from the innermost step outwards
        shorter = tail
        tail += w[i]
        size += abs(w[i])
        if i == 0:
            tail = 1.0
        elif abs(tail) <= (k + 1) * 2.220446049250313e-16 * size:
            tail = 0.0  # rounding errors of weights that cancel
        if i < k:
            if tail != 0.0:
                out[k - i - 1] = shorter / tail
            elif largest != 0.0:
                return k - i
            else:
                out[k - i - 1] = 0.0
        largest = max(largest, abs(tail))
    return 0


@jit
def tolerance_root(d, z2, target):
    """The multiplier c > 0 with Σ_j (c / (c + d_j))² z2_j = target, the Lagrange multiplier of a tolerance.

    d (r,) >= 0, z2 (r,) >= 0 the squared coordinates of the targets. The sum grows in c, from its floor, the sum of z2
    over d = 0, to Σ z2. Returns inf where the target is at or above Σ z2 (the zero function is within tolerance), and
    0.0 where it is at or below the floor (no c reaches it). Newton's method on 1/sqrt(sum) as a function of u = 1/c,
    which is concave and nearly linear, inside a bracket that geometric bisection shrinks where Newton's steps are
    short; O(r) per iteration, typically 5 to 10.
    """
    total, floor, top, bottom = 0.0, 0.0, 0.0, np.inf
    for j in range(d.shape[0]):
        total += z2[j]
        if d[j] > 0.0:
            if z2[j] > 0.0:
                top = max(top, d[j])
                bottom = min(bottom, d[j])
        else:
            floor += z2[j]
    if target >= total:
        return np.inf
    if target <= floor or top == 0.0:
        return 0.0
    span = np.sqrt((total - floor) / (target - floor)) - 1.0
    low, high = span / top, span / bottom
    goal = 1.0 / np.sqrt(target - floor)
    u = low
    for _ in range(_ROOT_ITERATIONS):
        above_floor, slope = 0.0, 0.0
        for j in range(d.shape[0]):
            if d[j] > 0.0:
                shrink = 1.0 / (1.0 + u * d[j])
                part = z2[j] * shrink * shrink
                above_floor += part
                slope += part * shrink * d[j]
        height = 1.0 / np.sqrt(above_floor)
        if height < goal:
            low = max(low, u)
        else:
            high = min(high, u)
        if abs(height - goal) <= _ROOT_TOLERANCE * goal or high - low <= _ROOT_TOLERANCE * high:
            break
        newton = u + (goal - height) / (slope * height * height * height)
        if not low <= newton <= high or (newton < 4.0 * u and high > 1e4 * low and height < goal):
            newton = np.sqrt(low * high)
        if abs(newton - u) <= _ROOT_TOLERANCE * u:
            break
        u = newton
    return 1.0 / u if u > 0.0 else np.inf


@jit
def tolerance_rounds(d, z2, outside, target, multipliers, filters):
    """Rounds of tolerance-constrained self-distillation until collapse or until `multipliers` (T,) is full.

    Each round fits the fit of the round before with the penalty c at which the squared residual is `target`, so that
    its filter is d / (d + c). d (r,); z2 (r,) squared coordinates of the targets, and `outside` their squared norm
    outside the range of the kernel matrix -> multipliers (T,), the c, and filters (T, r), the products of the filters
    so far. Returns (rounds done, status): COLLAPSED where the next round is the zero function, UNFINISHED where
    `multipliers` was too short for that, INFEASIBLE where target <= outside, which no c reaches.
    """
    squares = z2.copy()
    total = outside
    for j in range(d.shape[0]):
        total += squares[j]
    unreachable = outside  # zero after the first round: a fit has no part outside the range
    for t in range(multipliers.shape[0]):
        if total <= target:
            return t, COLLAPSED
        c = tolerance_root(d, squares, target - unreachable)
        if c == 0.0:
            return t, INFEASIBLE
        if c == np.inf:  # rounding decides whether the targets are within the tolerance
            return t, COLLAPSED
        multipliers[t] = c
        total = 0.0
        for j in range(d.shape[0]):
            a = d[j] / (d[j] + c) if d[j] > 0.0 else 0.0
            filters[t, j] = a if t == 0 else a * filters[t - 1, j]
            squares[j] *= a * a
            total += squares[j]
        unreachable = 0.0
    return multipliers.shape[0], COLLAPSED if total <= target else UNFINISHED


@jit
def leave_one_out(xi, one_minus_leverage, power_diagonals, complement_diagonals, fit, residual, out):
    """Leave-one-out predictions of students 0..k at n points, the teachers refitted without the point too.

    With the smoother H = U a Uᵀ of student 0: xi (k,); one_minus_leverage (n,) = 1 − h, h = diag H; power_diagonals
    (k+1, n) = diag H^(j+1) = Σ_r U_ir² a_r^(j+1) (plus an intercept's share); complement_diagonals (k+1, n) =
    diag (I − H) H^j = Σ_r U_ir² (1 − a_r) a_r^j; fit (k+1, n) and residual (k+1, n) = fit − its training targets, of
    the fits to all points -> out (k+1, n). Dropping a point amounts to moving its target at step t by δ_t::

        δ_t = (residual_t − ξ_t Σ_{s<t} δ_s Π_{s<r<t} ξ_r complement_diagonals_{t−s}) / (1 − h)
        loo_t = fit_t + Σ_{s≤t} δ_s Π_{s<r≤t} ξ_r power_diagonals_{t−s}

    NaN where h = 1. O(k²) per point, in place: `residual` is overwritten by δ Π ξ.
    """
    n = one_minus_leverage.shape[0]
    for t in range(out.shape[0]):
        out[t] = fit[t]
        for s in range(t):
            for i in range(n):
                residual[t, i] -= xi[t - 1] * residual[s, i] * complement_diagonals[t - s, i]
        for i in range(n):
            residual[t, i] = residual[t, i] / one_minus_leverage[i] if one_minus_leverage[i] != 0.0 else np.nan
        for s in range(t + 1):
            weight = 1.0 if s == t else xi[t - 1]
            for i in range(n):
                residual[s, i] *= weight
                out[t, i] += residual[s, i] * power_diagonals[t - s, i]
