"""Label noise: imitation weights beyond one, and classifiers of Gaussian mixtures that learn from their own labels.

**Estimation error.** In a fixed design the filter F of a student gives the error
Σ_j θ_j² (1 − F_j)² + γ² F_j² / d_j.
The best weight of one step (`one_step`) tends to Σ (a² b / d) / Σ (a² b² / d) > 1 as the noise grows, with
a = d / (d + λ) and b = 1 − a.

**Gaussian mixture.** x = y μ + z, y = ±1 with equal probability, z standard normal in p dimensions, labels flipped with
probability ρ; ridge without intercept on the labels ±1, then again and again on the labels that it gives to fresh
inputs, hard (signs) or soft (values). For labels ℓ of x with E x ℓ = c, ridge sees the target β = (I + μ μᵀ)⁻¹ c and
noise of variance E ℓ² − cᵀ β. By `random_design`, with s = 1 + ‖μ‖² along μ and 1 elsewhere::

    real labels    c = (1 − 2 ρ) μ
    hard labels    c = (1 − 2 e) μ + 2 φ(ρ_b) b / ‖b‖,   ρ_b = ⟨b, μ⟩ / ‖b‖,  e = Φ(−ρ_b) the error of b
    soft labels    c = (I + μ μᵀ) b, without noise

so that the component of b along μ and the norm of the rest carry the stages; φ and Φ are the normal density and
distribution function.

=============================================  =========================================
paper                                          here
=============================================  =========================================
Das and Sanghavi 2023: ξ⋆                      `estimation_mixing`
Takanami, Takahashi and Sakata 2025: θ, α      `flip`, `n_samples` / `n_features`
=============================================  =========================================

Cost: O(r) for each penalty; O(1) for each stage.
"""

from __future__ import annotations

from math import erfc, exp, pi, sqrt
from typing import Any

import numpy as np

from fastdistill.base import validation as check
from fastdistill.theory.fixed_design import signal_and_noise
from fastdistill.theory.generations import for_each
from fastdistill.theory.one_step import OptimalMixing, mixing_of_filters
from fastdistill.theory.random_design import stage

LABELS = ("hard", "soft")


def estimation_mixing(d: Any, theta: Any, gamma: float, lam: Any) -> OptimalMixing:
    """The best imitation weight of one step for the estimation error, and its gain; above one where noise is large.

    E ‖θ̂ − θ‖² = Σ_j θ_j² (1 − F_j)² + γ² F_j² / d_j,    F = a (1 − ξ + ξ a)

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of X Xᵀ, above zero.
    theta : array-like of shape (r,)
        Coordinates of the true coefficients in the right singular basis of X.
    gamma : float
        Standard deviation of the noise, at least zero.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero.

    Returns
    -------
    OptimalMixing
        `xi`, the estimation error of ridge as `risk`, its `derivative`, `gain` of the student with `xi`, and
        `curvature_margin`.

    Raises
    ------
    ValueError
        If lengths differ, an eigenvalue or penalty is not positive, or `gamma` is negative.

    Notes
    -----
    Assumes a fixed design, a linear truth in the row space of X, and uncorrelated noise of equal variance. As γ grows,
    ξ* tends to Σ a² b / d / Σ a² b² / d, a weighted mean of 1 / b = (d + λ) / λ: above one for every spectrum. That the
    best weight exceeds one in the high-noise regime is from Das and Sanghavi 2023, arXiv:2301.13304; only the abstract
    could be had, and the formula is derived here.

    Examples
    --------
    >>> from fastdistill.theory import estimation_mixing
    >>> [round(float(estimation_mixing([4.0, 1.0], [1.0, 0.5], gamma, lam=1.0).xi), 3) for gamma in (0.1, 1.0, 10.0)]
    [-1.472, 0.851, 2.256]
    """
    values = check.spectrum_values(d, positive=True)
    signal, noise, _ = signal_and_noise(values, theta, gamma, 1)
    return mixing_of_filters(check.penalties(lam, positive=True), values, signal / values, noise / values)


def mixture_error(
    separation: float,
    n_samples: Any,
    n_features: int,
    flip: float,
    lam: Any,
    n_stages: int,
    labels: str = "hard",
) -> np.ndarray:
    """Test error of a ridge classifier of two Gaussians, and of those that learn from its labels, stage by stage.

    error = Φ(−‖μ‖ b_μ / √(b_μ² + r²)),    b_μ = a_1 β_μ,    r² = a² β_⊥² + (p − 1) v τ²

    Parameters
    ----------
    separation : float
        ‖μ‖, half the distance of the two means in standard deviations, above 0.
    n_samples : int or array-like of int of shape (n_stages + 1,)
        Number of inputs of each stage.
    n_features : int
        p, at least 2.
    flip : float
        Probability that a label of stage 0 is wrong, between 0 and 1/2.
    lam : float or array-like of shape (n_stages + 1,)
        Penalty on the sum of squares, at least 0, the same or one for each stage.
    n_stages : int
        Number of stages after the first, at least 0.
    labels : {"hard", "soft"}, default="hard"
        Whether later stages learn from signs of the classifier before, or from its values.

    Returns
    -------
    ndarray of shape (n_stages + 1,)
        Probability of the wrong class for a new input.

    Raises
    ------
    ValueError
        If values are out of range, without a penalty if there are as many samples as features, or if a penalty is so
        large that results would leave float64.

    Notes
    -----
    Assumes balanced classes, squared loss, no intercept, fresh inputs at every stage, and n and p that grow in
    proportion; the limit is exact. With few samples the classifier is random: where the limit is tiny (a large
    separation), or labels are nearly random (`flip` near 1/2), the mean error can be many times larger.

    Takanami, Takahashi and Sakata 2025, arXiv:2501.16226, train every stage on the same inputs, by the replica method;
    only their abstract could be had, and what fresh inputs allow to derive is derived here (see the head of the module)
    and tested against simulation. Their main claim, that hard labels are what denoises, can be checked in this setting.

    Examples
    --------
    >>> from fastdistill.theory import mixture_error
    >>> mixture_error(3.0, n_samples=200, n_features=300, flip=0.2, lam=100.0, n_stages=2).round(4)
    array([0.1818, 0.1261, 0.0743])
    """
    size = check.scalar(separation, "separation", minimum=0.0, maximum=check.LARGEST_FACTOR, strict=True)
    p = check.integer(n_features, "n_features", minimum=2)
    wrong = check.scalar(flip, "flip", minimum=0.0, maximum=0.5)
    steps = check.integer(n_stages, "n_stages", minimum=0) + 1
    check.choice(labels, "labels", LABELS)
    counts, penalties = (
        for_each(np.asarray(n_samples), steps, "n_samples"),
        for_each(check.penalties(lam), steps, "lam"),
    )
    s = np.ones(p)
    s[0] += size**2
    along, across, noise = _target((1.0 - 2.0 * wrong) * size, 0.0, s[0])
    errors = []
    for t in range(steps):
        count = check.integer(counts[t], "n_samples", minimum=1)
        ridge = stage(s, count, float(penalties[t]))
        squares = np.zeros(p)
        squares[:2] = along**2, across**2
        total = ridge.total_risk(s, squares, noise)
        along *= ridge.kept[0]
        across = ridge.kept[1] * np.hypot(across, sqrt((p - 1) / count * total))  # v = a² / n
        norm = np.hypot(along, across)
        cosine = size * along / norm
        errors.append(0.5 * erfc(cosine / sqrt(2.0)))
        if labels == "soft":
            along, across, noise = along / norm, across / norm, 0.0  # values of any size give the same signs
        else:
            bump = 2.0 * exp(-(cosine**2) / 2.0) / sqrt(2.0 * pi) / norm
            along, across, noise = _target((1.0 - 2.0 * errors[-1]) * size + bump * along, bump * across, s[0])
    return np.array(errors)


def _target(along: float, across: float, variance: float) -> tuple[float, float, float]:
    """Coordinates of β = Σ⁻¹ c, and 1 − cᵀ β, from those of c along μ and across it."""
    return along / variance, across, max(0.0, 1.0 - along**2 / variance - across**2)
