"""Ridge on random inputs with many features: exact risks in the limit, of one step and of steps on fresh inputs.

n inputs x = Σ^½ z with independent entries of z, a target xᵀ θ + noise of variance γ², in the eigenbasis of Σ (the
variances s_j, the coordinates θ_j). As n and p grow together, ridge of penalty λ (on the *sum* of squares) behaves like
a shrunk noisy copy of θ in every coordinate, with the effective penalty κ, κ n = λ + κ Σ s / (s + κ)::

    θ̂_j ≈ a_j θ_j + τ √v_j · N(0, 1),    a = s / (s + κ),  g = 1 − a,  v = s / (n (s + κ)²)
    τ² = (Σ s g² θ² + γ²) / Q,           Q = 1 − (1/n) Σ a²

τ² is the risk on new targets, R + γ² with R = E Σ s (θ̂ − θ)². For two penalties on the *same* data the product of the
errors is, with κ and m the two effective penalties,

    C(κ, m) + γ² = (Σ s g_κ g_m θ² + γ²) / (1 − (1/n) Σ a_κ a_m)

One step of self-distillation is p + ξ λ p' with p' the derivative of ridge along its penalty (`one_step`). So R' and
D = ‖λ p'‖² are derivatives of C on its diagonal, where dκ / d(λ/n) = 1 / Q.

============================================  =================================================
Dang, Patil and Rinaldo 2026                  here
============================================  =================================================
λ, on the *mean* of squares                   `lam` / n
R(λ), ξ⋆(λ), R⋆_sd(λ)                          `asymptotic_one_step`: risk, xi, risk − gain
eigenvalues of Σ, coordinates of the signal   `variances`, `theta`
============================================  =================================================

Cost: O(p) for each penalty, and some ten sums over the variances for κ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check
from fastdistill.theory.one_step import OptimalMixing, mixing_of

# Effective penalties beyond this many of the largest variance, and penalties of derivatives below 1 / n of its inverse,
# have squares that leave float64.
LARGEST_RATIO = 1e100


class Population(NamedTuple):
    """Checked variances (p,), coordinates of the signal (p,), and variance of the noise."""

    variances: np.ndarray
    theta: np.ndarray
    noise: float


class Stage(NamedTuple):
    """Ridge on random inputs: kept share a (p,), its complement g, spread v (p,) of the coordinates, 1 − Q, and Q."""

    kept: np.ndarray
    lost: np.ndarray
    spread: np.ndarray
    used: float
    free: float

    def total_risk(self, variances: np.ndarray, squares: np.ndarray, noise: float) -> float:
        """τ², for a target with the mean squared coordinates `squares` and noise of this variance."""
        return float((variances @ (np.square(self.lost) * squares) + noise) / self.free)


def checked_population(variances: Any, theta: Any, gamma: float) -> Population:
    """Variances at least 0, as many coordinates, γ at least 0."""
    s = check.spectrum_values(variances, "variances")
    coordinates = check.real_array(theta, "theta", ndim=1)
    if len(coordinates) != len(s):
        raise ValueError(f"theta has {len(coordinates)} entries, but there are {len(s)} variances; they must agree.")
    return Population(s, check.sized(coordinates, "theta"), check.scalar(gamma, "gamma", minimum=0.0) ** 2)


def effective_penalty(variances: np.ndarray, n_samples: int, lam: float) -> float:
    """κ ≥ 0 with κ n = λ + κ Σ s / (s + κ), to rounding; at λ = 0 the limit from above."""
    from scipy.optimize import brentq

    s = variances[variances > 0]
    if lam == 0.0 and len(s) <= n_samples:
        return 0.0
    largest = (lam + s.sum()) / n_samples
    if largest > LARGEST_RATIO * s.max(initial=0.0) > 0.0:
        raise ValueError(
            f"lam={lam:.3g} is too large beside {n_samples} samples and variances up to {s.max():.3g}: risks would "
            f"lose their digits in float64. Rescale the variances or lam."
        )

    def excess(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float(n_samples - len(s) + (kappa / (s + kappa)).sum() - lam / kappa)

    low = np.log(lam / n_samples) if lam else np.log(largest)
    while excess(low) > 0.0:  # only without a penalty; ends, as more variances than samples are positive
        low -= 4.0
    high = max(np.log(largest), low) + 1e-9
    return float(np.exp(brentq(excess, low - 1e-9, high, xtol=1e-15, rtol=8.9e-16)))


def stage(variances: np.ndarray, n_samples: int, lam: float, weights: np.ndarray | None = None) -> Stage:
    """Ridge with the penalty λ Σ_j weight_j θ_j² on n random inputs.

    n Q = n − Σ a + Σ a g, where n − Σ a = λ / κ, is not a difference of nearly equal numbers.
    """
    own = np.ones_like(variances) if weights is None else weights
    kappa = effective_penalty(variances / own, n_samples, lam)
    scaled = variances + kappa * own
    kept = np.divide(variances, scaled, out=np.zeros_like(variances), where=variances > 0)
    lost = np.divide(kappa * own, scaled, out=np.ones_like(variances), where=variances > 0)
    left = lam / kappa if kappa else n_samples - np.count_nonzero(variances)
    free = float(left + kept @ lost) / n_samples
    if free <= 0.0:
        raise ValueError(
            f"The risk is infinite: without a penalty, {n_samples} samples just determine as many features with a "
            f"positive variance. Use lam > 0, or another number of samples."
        )
    spread = np.divide(np.square(kept), variances * n_samples, out=np.zeros_like(variances), where=variances > 0)
    return Stage(kept, lost, spread, float(np.square(kept).sum()) / n_samples, free)


def asymptotic_one_step(variances: Any, theta: Any, gamma: float, n_samples: int, lam: Any) -> OptimalMixing:
    """The best weight of one step of self-distillation on random inputs with many features, and its risk.

    R = τ² − γ²,  λ R' = 2 λ' F_κ / Q,  D = (λ' / Q)² F_κm,  λ' = λ / n, F = C + γ²;  ξ* = −λ R' / (2 D)

    Parameters
    ----------
    variances : array-like of shape (p,)
        Eigenvalues of the covariance of the inputs, at least 0.
    theta : array-like of shape (p,)
        Coordinates of the true coefficients in its eigenbasis.
    gamma : float
        Standard deviation of the noise, at least 0.
    n_samples : int
        Number of training samples n.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero.

    Returns
    -------
    OptimalMixing
        Excess `risk` of ridge on new inputs, `xi` of the best student of one step, its `gain`, and `derivative` and
        `curvature_margin` of the risk; the last two with respect to `lam`.

    Raises
    ------
    ValueError
        If lengths differ, a variance or `gamma` is negative, a penalty is not positive, or so far from the variances
        that results would leave float64.

    Notes
    -----
    Assumes inputs Σ^½ z with independent entries of z, a linear truth, independent noise, and n and p that grow in
    proportion; Σ and θ are arbitrary. A limit: relative deviations at finite n are of the order 1 / √n for one sample
    and 1 / n in the mean. Dang, Patil and Rinaldo 2026, arXiv:2602.17565, section 3; only the abstract could be had,
    so the formula is derived here (see the head of the module) and tested against simulation.

    Examples
    --------
    >>> from fastdistill.theory import asymptotic_one_step
    >>> import numpy as np
    >>> found = asymptotic_one_step(np.ones(100), np.full(100, 0.1), gamma=0.5, n_samples=100, lam=[1.0, 20.0, 400.0])
    >>> found.risk.round(3), found.xi.round(2)
    (array([1.18 , 0.393, 0.715]), array([ 1.84,  0.22, -3.16]))
    """
    s, coordinates, noise = checked_population(variances, theta, gamma)
    n = check.integer(n_samples, "n_samples", minimum=1)
    penalties = check.penalties(lam, positive=True)
    each = np.array([_expansion(s, coordinates, noise, n, float(x)) for x in penalties.ravel()])
    risk, slope, distance, margin = each.T.reshape(4, *penalties.shape)
    return mixing_of(penalties, risk, slope, distance, margin)


def _expansion(s: np.ndarray, theta: np.ndarray, noise: float, n: int, lam: float) -> tuple[float, ...]:
    """R, λ R', D and λ² R'' / 2 − D from the derivatives of F(κ, m) on its diagonal."""
    if 0.0 < lam / n * LARGEST_RATIO < s.max():
        raise ValueError(
            f"lam={lam:.3g} is too small beside {n} samples and variances up to {s.max():.3g}: derivatives would lose "
            f"their digits in float64. Rescale the variances or lam."
        )
    ridge = stage(s, n, lam)
    kappa, a, g, free = effective_penalty(s, n, lam), ridge.kept, ridge.lost, ridge.free
    power, signal = 1.0 / (s + kappa), s * np.square(theta)
    bias = signal @ np.square(g)
    top = bias + noise  # N, of F = N / (1 − V)
    top_k, top_kk, top_km = (signal @ x for x in (g * a * power, -2.0 * g * a * power**2, np.square(a * power)))
    share_k, share_km = -(np.square(a) * power).sum() / n, np.square(a * power).sum() / n
    first = top_k / free + top * share_k / free**2
    shared = 2.0 * top_k * share_k / free**2 + 2.0 * top * share_k**2 / free**3
    mixed = top_km / free + shared + top * share_km / free**2
    second = top_kk / free + shared + 2.0 * top * share_km / free**2
    step = lam / n / free  # λ dκ / dλ
    distance = step**2 * mixed
    bend = (lam / n) ** 2 * 2.0 * share_k / free**3  # λ² d²κ / dλ²
    return (bias + noise * ridge.used) / free, 2.0 * step * first, distance, step**2 * second + bend * first
