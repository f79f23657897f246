"""The best weight of one distillation step, and when it beats ridge strictly: the sign rule [D].

With a = d / (d + λ) a pure step changes the filter of ridge by a² − a = λ da/dλ. So the fits p of ridge and p_1 of its
pure step obey p_1 = p + λ p', for any data, on any samples, in any squared norm. The one-step student is p + ξ λ p',
and with the risk R = ‖p − v‖² (a mean square, or its expectation) and D = ‖p_1 − p‖² = λ² ‖p'‖²

    R(ξ) = R + ξ λ R' + ξ² D,    ξ* = −λ R' / (2 D),    R(ξ*) = R − (λ R')² / (4 D).

Hence the sign rule sign ξ* = −sign R', negative where the penalty is too large, and a strict gain wherever R' ≠ 0. At
a stationary penalty nothing is gained; but at a minimum of R where λ² R'' / 2 > D the students of neighbouring
penalties fall below it, for there the second derivative of R − (λ R')² / (4 D) is R'' (1 − λ² R'' / (2 D)) < 0.

| paper [D]                                   | here                                          |
|---------------------------------------------|-----------------------------------------------|
| λ, on the *mean* of squares                 | `lam` / n                                     |
| R(λ), R'(λ)                                 | `risk`, `derivative`                          |
| ξ⋆(λ)                                       | `xi`                                          |
| R(λ) − R⋆_sd(λ)                             | `gain`                                        |
| λ² R'' / 2 − D, of the curvature condition  | `curvature_margin`                            |

Cost: O(L r) for L penalties and r eigenvalues, O(L N) for predictions of N samples; no refit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check
from fastdistill.theory.fixed_design import signal_and_noise

# The cosine between p_1 − p and v − p below which it is rounding; gain / risk is its square.
SMALLEST_COSINE = 1e-13


class OptimalMixing(NamedTuple):
    """The best one-step student at each penalty; every field has the shape of `lam`, () or (L,)."""

    lam: Any
    xi: Any
    risk: Any
    derivative: Any
    gain: Any
    curvature_margin: Any


def risk_derivative(d: Any, theta: Any, gamma: float, n_samples: int, lam: Any) -> Any:
    """Derivative of the excess risk of ridge with respect to its penalty.

    R'(λ) = (2/n) Σ_j d_j² (λ θ_j² − γ²) / (d_j + λ)³

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `excess_risk`.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero.

    Returns
    -------
    float or ndarray of shape (L,)
        Below zero where the penalty is too small, above zero where it is too large.

    Raises
    ------
    ValueError
        As `excess_risk`, or if a penalty is not positive.

    Notes
    -----
    Assumptions as in `excess_risk`. A single sign change is not promised: with several directions the risk of ridge may
    have several minima.

    Examples
    --------
    >>> from fastdistill.theory import risk_derivative
    >>> float(risk_derivative([4.0, 1.0], [1.0, 1.0], gamma=1.0, n_samples=2, lam=1.0))
    0.0
    """
    return optimal_mixing(d, theta, gamma, n_samples, lam).derivative


def optimal_mixing(d: Any, theta: Any, gamma: float, n_samples: int, lam: Any) -> OptimalMixing:
    """The best imitation weight of one step at each penalty, in a fixed design, and what it gains.

    ξ* = −λ R' / (2 D),    gain = (λ R')² / (4 D),    D = (1/n) Σ_j (d_j θ_j² + γ²) a_j² (1 − a_j)²

    Parameters
    ----------
    d, theta, gamma, n_samples
        As in `excess_risk`.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero.

    Returns
    -------
    OptimalMixing
        `xi`, excess `risk` of ridge, its `derivative`, `gain` of the student with `xi`, and `curvature_margin`
        λ² R'' / 2 − D; 0 where a step changes nothing.

    Raises
    ------
    ValueError
        As `excess_risk`, or if a penalty is not positive.

    Notes
    -----
    [D] prove the closed form and the sign rule for every squared risk, given the data; here the risk is averaged over
    the noise as well (`fixed_design`). `best_mixture` with one step gives the same students.

    Examples
    --------
    >>> from fastdistill.theory import optimal_mixing
    >>> found = optimal_mixing([4.0, 1.0], [1.0, 0.0], gamma=1.0, n_samples=2, lam=[0.5, 4.0])
    >>> found.xi.round(3), found.gain.round(4)
    (array([ 1.957, -1.014]), array([0.1879, 0.174 ]))
    """
    signal, noise, n = signal_and_noise(d, theta, gamma, n_samples)
    penalties = check.penalties(lam, positive=True)
    d = np.asarray(d, dtype=np.float64)
    return mixing_of_filters(penalties, d, signal / n, np.full_like(signal, noise / n))


def mixing_of_filters(penalties: np.ndarray, d: np.ndarray, signal: np.ndarray, noise: np.ndarray) -> OptimalMixing:
    """For risks Σ_j signal_j (1 − F_j)² + noise_j F_j² of the filters F."""
    a = d / (d + penalties[..., None])
    b = penalties[..., None] / (d + penalties[..., None])  # 1 − a without cancellation
    ab = a * b
    return mixing_of(
        penalties,
        risk=b**2 @ signal + a**2 @ noise,
        slope=2.0 * (ab * (b * signal - noise * a)).sum(axis=-1),
        distance=ab**2 @ (signal + noise),
        margin=2.0 * (ab * b * (a * noise - b * signal)).sum(axis=-1),
    )


def empirical_mixing(lam: Any, pure: Any, wanted: Any) -> OptimalMixing:
    """The best imitation weight of one step at each penalty, for given predictions and wanted values.

    ξ* = ⟨v − p, p_1 − p⟩ / ‖p_1 − p‖²,    λ R' = 2 ⟨p_1 − p, p − v⟩ / N

    Parameters
    ----------
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, above zero.
    pure : array-like of shape (L,)(k + 1,)(N,) or (L,)(k + 1,)(N, m)
        Predictions of pure steps, k at least 2: ``S.path(y, lam, 1.0, n_steps=2)`` through `predict` (held-out
        samples), `loo` or `fitted`. The first axis is there if `lam` has one; steps beyond 2 are not looked at.
    wanted : array-like of shape (N,) or (N, m)
        v, the targets of the same samples; several targets share ξ.

    Returns
    -------
    OptimalMixing
        `xi`, `risk` of ridge (mean squared error), its `derivative`, `gain` of the student with `xi`, and
        `curvature_margin` λ² R'' / 2 − D; 0 where a step changes nothing.

    Raises
    ------
    ValueError
        If shapes do not match, or a penalty is not positive.

    Notes
    -----
    Exact for the curve of a holdout and of leave-one-out, with and without intercept; no assumption on the data [D].
    An optimal weight is read off the very values it is judged by: its gain is never negative, and optimistic. Not for
    predictions corrected for degrees of freedom (GCV): there the rule holds only as far as the correction is smooth.

    Examples
    --------
    >>> from fastdistill.theory import empirical_mixing, sign_rule
    >>> import fastdistill as fd
    >>> X, y = [[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, -1.0, 0.5]
    >>> path = fd.Spectrum.from_design(X).path(y, lam=[0.1, 10.0], xi=1.0, n_steps=2)
    >>> found = empirical_mixing(path.lam, path.predict([[1.0, -1.0], [0.5, 0.5]]), [1.0, 0.0])
    >>> found.xi.round(3), sign_rule(found)
    (array([ 2.029, -4.265]), array([ 1, -1]))
    """
    penalties = check.penalties(lam, positive=True)
    v = check.sized(check.real_array(wanted, "wanted", ndim=(1, 2)), "wanted", check.LARGEST_TARGET)
    p = check.real_array(pure, "pure", ndim=penalties.ndim + 1 + v.ndim)
    check.sized(p, "pure", check.LARGEST_TARGET)
    steps = p.shape[penalties.ndim]
    if p.shape != (*penalties.shape, steps, *v.shape) or steps < 3:
        raise ValueError(
            f"pure has shape {p.shape}, but {(*penalties.shape, 'k + 1', *v.shape)} with k >= 2 goes with "
            f"{penalties.size} penalties and wanted of shape {v.shape}."
        )
    p = p.reshape(*penalties.shape, steps, v.size)
    ridge, once, twice = (p[..., i, :] for i in range(3))
    error, change = ridge - v.ravel(), once - ridge
    return mixing_of(
        penalties,
        risk=np.square(error).mean(axis=-1),
        slope=2.0 * (change * error).mean(axis=-1),
        distance=np.square(change).mean(axis=-1),
        margin=2.0 * ((ridge - 2.0 * once + twice) * error).mean(axis=-1),
    )


def sign_rule(mixing: OptimalMixing) -> Any:
    """The sign of the best weight, from the slope of the ridge curve alone.

    sign ξ* = −sign R'(λ)

    Parameters
    ----------
    mixing : OptimalMixing
        From `optimal_mixing` or `empirical_mixing`.

    Returns
    -------
    int or ndarray of int of shape (L,)
        1 (imitate), −1 (the opposite of imitating: too large a penalty), or 0 where R' is zero to rounding.

    Notes
    -----
    [D]; the zero is relative to the risk: a gain below 1e-26 of it, the square of the rounding error of a cosine.

    Examples
    --------
    >>> from fastdistill.theory import optimal_mixing, sign_rule
    >>> sign_rule(optimal_mixing([4.0, 1.0], [1.0, 1.0], gamma=1.0, n_samples=2, lam=[0.5, 1.0, 2.0]))
    array([ 1,  0, -1])
    """
    return np.where(strict_improvement(mixing), -np.sign(mixing.derivative), 0.0).astype(int)[()]


def strict_improvement(mixing: OptimalMixing) -> Any:
    """Whether the best one-step student is strictly better than ridge of the same penalty.

    R(ξ*) < R  ⇔  R'(λ) ≠ 0

    Parameters
    ----------
    mixing : OptimalMixing
        From `optimal_mixing` or `empirical_mixing`.

    Returns
    -------
    bool or ndarray of bool of shape (L,)
        False where R' is zero to rounding.

    Notes
    -----
    [D], for every λ > 0. Strictly better than ridge of *that* penalty: whether a student beats the *best* ridge is
    another question, answered near a minimum of R by the sign of `curvature_margin`, which is sufficient.

    Examples
    --------
    >>> from fastdistill.theory import optimal_mixing, strict_improvement
    >>> strict_improvement(optimal_mixing([4.0, 1.0], [1.0, 1.0], gamma=1.0, n_samples=2, lam=[0.5, 1.0, 2.0]))
    array([ True, False,  True])
    """
    return np.greater(mixing.gain, SMALLEST_COSINE**2 * np.asarray(mixing.risk))[()]


def mixing_of(lam: np.ndarray, risk: Any, slope: Any, distance: Any, margin: Any) -> OptimalMixing:
    """From R, λ R', D and λ² R'' / 2 − D."""
    slope, distance = np.asarray(slope), np.asarray(distance)
    xi = np.divide(-0.5 * slope, distance, out=np.zeros_like(slope), where=distance > 0)
    found = (lam, xi, risk, slope / lam, -0.5 * xi * slope, margin)
    return OptimalMixing(*(np.asarray(value)[()] for value in found))
