"""Rounds without ground truth, constrained by a residual tolerance [M]: bounds, sparsity, equivalent kernel.

Each round solves  min R(f)  subject to  (1/n) ‖f(X) − u‖² ≤ ε,  and its fit becomes the next target u. With
G the kernel matrix of R divided by n, G = U diag(d) Uᵀ, the fit is U diag(d / (d + c_t)) Uᵀ u: the
multiplier c_t is the unique c > 0 with (1/n) Σ_k (c / (c + d_k))² (Uᵀu)_k² = ε. Where (1/n) ‖u‖² ≤ ε the
fit is f ≡ 0: the rounds have collapsed. After t rounds the filter is the product B = Π_i d / (d + c_i),
which shrinks small d fastest.

| paper [M]                          | here                                                      |
|------------------------------------|-----------------------------------------------------------|
| K, number of points                | `n_samples`                                               |
| G = g/K, d_k                       | `d`: the eigenvalues of g divided by `n_samples`          |
| ε                                  | `eps`, on the mean of the squared residuals               |
| ‖y₀‖                               | `y_norm`, Euclidean, not divided by n                     |
| c_t                                | `multipliers`, (T,)                                       |
| κ = d_max / d_min                  | condition number, taken from `d`                          |
| diag B_t, S_B                      | `filters`, `sparsity_index`                               |
| G†                                 | `equivalent_spectrum`                                     |

Every function is O(r) per round in time and memory, r = len(d).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.base import validation as check


def multiplier_bounds(d: Any, y_norm: Any, eps: float, n_samples: int) -> tuple[Any, Any]:
    """Lower and upper bound on the multiplier c of one round.

    d_min √(nε) / (‖u‖ − √(nε))  ≤  c  ≤  d_max √(nε) / (‖u‖ − √(nε))

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of G = g / n, at least zero.
    y_norm : float or array-like of shape (T,)
        Euclidean norm ‖u‖ of the round's target (of each round's target).
    eps : float
        Tolerance on the mean squared residual, above zero.
    n_samples : int
        Number of points n.

    Returns
    -------
    lower, upper : float or ndarray of shape (T,)

    Raises
    ------
    ValueError
        If a target has ‖u‖ ≤ √(nε) (collapsed: there is no multiplier), or every eigenvalue is zero.

    Notes
    -----
    Assumes that `d` holds every eigenvalue whose direction carries part of the target. If G is singular and
    u has a part outside its range, include a zero in `d`: the lower bound is then 0; the upper bound holds
    in any case. From round 1 on, targets are fits and lie in the range of G. The bound is [M]'s.

    Examples
    --------
    >>> from fastdistill.theory import multiplier_bounds
    >>> lower, upper = multiplier_bounds([2.0, 0.5], y_norm=3.0, eps=0.5, n_samples=2)
    >>> float(lower), float(upper)
    (0.25, 1.0)
    """
    d = _not_all_zero(check.spectrum_values(d))
    excess = _relative_norm(y_norm, eps, n_samples) - 1.0
    _check_not_collapsed(excess, eps, n_samples)
    return (d.min() / excess)[()], (d.max() / excess)[()]


def collapse_bound(d: Any, y_norm: float, eps: float, n_samples: int) -> float:
    """Guaranteed number of rounds before collapse.

    (‖y‖ / √(nε) − 1) / κ,    κ = d_max / d_min

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of G = g / n, at least zero.
    y_norm : float
        Euclidean norm of the first target y.
    eps : float
        Tolerance on the mean squared residual, above zero.
    n_samples : int
        Number of points n.

    Returns
    -------
    float
        At least this many rounds have a non-zero fit (rounded up, as rounds are whole). 0 promises nothing: y
        itself is within the tolerance of zero, or G is singular (κ = ∞).

    Raises
    ------
    ValueError
        If `eps` is not positive, or every eigenvalue is zero.

    Notes
    -----
    Same assumption on `d` as `multiplier_bounds`. One round takes ρ = ‖u‖/√(nε) to at least ρ − κ, by the
    upper bound on c; a round is possible while ρ > 1. The bound is [M]'s; it is loose where κ is large.

    Examples
    --------
    >>> from fastdistill.theory import collapse_bound
    >>> collapse_bound([2.0, 1.0], y_norm=11.0, eps=0.5, n_samples=2)
    5.0
    """
    d = _not_all_zero(check.spectrum_values(d))
    y_norm = check.scalar(y_norm, "y_norm", minimum=0.0)
    relative = float(_relative_norm(y_norm, eps, n_samples))
    return max(0.0, (relative - 1.0) * float(d.min() / d.max()))


def sparsity_bound(
    d: Any, y_norm: float, eps: float, n_samples: int, n_rounds: int, observed_rounds: int | None = None
) -> np.ndarray:
    """Lower bound on the ratios B[k] / B[k+1] of the filter after `n_rounds` rounds.

    B[k] / B[j] ≥ ((ρ − 1 + d_min/d_j) / (ρ − 1 + d_min/d_k))^t,    ρ = ‖y‖ / √(nε),  d_k > d_j

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of G = g / n, positive, descending.
    y_norm, eps, n_samples
        As in `collapse_bound`.
    n_rounds : int
        t, at least 0.
    observed_rounds : int, optional
        Rounds known to have run without collapse. [M] states the bound for t ≤ `collapse_bound`, which
        serves only to rule out collapse; with this argument t may go up to the larger of the two.

    Returns
    -------
    ndarray of shape (r - 1,)
        One bound per pair of neighbours; their minimum bounds the sparsity index. The bound for any other
        pair is the product of those between them (they telescope).

    Raises
    ------
    ValueError
        If t is outside the range (the message names the largest feasible t), y has collapsed already, or `d`
        is not positive and descending.

    Notes
    -----
    Assumes y in the range of G, as the bound rests on c ≥ d_min / (ρ − 1). [M]'s sparsification theorem.

    Examples
    --------
    >>> from fastdistill.theory import sparsity_bound
    >>> sparsity_bound([2.0, 1.0], y_norm=11.0, eps=0.5, n_samples=2, n_rounds=3).round(3)
    array([1.15])
    """
    d = _descending(check.spectrum_values(d, positive=True))
    t = check.integer(n_rounds, "n_rounds", minimum=0)
    seen = 0 if observed_rounds is None else check.integer(observed_rounds, "observed_rounds", minimum=0)
    guaranteed = collapse_bound(d, y_norm, eps, n_samples)
    excess = _relative_norm(y_norm, eps, n_samples) - 1.0
    _check_not_collapsed(excess, eps, n_samples)
    if t > max(guaranteed, seen):
        raise ValueError(
            f"n_rounds={t} is outside the range of the bound, which holds for n_rounds <= "
            f"{max(int(guaranteed), seen)} (collapse_bound is {guaranteed:.6g}). Lower n_rounds, or pass "
            f"observed_rounds if the rounds are known not to have collapsed."
        )
    log_terms = np.log1p(d.min() / (d * excess))
    with np.errstate(over="ignore"):  # past 1e308 the filter itself underflows and its ratio is inf too
        return np.exp(t * np.diff(log_terms))


def filter_ratios(filters: Any) -> np.ndarray:
    """Ratios B_k / B_{k+1} of neighbouring filter values.

    Without ground truth they grow without bound as rounds go by; with ground truth they converge to those of
    `limit_filter`.

    Parameters
    ----------
    filters : array-like of shape (..., r)
        Filters over descending eigenvalues, r at least 2.

    Returns
    -------
    ndarray of shape (..., r - 1)
        inf where only B_{k+1} has reached 0, NaN where both have.

    Raises
    ------
    ValueError
        If there are fewer than two eigenvalues, or a filter value is not finite.

    Notes
    -----
    [M] and [B] both measure sparsification by these ratios. O(size of `filters`).

    Examples
    --------
    >>> from fastdistill.theory import filter_ratios
    >>> filter_ratios([0.8, 0.4, 0.1])
    array([2., 4.])
    """
    arr = check.real_array(filters, "filters")
    if arr.ndim == 0 or arr.shape[-1] < 2:
        raise ValueError(f"filters needs at least two eigenvalues on its last axis, got shape {arr.shape}.")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return arr[..., :-1] / arr[..., 1:]


def sparsity_index(filters: Any) -> Any:
    """The smallest ratio of neighbouring filter values.

    S_B = min_k B[k] / B[k+1]

    Parameters
    ----------
    filters : array-like of shape (..., r)
        Filters over descending eigenvalues, r at least 2.

    Returns
    -------
    float or ndarray of shape (...)
        Pairs that have both reached 0 are left out; NaN where no pair is left (collapse).

    Raises
    ------
    ValueError
        If there are fewer than two eigenvalues, or a filter value is not finite.

    Notes
    -----
    [M]'s index. It grows with every round of `S.tolerance_path` where the eigenvalues are distinct.

    Examples
    --------
    >>> from fastdistill.theory import sparsity_index
    >>> float(sparsity_index([0.8, 0.4, 0.1]))
    2.0
    """
    return np.fmin.reduce(filter_ratios(filters), axis=-1)


def equivalent_spectrum(d: Any, multipliers: Any) -> tuple[np.ndarray, float]:
    """Eigenvalues d† and multiplier c₀ of the one kernel ridge whose fit equals that of all the rounds.

    d†_k = c₀ / (Π_i (d_k + c_i) / d_k − 1),    so that  d† / (d† + c₀) = Π_i d / (d + c_i)

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of G, at least zero.
    multipliers : array-like of shape (T,)
        c_0, ..., c_{T-1}, positive, on the scale of `d`.

    Returns
    -------
    d_dagger : ndarray of shape (r,)
    c_0 : float

    Raises
    ------
    ValueError
        If there is no multiplier, or one is not positive.

    Notes
    -----
    Kernel and equivalent kernel share their eigenvectors. The product minus one is expm1(Σ log1p(c_i/d)),
    which keeps full relative accuracy where c ≪ d. [M] uses the equivalence to apply the generalisation
    bounds for kernel ridge to distilled models. No assumption but c_i > 0; zero eigenvalues stay zero.

    Examples
    --------
    >>> from fastdistill.theory import equivalent_spectrum
    >>> d_dagger, c_0 = equivalent_spectrum([2.0, 1.0], multipliers=[1.0, 2.0])
    >>> d_dagger, c_0
    (array([0.5, 0.2]), 1.0)
    """
    d = check.spectrum_values(d)
    c = np.atleast_1d(check.penalties(multipliers, "multipliers", positive=True))
    with np.errstate(divide="ignore", over="ignore"):  # d = 0 or far below c: expm1 is inf and d_dagger 0
        growth = np.expm1(np.log1p(c[:, None] / d).sum(axis=0))
    return c[0] / growth, float(c[0])


def early_stopping_filter(d: Any, step_size: float, n_iter: Any) -> np.ndarray:
    """Filter of gradient descent stopped after `n_iter` steps from zero.

    1 − (1 − ω d)^t,    the iteration f ← f + ω K (y − f)

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of K, at least zero.
    step_size : float
        ω, above zero and below 2 / d_max.
    n_iter : int or array-like of int, shape (T,)
        t, at least 0.

    Returns
    -------
    ndarray of shape (r,) or (T, r)

    Raises
    ------
    ValueError
        If descent would diverge (the message names the largest step size), or `n_iter` is negative.
    TypeError
        If `n_iter` is not integral.

    Notes
    -----
    [M]'s contrast: with ω d_max ≤ 1 this filter *raises* every direction with t, small ones last;
    distillation *lowers* every direction with t, small ones first. So early stopping is not distillation
    run backwards: its ratios of neighbours fall to 1, where those of distillation grow.

    Examples
    --------
    >>> from fastdistill.theory import early_stopping_filter
    >>> early_stopping_filter([1.0, 0.5], step_size=0.5, n_iter=[1, 2])
    array([[0.5   , 0.25  ],
           [0.75  , 0.4375]])
    """
    d = _not_all_zero(check.spectrum_values(d))
    omega = check.scalar(step_size, "step_size", minimum=0.0, strict=True)
    if omega * d.max() >= 2.0:
        raise ValueError(
            f"step_size={omega:.6g} diverges: it must be below 2 / max(d) = {2.0 / d.max():.6g}; "
            f"lower it, at best to 1 / max(d)."
        )
    t = _counts(n_iter)[..., None]
    x = omega * d
    slow = np.minimum(x, 0.5)  # expm1 and log1p keep the digits that 1 - (1 - x)**t loses for small x
    return np.where(x < 0.5, -np.expm1(t * np.log1p(-slow)), 1.0 - (1.0 - x) ** t)


def _counts(n_iter: Any) -> np.ndarray:
    if np.ndim(n_iter) == 0:
        return np.asarray(check.integer(n_iter, "n_iter", minimum=0))
    return np.array([check.integer(t, "n_iter", minimum=0) for t in n_iter], dtype=np.int64)


def _relative_norm(y_norm: Any, eps: float, n_samples: int) -> np.ndarray:
    """ρ = ‖u‖ / √(nε): a round is possible while ρ > 1."""
    eps = check.scalar(eps, "eps", minimum=0.0, strict=True, largest=check.LARGEST_LINEAR)
    n = check.integer(n_samples, "n_samples", minimum=1)
    y_norm = check.sized(check.real_array(y_norm, "y_norm", ndim=(0, 1)), "y_norm")
    return y_norm / np.sqrt(n * eps)


def _check_not_collapsed(excess: np.ndarray, eps: float, n_samples: int) -> None:
    if excess.min(initial=np.inf) <= 0:
        radius = np.sqrt(n_samples * eps)
        raise ValueError(
            f"y_norm must be above sqrt(n_samples * eps) = {radius:.6g}, got "
            f"{(excess.min() + 1) * radius:.6g}: this target is within the tolerance of zero, so its fit is "
            f"0 (collapsed). Lower eps."
        )


def _not_all_zero(d: np.ndarray) -> np.ndarray:
    if d.max() == 0:
        raise ValueError("d is zero for every direction; at least one eigenvalue must be positive.")
    return d


def _descending(d: np.ndarray) -> np.ndarray:
    rises = np.flatnonzero(np.diff(d) > 0)
    if rises.size:
        k = int(rises[0])
        raise ValueError(
            f"d must be in descending order, but d[{k}] = {d[k]:.6g} < d[{k + 1}] = {d[k + 1]:.6g}; "
            f"pass numpy.sort(d)[::-1]."
        )
    return d
