"""Spectral filters of self-distillation: one recursion over the eigenvalues of the kernel matrix.

With eigenvalues d (r,), penalties λ_t (t = 0..k) and imitation weights ξ_t (t = 1..k)::

    a_t = d / (d + λ_t),   f_0 = a_0,   f_t = a_t ((1 − ξ_t) + ξ_t f_{t−1})

and, with no division by a small d and no subtraction from one,

    dual       q_t = f_t / d  = ((1 − ξ_t) + ξ_t f_{t−1}) / (d + λ_t)
    primal     s q_t          (s = sqrt(d), the singular values of the design)
    residual   g_t = 1 − f_t  = λ_t / (d + λ_t) + a_t ξ_t g_{t−1}

===========================  =======================================  ==========================
paper                        its symbol                               here
===========================  =======================================  ==========================
Pareek, Du, Oh 2024          imitation parameter ξ_t                  ``xi[t - 1]``
Borup, Andersen 2021         ground-truth weight α_t                  ``xi[t - 1] = 1 − α_t``
Mobahi et al. 2020           multiplier c_t of G = g / n              ``lam[t] = n c_t``, ``xi = 1``
Mobahi et al. 2020           B, the product of the rounds' filters    ``multistep_filter`` with ``xi = 1``
===========================  =======================================  ==========================

Conventions of every function here: arrays are float64 and C-contiguous, `out` is filled and nothing is allocated (but
`tolerance_rounds` copies z2), a component with d = 0 lies outside the range of the kernel matrix (its filter is 0, also
for λ = 0), λ = inf gives the filter 0, and a negative d, of an indefinite kernel matrix, needs λ > −d (not in
`tolerance_root` and `tolerance_rounds`). Cost: O(k r), one division per entry. Arguments are trusted; the public
functions of the package check them first.
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
            kept = d[j] / (d[j] + lam[t]) if d[j] != 0.0 else 0.0
            lost = lam[t] / (d[j] + lam[t]) if kept != 0.0 else 1.0
            out[t, j] = lost if t == 0 else lost + kept * xi[t - 1] * out[t - 1, j]


@jit
def dual_multipliers(d, lam, xi, out):
    """f_t / d, the multipliers of the dual coefficients: d (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(d.shape[0]):
            inverse = 1.0 / (d[j] + lam[t]) if d[j] + lam[t] != 0.0 else 0.0
            carry = 1.0 if t == 0 else (1.0 - xi[t - 1]) + xi[t - 1] * d[j] * out[t - 1, j]
            out[t, j] = inverse * carry


@jit
def primal_multipliers(s, lam, xi, out):
    """f_t / s, the multipliers of the primal coefficients: s (r,), lam (k+1,), xi (k,) -> out (k+1, r)."""
    for t in range(out.shape[0]):
        for j in range(s.shape[0]):
            shrunk = s[j] / (s[j] * s[j] + lam[t]) if s[j] > 0.0 else 0.0
            carry = 1.0 if t == 0 else (1.0 - xi[t - 1]) + xi[t - 1] * s[j] * out[t - 1, j]
            out[t, j] = shrunk * carry


@jit
def student_grid(values, lam, xi, form, out):
    """Many families of students in one call.

    values (r,) is s for `form` PRIMAL and d otherwise; lam (P, k+1), xi (P, k) -> out (P, k+1, r) holds, by
    `form`, FILTER f, RESIDUAL 1 − f, DUAL f / d or PRIMAL f / s.
    """
    for i in range(out.shape[0]):
        if form == FILTER:
            multistep_filter(values, lam[i], xi[i], out[i])
        elif form == RESIDUAL:
            residual_filter(values, lam[i], xi[i], out[i])
        elif form == DUAL:
            dual_multipliers(values, lam[i], xi[i], out[i])
        else:
            primal_multipliers(values, lam[i], xi[i], out[i])


@jit
def filter_powers(d, lam, out):
    """Filters a^(j+1) of the pure steps j = 0..k, the columns every mixture combines: -> out (k+1, r)."""
    for j in range(d.shape[0]):
        a = d[j] / (d[j] + lam) if d[j] != 0.0 else 0.0
        power = a
        for t in range(out.shape[0]):
            out[t, j] = power
            power *= a


@jit
def mixture_from_xi(xi, out):
    """Weights w of the pure steps, Σ w = 1: xi (k,) -> out (k+1,)."""
    k = xi.shape[0]
    owed = 1.0
    for i in range(k):
        out[i] = (1.0 - xi[k - 1 - i]) * owed
        owed *= xi[k - 1 - i]
    out[k] = owed


@jit
def xi_from_mixture(w, out):
    """Imitation weights of a mixture, by ratios of its tail sums: w (k+1,) -> out (k,).

    Returns 0, or the step t >= 1 at which no finite ξ exists because ξ_{t+1} = 0 cuts off weight still owed.
    """
    k = out.shape[0]
    tail, size, owed = 0.0, 0.0, 0.0
    for i in range(k, -1, -1):
        # out[k - i] = ξ_{k−i+1} = tail_i / tail_{i−1}, filled from the innermost step outwards
        shorter = tail
        tail += w[i]
        size += abs(w[i])
        if i == 0:
            tail = 1.0
        elif abs(tail) <= (k + 1) * 2.220446049250313e-16 * size:
            tail = 0.0  # what is left where weights cancel
        if i < k:
            if tail != 0.0:
                out[k - i - 1] = shorter / tail
            elif owed != 0.0:
                return k - i
            else:
                out[k - i - 1] = 0.0
        owed = max(owed, abs(tail))
    return 0


@jit
def tolerance_root(d, z2, target):
    """The multiplier c > 0 with Σ_j (c / (c + d_j))² z2_j = target, the Lagrange multiplier of a tolerance.

    d (r,) >= 0, z2 (r,) >= 0 the squared coordinates of the targets. The sum grows in c from what d = 0 leaves
    (its floor) to Σ z2: returns inf at or above the top (the zero function is within tolerance), 0.0 at or below
    the floor (unreachable). Newton on the nearly linear, concave 1/sqrt(sum) in u = 1/c, inside a bracket that
    geometric bisection shrinks where Newton crawls; O(r) per iteration, typically 5 to 10.
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
        reach, slope = 0.0, 0.0
        for j in range(d.shape[0]):
            if d[j] > 0.0:
                shrink = 1.0 / (1.0 + u * d[j])
                part = z2[j] * shrink * shrink
                reach += part
                slope += part * shrink * d[j]
        height = 1.0 / np.sqrt(reach)
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

    Each round fits the previous fit with squared residual Σ = target. d (r,), z2 (r,) squared coordinates of the
    targets, `outside` their squared norm outside the range of the kernel matrix; filters (T, r) gets the product
    of the rounds' filters. Multipliers have the scale of d: fit = d / (d + c).
    Returns (rounds done, status): COLLAPSED where the next round is the zero function, UNFINISHED where
    `multipliers` was too short for that, INFEASIBLE where target <= outside: no multiplier reaches the tolerance.
    """
    squares = z2.copy()
    total = outside
    for j in range(d.shape[0]):
        total += squares[j]
    left = outside
    for t in range(multipliers.shape[0]):
        if total <= target:
            return t, COLLAPSED
        c = tolerance_root(d, squares, target - left)
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
        left = 0.0
    return multipliers.shape[0], COLLAPSED if total <= target else UNFINISHED


@jit
def leave_one_out(xi, left, kept, lost, fit, residual, out):
    """Leave-one-out predictions of students 0..k at n points, the teachers refitted without the point too.

    xi (k,); left (n,) = 1 − h, one minus the leverage; kept (k+1, n) = Σ_r U_ir² a_r^(j+1) (plus an intercept's share);
    lost (k+1, n) = Σ_r U_ir² (1 − a_r) a_r^j; fit (k+1, n) and residual (k+1, n) = fit − its training target, of the
    fits to all points -> out (k+1, n). With δ_t the amount by which dropping a point changes the target it stands for,

        δ_t = (residual_t − ξ_t Σ_{s<t} δ_s Π_{s<r<t} ξ_r lost_{t−s}) / left
        loo_t = fit_t + Σ_{s≤t} δ_s Π_{s<r≤t} ξ_r kept_{t−s}

    NaN where left = 0. O(k²) per point, in place: `residual` is overwritten by δ Π ξ.
    """
    for t in range(out.shape[0]):
        out[t] = fit[t]
        for s in range(t):
            for i in range(left.shape[0]):
                residual[t, i] -= xi[t - 1] * residual[s, i] * lost[t - s, i]
        for i in range(left.shape[0]):
            residual[t, i] = residual[t, i] / left[i] if left[i] != 0.0 else np.nan
        for s in range(t + 1):
            carry = 1.0 if s == t else xi[t - 1]
            for i in range(left.shape[0]):
                residual[s, i] *= carry
                out[t, i] += residual[s, i] * kept[t - s, i]
