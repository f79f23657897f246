"""Excess risk of self-distilled ridge in fixed-design linear regression [P], and the best student.

y = Xθ + η with E η = 0, Var η = γ² I, and X = U diag(s) Vᵀ fixed. A student with filter F (its fit is U
diag(F) Uᵀ y) has the excess risk

    (1/n) E ‖X (θ̂ − θ)‖² = (1/n) Σ_j [ d_j θ_j² (1 − F_j)² + γ² F_j² ],    d = s²,  θ_j = v_jᵀ θ.

Parts of θ and θ̂ outside the row space of X do not enter: X maps them to zero. A k-step student is an
affine mixture of the pure steps, F_j = Σ_i w_i a_j^{i+1} with Σ w_i = 1 and a = d / (d + λ), so its risk is
quadratic in w.

| paper [P]                              | here                                        |
|----------------------------------------|---------------------------------------------|
| s_j                                    | √`d`_j                                      |
| θ⋆                                     | `theta`: Vᵀθ⋆, (r,)                         |
| γ, standard deviation of the noise     | `gamma`                                     |
| λ, on the *sum* of squares             | `lam`                                       |
| ξ̄_i                                    | `weights[i]`, i ≥ 1; `weights[0]` = 1 − Σ   |

Cost: O(r) per filter; O(k² r) per penalty for the best mixture. The monomials a^{i+1} are nearly collinear,
so the mixture is solved in polynomials made orthogonal on the spectrum; weights of 1e7 are normal, and
their filter is what to compare and to use.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check

_PENALTIES_PER_DECADE = 16
_DECADES_BEYOND_SPECTRUM = 6


class FixedDesign(NamedTuple):
    """A fixed-design problem; unpacks into the leading arguments of the functions of this module."""

    d: np.ndarray
    theta: np.ndarray
    gamma: float
    n_samples: int


class BestMixture(NamedTuple):
    """The best k-step student: `weights` (..., k + 1), `filters` (..., r), `lam` and `excess_risk` (...)."""

    lam: Any
    weights: np.ndarray
    filters: np.ndarray
    excess_risk: Any


def excess_risk(d: Any, theta: Any, gamma: float, n_samples: int, filters: Any) -> Any:
    """Excess risk of the students with the given filters.

    (1/n) Σ_j [ d_j θ_j² (1 − F_j)² + γ² F_j² ]

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of X Xᵀ (squared singular values of X), at least zero.
    theta : array-like of shape (r,)
        Coordinates of the true coefficients in the right singular basis of X.
    gamma : float
        Standard deviation of the noise, at least zero.
    n_samples : int
        Number of rows n of X.
    filters : array-like of shape (..., r)
        Filters, for example `path.filters`.

    Returns
    -------
    float or ndarray of shape (...)
        Expected over the noise, on the scale of the mean squared error.

    Raises
    ------
    ValueError
        If lengths differ, or an eigenvalue or `gamma` is negative.

    Notes
    -----
    Assumes a fixed design, a linear truth, and uncorrelated noise of equal variance. Exact, from [P]; the
    filter may not depend on y (a filter chosen by looking at y has another risk).

    Examples
    --------
    >>> from fastdistill.theory import excess_risk
    >>> float(excess_risk([4.0, 1.0], [1.0, 0.0], gamma=1.0, n_samples=2, filters=[0.5, 0.0]))
    0.625
    """
    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples)
    arr = check.real_array(filters, "filters")
    if arr.ndim == 0 or arr.shape[-1] != len(signal):
        raise ValueError(f"filters has shape {arr.shape}, but its last axis must match the {len(signal)} eigenvalues.")
    return _risk(signal, noise, n, arr)[()]


def excess_risk_quadratic(
    d: Any, theta: Any, gamma: float, n_samples: int, lam: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The excess risk of k-step students as a quadratic in their mixture weights.

    risk(w) = wᵀ A w − 2 bᵀ w + c,    A = (1/n) P diag(d θ² + γ²) Pᵀ,  b = (1/n) P (d θ²),  P_ij = a_j^{i+1}

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `excess_risk`.
    lam : float
        Penalty on the sum of squares, above zero.
    n_steps : int
        k, at least 0.

    Returns
    -------
    A : ndarray of shape (k + 1, k + 1)
    b : ndarray of shape (k + 1,)
    c : float

    Raises
    ------
    ValueError
        As `excess_risk`, or if `lam` is not positive.

    Notes
    -----
    Holds for every real w; students of the recursion have Σ w = 1. The quadratic form is [P]'s. A is
    ill-conditioned beyond a few steps: to minimise it use `best_mixture`, which never forms it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill.theory import excess_risk, excess_risk_quadratic
    >>> A, b, c = excess_risk_quadratic([1.0], [2.0], gamma=1.0, n_samples=1, lam=1.0, n_steps=1)
    >>> w = np.array([0.5, 0.5])
    >>> float(w @ A @ w - 2 * b @ w + c), float(excess_risk([1.0], [2.0], 1.0, 1, [0.375]))
    (1.703125, 1.703125)
    """
    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples)
    lam = check.scalar(lam, "lam", minimum=0.0, strict=True)
    k = check.integer(n_steps, "n_steps", minimum=0)
    a = np.asarray(d, dtype=np.float64) / (np.asarray(d, dtype=np.float64) + lam)
    pure = a ** np.arange(1, k + 2)[:, None]
    return (pure * (signal + noise)) @ pure.T / n, pure @ signal / n, float(signal.sum() / n)


def oracle_filter(d: Any, theta: Any, gamma: float) -> np.ndarray:
    """The filter with the least excess risk of all.

    F_j = d_j θ_j² / (d_j θ_j² + γ²)

    Parameters
    ----------
    d, theta, gamma
        As in `excess_risk`.

    Returns
    -------
    ndarray of shape (r,)
        0 in directions without signal.

    Raises
    ------
    ValueError
        As `excess_risk`.

    Notes
    -----
    Assumptions as in `excess_risk`. By [P], r = rank X steps reach it for every λ > 0 when the singular
    values are distinct; where they coincide, directions of equal d share one filter value and it may be out
    of reach.

    Examples
    --------
    >>> from fastdistill.theory import oracle_filter
    >>> oracle_filter([4.0, 1.0], [1.0, 0.0], gamma=1.0)
    array([0.8, 0. ])
    """
    signal, noise, _ = signal_and_noise(d, theta, gamma, 1)
    return _oracle(signal, noise)


def oracle_risk(d: Any, theta: Any, gamma: float, n_samples: int) -> float:
    """The least excess risk of any filter.

    (γ²/n) Σ_j F_j,    F the oracle filter

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `excess_risk`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `excess_risk`.

    Notes
    -----
    Assumptions as in `excess_risk`. At most γ²/n where θ is parallel to one right singular vector, whatever
    r is. From [P].

    Examples
    --------
    >>> from fastdistill.theory import oracle_risk
    >>> oracle_risk([4.0, 1.0], [1.0, 0.0], gamma=1.0, n_samples=2)
    0.4
    """
    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples)
    return float(noise * _oracle(signal, noise).sum() / n)


def best_mixture(d: Any, theta: Any, gamma: float, n_samples: int, lam: Any, n_steps: int) -> BestMixture:
    """The k-step student of least excess risk at each penalty, for known θ and γ.

    min_w (1/n) Σ_j [ d_j θ_j² (1 − F_j)² + γ² F_j² ],    F_j = Σ_{i=0..k} w_i a_j^{i+1},  Σ w_i = 1

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `excess_risk`, with positive `d` and `gamma`.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero, the same in every step.
    n_steps : int
        k, at least 0 (0: ridge, nothing to choose).

    Returns
    -------
    BestMixture
        `lam` (L,), `weights` (L, k + 1), `filters` (L, r), `excess_risk` (L,); no L axis for a scalar `lam`.
        Where fewer than k distinct eigenvalues exist, the weights of lowest degree.

    Raises
    ------
    ValueError
        As `excess_risk`, or if `d`, `gamma` or a penalty is not positive.

    Notes
    -----
    [P]'s optimal imitation parameters, as mixture weights. With Σ w = 1, F = a − a (1 − a) g(a) for a
    polynomial g of degree k − 1; g is fitted by least squares in polynomials orthogonal on the spectrum
    (Lanczos with full reorthogonalisation), so `filters` and `excess_risk` are accurate for any k.
    `weights` are the same polynomial in powers of a: they blow up as eigenvalues approach each other, and
    past 1e12 or so they no longer reproduce `filters` in double precision (NaN past 1e308).

    Examples
    --------
    >>> from fastdistill.theory import best_mixture
    >>> best = best_mixture([4.0, 1.0], [1.0, 0.0], gamma=1.0, n_samples=2, lam=1.0, n_steps=2)
    >>> best.weights.round(6), best.filters.round(6), round(float(best.excess_risk), 6)
    (array([-4.333333, 12.      , -6.666667]), array([0.8, 0. ]), 0.4)
    """
    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples, positive=True)
    d = np.asarray(d, dtype=np.float64)
    penalties = check.penalties(lam, positive=True)
    check.each_sized(np.atleast_1d(penalties)[:, None] / np.array([d.min(), d.max()]), "lam / d")
    k = check.integer(n_steps, "n_steps", minimum=0)
    each = [_best_at(d, signal, noise, float(penalty), k) for penalty in penalties.flat]
    weights = np.array([w for w, _ in each]).reshape((*penalties.shape, k + 1))
    filters = np.array([f for _, f in each]).reshape((*penalties.shape, len(d)))
    return BestMixture(penalties[()], weights, filters, _risk(signal, noise, n, filters)[()])


def best_student(d: Any, theta: Any, gamma: float, n_samples: int, n_steps: int) -> BestMixture:
    """The k-step student of least excess risk over penalties and mixture weights together.

    min_{λ > 0} min_w risk(λ, w);    k = 0 is the best ridge, k = 1 the best one-step student

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `best_mixture`.
    n_steps : int
        k, at least 0.

    Returns
    -------
    BestMixture
        At one penalty: `lam` is a float, `weights` (k + 1,), `filters` (r,), `excess_risk` a float.

    Raises
    ------
    ValueError
        As `best_mixture`.

    Notes
    -----
    The risk need not be convex in λ. It is scanned on a grid of 16 penalties a decade, from 1e-6 min(d) to
    1e6 max(d) and beyond where the best ridge may lie, and refined by Brent's method around the best:
    global up to minima narrower than the grid. The infimum may lie at λ → 0 or ∞ (there k-step students
    tend to polynomials of degree k in 1/d or d); then the end of the range is returned, about 1e-6 relative
    above it. For ridge every minimum lies between γ² / max θ_j² and max(d_1, 8 γ² Σ d² / Σ d² θ²), by the
    sign of R'(λ) = (2/n) Σ d² (λ θ² − γ²) / (d + λ)³. O(k² r) for each of the few hundred penalties.

    Examples
    --------
    >>> from fastdistill.theory import best_student
    >>> best = best_student([4.0, 1.0], [1.0, 1.0], gamma=1.0, n_samples=2, n_steps=0)
    >>> round(best.lam, 6), best.filters.round(6), round(best.excess_risk, 6)
    (1.0, array([0.8, 0.5]), 0.65)
    """
    from scipy.optimize import minimize_scalar

    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples, positive=True)
    d = np.asarray(d, dtype=np.float64)
    k = check.integer(n_steps, "n_steps", minimum=0)

    def risk_at(log_lam: float) -> float:
        return float(_risk(signal, noise, n, _best_at(d, signal, noise, float(np.exp(log_lam)), k)[1]))

    low, high = _penalty_range(d, signal, noise)
    grid = np.linspace(np.log(low), np.log(high), int(_PENALTIES_PER_DECADE * np.log10(high / low)) + 2)
    risks = np.array([risk_at(x) for x in grid])
    i = int(risks.argmin())
    found = minimize_scalar(
        risk_at,
        bounds=(grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    lam = float(np.exp(found.x if found.fun < risks[i] else grid[i]))
    weights, filters = _best_at(d, signal, noise, lam, k)
    return BestMixture(lam, weights, filters, float(_risk(signal, noise, n, filters)))


def separation_family(
    r: int, n_samples: int | None = None, gamma: float = 1.0, condition: float = 4.0, snr: float | None = None
) -> FixedDesign:
    """A problem of rank r on which r steps beat one step, and ridge, by a factor that grows linearly with r.

    √d equally spaced from √n down to √(n/κ),    θ ∥ v_1,    d_1 θ_1² = ρ γ²

    Parameters
    ----------
    r : int
        Rank, at least 2.
    n_samples : int, optional
        n, at least r, which it defaults to.
    gamma : float
        Standard deviation of the noise, above zero.
    condition : float
        κ = d_1 / d_r, above 1 (so that the singular values are distinct).
    snr : float, optional
        ρ, above zero. Defaults to r (κ + 1/κ)², the least for which the bound below is r γ² / (4 κ² n).

    Returns
    -------
    FixedDesign
        (d, theta, gamma, n_samples), the leading arguments of the other functions here.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    A family as in [P]'s separation theorem: distinct singular values within a constant factor, θ parallel
    to v_1, a strong signal. r steps reach the oracle risk, at most γ²/n, for every λ > 0. Every ridge and
    every one-step student, whatever λ ≥ 0 and ξ, has at least

        min( r / (4 κ²), ρ / (4 (κ² + 1)²) ) · γ²/n,

    which an elementary argument gives (the constants are not [P]'s): with φ = F_1 ≤ 1, a one-step student has
    F_j ≥ φ d_j/d_1 − (1 − φ) d_1/d_j, so either the bias (1 − φ)² ρ or every one of the r variances is large.

    Examples
    --------
    >>> from fastdistill.theory import best_student, separation_family
    >>> problem = separation_family(20)
    >>> one_step, many = (best_student(*problem, n_steps=k).excess_risk for k in (1, 20))
    >>> bool(one_step / many > 5), bool(many <= problem.gamma**2 / problem.n_samples)
    (True, True)
    """
    r = check.integer(r, "r", minimum=2)
    n = r if n_samples is None else check.integer(n_samples, "n_samples", minimum=r)
    gamma = check.scalar(gamma, "gamma", minimum=0.0, strict=True, largest=check.LARGEST_FACTOR)
    kappa = check.scalar(condition, "condition", minimum=1.0, strict=True)
    if snr is None:
        rho = r * (kappa + 1.0 / kappa) ** 2
    else:
        rho = check.scalar(snr, "snr", minimum=0.0, strict=True)
    d = n * np.linspace(1.0, kappa**-0.5, r) ** 2
    theta = np.zeros(r)
    theta[0] = gamma * np.sqrt(rho / d[0])
    return FixedDesign(d, theta, gamma, n)


def signal_and_noise(
    d: Any, theta: Any, gamma: float, n_samples: int, *, positive: bool = False
) -> tuple[np.ndarray, float, int]:
    """Signal d θ² per direction, noise variance γ², and n."""
    d = check.spectrum_values(d, positive=positive)
    theta = check.sized(check.real_array(theta, "theta", ndim=1), "theta", check.LARGEST_FACTOR)
    if len(theta) != len(d):
        raise ValueError(
            f"theta has {len(theta)} coordinates, but d holds {len(d)} eigenvalues; pass V.T @ theta, the "
            f"coordinates in the right singular basis."
        )
    gamma = check.scalar(gamma, "gamma", minimum=0.0, strict=positive, largest=check.LARGEST_FACTOR)
    return d * theta**2, gamma**2, check.integer(n_samples, "n_samples", minimum=1)


def _risk(signal: np.ndarray, noise: float, n: int, filters: np.ndarray) -> np.ndarray:
    return ((1.0 - filters) ** 2 @ signal + noise * (filters**2).sum(axis=-1)) / n


def _oracle(signal: np.ndarray, noise: float) -> np.ndarray:
    return np.divide(signal, signal + noise, out=np.zeros_like(signal), where=signal > 0)


def _penalty_range(d: np.ndarray, signal: np.ndarray, noise: float) -> tuple[float, float]:
    beyond = 10.0**_DECADES_BEYOND_SPECTRUM
    low, high = d.min() / beyond, d.max() * beyond
    if signal.any():
        low = min(low, noise / (signal / d).max())
        high = max(high, 8.0 * noise * (d**2).sum() / (d * signal).sum())
    return float(low), float(high)


def _best_at(d: np.ndarray, signal: np.ndarray, noise: float, lam: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (k + 1,) and filter (r,) of the best k-step student at one penalty.

    In F = a − a (1 − a) g(a) the risk is, up to a constant, Σ q (F − F*)² with q = d θ² + γ² and F* the
    oracle.
    """
    a, root = d / (d + lam), np.sqrt(signal + noise)
    start = root * (a * (lam / (d + lam)))
    wanted = root * (a - _oracle(signal, noise))
    weights = np.zeros(k + 1)
    weights[0] = 1.0  # F / a = 1 + (a − 1) g(a)
    with np.errstate(over="ignore", invalid="ignore"):  # of the coefficients of g; the fit is in unit vectors
        fit, g = _polynomial_fit(d, lam, start, wanted, k)
        weights[1:] += g
        weights[:-1] -= g
    if not np.isfinite(weights).all():
        weights[:] = np.nan
    return weights, a - fit / root


def _polynomial_fit(
    d: np.ndarray, lam: float, start: np.ndarray, wanted: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares fit of `wanted` by start · g(a), deg g < k: the fit (r,), and g in powers of a (k,).

    Lanczos in x, the affine image of a on [−1, 1]; written in d it keeps the relative gaps that rounding of
    a itself would lose for λ ≪ d or λ ≫ d. Polynomials are carried beside the basis vectors.
    """
    low, high = d.min(), d.max()
    if high > low:
        x = 2.0 * (d - low) / (d + lam) * ((high + lam) / (high - low)) - 1.0
        slope = 2.0 * (high + lam) / lam * ((low + lam) / (high - low))
        offset = -1.0 - slope * (low / (low + lam))
    else:
        x, slope, offset = np.zeros_like(d), 0.0, 0.0
    basis, polynomials = np.zeros((k, len(d))), np.zeros((k, k))
    vector, polynomial, used = start, np.eye(1, max(k, 1))[0, :k], 0
    for i in range(min(k, len(d))):
        norm = np.linalg.norm(vector)
        if i > 0 and norm <= 8 * len(d) * np.finfo(float).eps:
            break  # the distinct eigenvalues are used up: higher powers add nothing
        basis[i], polynomials[i], used = vector / norm, polynomial / norm, i + 1
        vector = x * basis[i]
        polynomial = offset * polynomials[i]
        polynomial[1:] += slope * polynomials[i, :-1]
        for _ in range(2):  # twice is enough
            overlap = basis[:used] @ vector
            vector = vector - overlap @ basis[:used]
            polynomial = polynomial - overlap @ polynomials[:used]
    coefficients = basis[:used] @ wanted
    return coefficients @ basis[:used], coefficients @ polynomials[:used]
