"""Generations of models, each trained on labels of the one before: how they collapse, and how many real labels help.

Generation 0 is ridge on real labels y = xᵀ θ + noise. Generation t has the labels

    w (xᵀ θ + ε) + (1 − w) (xᵀ θ̂_{t−1} + ε'),    both noises of variance γ²: together γ² ν, ν = w² + (1 − w)²

with the share w of real labels; the second noise may have another variance. On fresh inputs in every generation
(random design, as in `random_design`; a, g, v, Q of ridge) the coordinates of the labels' coefficients,
w θ + (1 − w) θ̂_{t−1}, miss (1 − w) e_{t−1} of θ in the mean and have the variance (1 − w)² c_{t−1}, where

    e_t = g θ + a (1 − w) e_{t−1},    c_t = a² (1 − w)² c_{t−1} + v τ²,    risk = Σ s (e_t² + c_t)
    τ² = (Σ s g² ((θ − (1 − w) e_{t−1})² + (1 − w)² c_{t−1}) + γ² ν) / Q

On the same inputs in every generation (fixed design, a = n s / (n s + λ)) filters and noise follow

    1 − f_t = 1 − a + a (1 − w) (1 − f_{t−1}),    u_t = a² (γ² ν + (1 − w)² u_{t−1})
    risk = Σ s θ² (1 − f)² + (1/n) Σ u

Without a penalty a = 1 on the same inputs, u_∞ = γ² ν / (1 − (1 − w)²), and the best w solves w² + w = 1: the
reciprocal of the golden ratio, 0.618.

=============================================  ==========================================
paper                                          here
=============================================  ==========================================
Dohmatob, Feng and Kempe 2024: T, n            `n_samples`, `n_generations`; ``real_fraction=0``
Wu, Yang and Sun 2026: noiseless labels        ``synthetic_gamma=0``
Garg, Bhattacharya and Sur 2025: w             `real_fraction`, `BestFraction.fraction`
=============================================  ==========================================

Cost: O(p) for each generation and share; the best share takes some 100 limits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check
from fastdistill.theory.random_design import Population, Stage, checked_population, stage
from fastdistill.theory.two_stage import Moments, excess_of, known, learned

COVARIATES = ("fresh", "same")
SHARES = 64  # shares tried before the best of them is refined


class BestFraction(NamedTuple):
    """The share of real labels with the smallest risk after many generations, and that risk."""

    fraction: float
    risk: float


def generation_risk(
    variances: Any,
    theta: Any,
    gamma: float,
    n_samples: Any,
    lam: Any,
    n_generations: int,
    real_fraction: Any = 0.0,
    covariates: str = "fresh",
    synthetic_gamma: float | None = None,
) -> Any:
    """Excess risk of every generation of models that learn from the labels of the one before.

    R_t = Σ s E (θ̂_t − θ)²,    E θ̂_t² = a² E (w θ + (1 − w) θ̂_{t−1})² + v τ_t²    (fresh inputs)

    Parameters
    ----------
    variances, theta, gamma
        As in `asymptotic_one_step`; for the same inputs the eigenvalues of XᵀX / n and coordinates in its eigenbasis.
    n_samples : int or array-like of int of shape (n_generations + 1,)
        Number of samples of each generation; a number for the same inputs.
    lam : float or array-like of shape (n_generations + 1,)
        Penalty on the sum of squares, at least 0, the same or one for each generation.
    n_generations : int
        Number of generations after generation 0, at least 0.
    real_fraction : float or array-like of shape (F,), default=0
        w, the weight of real labels in generations 1, 2, …, between 0 and 1.
    covariates : {"fresh", "same"}, default="fresh"
        Whether every generation has new inputs, and the risk is that on new inputs; or all have the same, and the risk
        is that on those.
    synthetic_gamma : float, optional
        Standard deviation of the noise in labels of a generation; that of real ones, `gamma`, if None. With 0 and
        ``real_fraction=0`` this is self-training: the risk of `fastdistill.SelfTrainedRidge` step by step.

    Returns
    -------
    ndarray of shape (F,)(n_generations + 1,)
        The first axis only if `real_fraction` has one.

    Raises
    ------
    ValueError
        If lengths differ, values are out of range, a risk is infinite (as many samples as features without a penalty),
        or more variances of the same inputs are positive than there are samples.

    Notes
    -----
    Assumes a linear truth and independent noise in real and synthetic labels. Fresh inputs:
    Σ^½ z with independent entries of z, and numbers of samples that grow in proportion to p (a limit). The same inputs:
    exact for any X.

    Without real labels, without a penalty and with fewer features than samples every generation adds
    γ² (p / n) / (1 − p / n): the risk grows linearly (Dohmatob, Feng and Kempe 2024, arXiv:2402.07712); with more
    features than samples the signal itself is lost by a factor a in every generation. Without noise in synthetic labels
    noise averages out while the signal is lost (Wu, Yang and Sun 2026, arXiv:2602.14029): the risk falls, then rises.
    Only the papers' abstracts could be had; the recursions are derived here (see the head of the module) and tested
    against simulation.

    Examples
    --------
    >>> from fastdistill.theory import generation_risk
    >>> import numpy as np
    >>> generation_risk(np.ones(50), np.ones(50), 1.0, n_samples=100, lam=0.0, n_generations=3)
    array([1., 2., 3., 4.])
    """
    population = checked_population(variances, theta, gamma)
    own = gamma if synthetic_gamma is None else check.scalar(synthetic_gamma, "synthetic_gamma", minimum=0.0)
    steps = check.integer(n_generations, "n_generations", minimum=0) + 1
    penalties = for_each(check.penalties(lam), steps, "lam")
    counts = [check.integer(n, "n_samples", minimum=1) for n in for_each(np.asarray(n_samples), steps, "n_samples")]
    shares = _checked_shares(real_fraction)
    check.choice(covariates, "covariates", COVARIATES)
    if covariates == "same":
        if set(counts) != {counts[0]}:
            raise ValueError("n_samples must be one number with covariates='same'.")
        _check_rank(population, counts[0])
        curves = [_same_inputs(population, own**2, counts[0], penalties, float(w)) for w in shares.ravel()]
    else:
        pairs = [(n, float(x)) for n, x in zip(counts, penalties, strict=True)]
        made = {pair: stage(population.variances, *pair) for pair in set(pairs)}
        ridges = [made[pair] for pair in pairs]
        curves = [_fresh_inputs(population, own**2, ridges, float(w)) for w in shares.ravel()]
    return np.array(curves).reshape(*shares.shape, steps)


def _fresh_inputs(population: Population, own: float, ridges: list[Stage], share: float) -> list[float]:
    s, theta, noise = population
    target, of_labels, risks = known(theta, theta), noise, []
    for ridge in ridges:
        found = learned(ridge, target, s, theta, of_labels)
        risks.append(excess_of(s, found))
        target = Moments((1.0 - share) * found.missing, (1.0 - share) ** 2 * found.variance)
        of_labels = _mixed_noise(noise, own, share)
    return risks


def _mixed_noise(noise: float, own: float, share: float) -> float:
    return share**2 * noise + (1.0 - share) ** 2 * own


def _same_inputs(population: Population, own: float, n: int, penalties: np.ndarray, share: float) -> list[float]:
    s, theta, noise = population
    lost, u = np.ones_like(s), np.zeros_like(s)  # 1 − f, and the spread
    passed, of_labels, risks = 0.0, noise, []
    for lam in penalties:
        a, b = _filter(s, n, float(lam))
        lost, u = b + a * passed * lost, np.square(a) * (of_labels + passed**2 * u)
        risks.append(float(s @ np.square(theta * lost) + u.sum() / n))
        passed, of_labels = 1.0 - share, _mixed_noise(noise, own, share)
    return risks


def _filter(s: np.ndarray, n: int, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """a and 1 − a."""
    a = np.divide(n * s, n * s + lam, out=np.zeros_like(s), where=s > 0)
    return a, np.divide(lam, n * s + lam, out=np.ones_like(s), where=s > 0)


def _check_rank(population: Population, n: int) -> None:
    positive = np.count_nonzero(population.variances)
    if positive > n:
        raise ValueError(
            f"{positive} variances are positive, but n_samples={n}: with covariates='same' they are the eigenvalues of "
            f"XᵀX / n, of which at most n_samples are positive."
        )


def best_real_fraction(
    variances: Any, theta: Any, gamma: float, n_samples: int, lam: float, covariates: str = "fresh"
) -> BestFraction:
    """The share of real labels that is best in the long run, and its excess risk.

    argmin over w in (0, 1] of lim_t R_t(w), R_t as of `generation_risk`

    Parameters
    ----------
    variances, theta, gamma, covariates
        As in `generation_risk`.
    n_samples : int
        Number of samples of every generation.
    lam : float
        Penalty of every generation on the sum of squares, at least 0.

    Returns
    -------
    BestFraction

    Raises
    ------
    ValueError
        As `generation_risk`; without noise, where every share has the same risk.

    Notes
    -----
    Assumptions as of `generation_risk`. The limit is a fixed point, given in closed form, and searched for the best
    share. On the same inputs and without a penalty it is (√5 − 1) / 2 = 0.618 for every spectrum and signal: then w
    changes only the noise (Garg, Bhattacharya and Sur 2025, arXiv:2509.22341, for interpolation; only the abstract
    could be had, and does not say which inputs are meant). On fresh inputs the same holds for least squares, but
    interpolation with more features than samples loses signal in every generation, and the best share depends on the
    signal. With a penalty it is at least 1/2 for isotropic inputs, random signals and a spike that carries the signal,
    in all problems tried; a signal hidden in weak directions can have a share near 0 on fresh inputs: then it is best
    to lose it.

    Examples
    --------
    >>> from fastdistill.theory import best_real_fraction
    >>> import numpy as np
    >>> round(best_real_fraction(np.ones(50), np.ones(50), 1.0, n_samples=100, lam=0.0).fraction, 4)
    0.618
    >>> round(best_real_fraction(np.ones(50), np.ones(50), 1.0, n_samples=25, lam=0.0).fraction, 4)
    0.9332
    """
    from scipy.optimize import minimize_scalar

    population = checked_population(variances, theta, gamma)
    n = check.integer(n_samples, "n_samples", minimum=1)
    penalty = float(check.scalar(lam, "lam", minimum=0.0))
    check.choice(covariates, "covariates", COVARIATES)
    if population.noise == 0.0 and penalty == 0.0 and (covariates == "same" or np.count_nonzero(population[0]) < n):
        raise ValueError("Without noise and penalty every share of real labels gives the same risk; take gamma > 0.")
    if covariates == "same":
        _check_rank(population, n)
        filters = _filter(population.variances, n, penalty)

        def risk(share: float) -> float:
            return _limit_on_same_inputs(population, n, *filters, share)
    else:
        ridge = stage(population.variances, n, penalty)

        def risk(share: float) -> float:
            return _limit_on_fresh_inputs(population, ridge, share)

    tried = np.arange(1, SHARES + 1) / SHARES
    best = int(np.argmin([risk(float(w)) for w in tried]))
    bounds = (tried[best - 1] if best else 1e-9, tried[min(best + 1, SHARES - 1)])
    found = minimize_scalar(risk, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    at_end = risk(1.0)
    return BestFraction(1.0, at_end) if at_end <= found.fun else BestFraction(float(found.x), float(found.fun))


def _limit_on_same_inputs(population: Population, n: int, a: np.ndarray, b: np.ndarray, share: float) -> float:
    s, theta, noise = population
    lost = b / (b + share * a)
    u = np.square(a) * _mixed_noise(noise, noise, share) / (1.0 - np.square((1.0 - share) * a))
    return float(s @ np.square(theta * lost) + u.sum() / n)


def _limit_on_fresh_inputs(population: Population, ridge: Stage, share: float) -> float:
    """The fixed point of the recursion: c = v τ² / (1 − (1 − w)² a²), and τ² solves one linear equation."""
    s, theta, noise = population
    passed, g2 = 1.0 - share, s * np.square(ridge.lost)
    missing = ridge.lost * theta / (ridge.lost + share * ridge.kept)
    spread = ridge.spread / (1.0 - np.square(passed * ridge.kept))  # c / τ²
    growth = ridge.free - passed**2 * float(g2 @ spread)
    if growth <= 0.0:
        return np.inf  # the noise is amplified in every generation
    start = float(g2 @ np.square(theta - passed * missing)) + _mixed_noise(noise, noise, share)
    return excess_of(s, Moments(missing, spread * start / growth))


def for_each(values: np.ndarray, steps: int, name: str) -> np.ndarray:
    """One number for all generations, or one for each, as (steps,)."""
    if values.ndim > 1 or (values.ndim == 1 and len(values) != steps):
        raise ValueError(f"{name} must be one number, or {steps}, one for each generation; got shape {values.shape}.")
    return np.broadcast_to(values, steps)


def _checked_shares(real_fraction: Any) -> np.ndarray:
    shares = check.real_array(real_fraction, "real_fraction", ndim=(0, 1))
    if shares.size == 0 or shares.min() < 0.0 or shares.max() > 1.0:
        raise ValueError("real_fraction must be between 0 and 1.")
    return shares
