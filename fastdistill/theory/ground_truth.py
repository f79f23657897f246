"""Rounds that keep a share of the ground truth [B]: the limit, its rate, and the best weight of one step.

With constant penalty λ and imitation weight ξ, a = d / (d + λ), the filters f_0 = a, f_t = a ((1 − ξ) + ξ
f_{t−1}) of kernel ridge obey

    f_t = f_∞ + (ξ a)^t (f_0 − f_∞),    f_∞ = (1 − ξ) a / (1 − ξ a) = d / (d + λ / (1 − ξ)),

so that infinitely many steps are one ridge with the larger penalty λ / (1 − ξ), approached linearly.

| paper [B]                            | here                                              |
|--------------------------------------|---------------------------------------------------|
| α, weight of the ground truth        | 1 − `xi`                                          |
| λ, on the *sum* of squares           | `lam`                                             |
| filter of the limit                  | `limit_filter`                                    |
| λ / α                                | `limit_penalty`                                   |
| B_{k,k} / B_{k+1,k+1}                | `hilbert.filter_ratios`                           |
| α⋆                                   | 1 − `best_step_weight`                            |

Result axes are (L,)(Q,)(r,): penalties, weights, eigenvalues; each only if the input had it. O(L Q r).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.base import validation as check


def limit_penalty(lam: Any, xi: Any, d: Any = None) -> Any:
    """Penalty of the ridge that infinitely many steps with constant weight `xi` converge to.

    λ_∞ = λ / (1 − ξ)

    Parameters
    ----------
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, at least zero.
    xi : float or array-like of shape (Q,)
        Imitation weight, the same in every step.
    d : array-like of shape (r,), optional
        Eigenvalues of the kernel matrix. With them the exact condition |ξ| max a < 1 is checked, without
        them the one that suffices for every spectrum: −1 ≤ ξ < 1 (−1 < ξ if `lam` is 0).

    Returns
    -------
    float or ndarray of shape (L,)(Q,)
        Negative where ξ > 1, which only `d` can show to converge.

    Raises
    ------
    ValueError
        If the limit does not exist, or is no ridge (ξ = 1: the limit is zero, the penalty infinite).

    Notes
    -----
    Assumes the same `lam` and `xi` in every step. [B] proves it for α = 1 − ξ in (0, 1]; the geometric series
    behind it converges for every real ξ with |ξ| max a < 1.

    Examples
    --------
    >>> from fastdistill.theory import limit_penalty
    >>> float(limit_penalty(0.2, 0.75))
    0.8
    """
    lam, xi = check.penalties(lam), _weights(xi)
    if np.any(xi == 1.0):
        raise ValueError("xi=1 has no limit penalty: without ground truth the limit is zero; take xi < 1.")
    if d is None:
        doubtful = np.abs(xi) >= 1.0 if lam.min() == 0.0 else np.abs(xi) > 1.0
        if np.any(doubtful):
            raise ValueError(
                f"The limit for xi={float(xi[doubtful].flat[0]):.6g} depends on the spectrum: pass d, the "
                f"eigenvalues of the kernel matrix, or take -1 < xi < 1, where it always exists."
            )
    else:
        _check_limit_exists(check.spectrum_values(d, largest=check.LARGEST_LINEAR), lam, xi)
    return (lam[..., *(None,) * xi.ndim] / (1.0 - xi))[()]


def limit_filter(d: Any, lam: Any, xi: Any) -> np.ndarray:
    """Filter of the limit of infinitely many steps with constant weight `xi`.

    f_∞ = (1 − ξ) d / ((1 − ξ) d + λ)

    Parameters
    ----------
    d : array-like of shape (r,)
        Eigenvalues of the kernel matrix, at least zero.
    lam : float or array-like of shape (L,)
        Penalty on the sum of squares, at least zero.
    xi : float or array-like of shape (Q,)
        Imitation weight, the same in every step.

    Returns
    -------
    ndarray of shape (L,)(Q,)(r,)
        Zero for ξ = 1 and `lam` > 0: without ground truth nothing survives.

    Raises
    ------
    ValueError
        If |ξ| max a ≥ 1: the students do not converge (the message names the feasible range of ξ).

    Notes
    -----
    Assumptions as in `limit_penalty`. From [B], extended to every real ξ that converges.

    Examples
    --------
    >>> from fastdistill.theory import limit_filter
    >>> limit_filter([1.0, 0.25], lam=0.5, xi=0.5)
    array([0.5, 0.2])
    """
    d, lam, xi = check.spectrum_values(d, largest=check.LARGEST_LINEAR), check.penalties(lam), _weights(xi)
    _check_limit_exists(d, lam, xi)
    kept = (1.0 - xi)[..., None] * d
    penalty = lam[..., *(None,) * kept.ndim]
    return np.divide(kept, kept + penalty, out=np.zeros(lam.shape + kept.shape), where=kept != 0)


def convergence_rate(d: Any, lam: Any, xi: Any) -> Any:
    """Factor by which one more step shrinks the distance to the limit.

    ‖f_t − f_∞‖ ≤ rate^t ‖f_0 − f_∞‖,    rate = |ξ| max_k d_k / (d_k + λ)

    Parameters
    ----------
    d, lam, xi
        As in `limit_filter`.

    Returns
    -------
    float or ndarray of shape (L,)(Q,)
        1 or more: no convergence.

    Raises
    ------
    ValueError
        If an eigenvalue or a penalty is negative or not finite.

    Notes
    -----
    Assumptions as in `limit_penalty`. Attained in the top direction, so the rate is exact, not only a bound.

    Examples
    --------
    >>> from fastdistill.theory import convergence_rate
    >>> float(convergence_rate([1.0, 0.25], lam=1.0, xi=0.5))
    0.25
    """
    d, lam, xi = check.spectrum_values(d, largest=check.LARGEST_LINEAR), check.penalties(lam), _weights(xi)
    return _rate(d, lam, xi)[()]


def best_step_weight(f0: Any, f1: Any, reference: Any, sample_weight: Any = None) -> float:
    """Imitation weight of one step that minimises the squared error to reference values.

    ξ⋆ = ⟨v − f(0), f(1) − f(0)⟩ / ‖f(1) − f(0)‖²

    Parameters
    ----------
    f0, f1 : array-like of shape (q,) or (q, m)
        Predictions at the reference points of the step trained on the ground truth alone (ξ = 0) and on the
        teacher's predictions alone (ξ = 1).
    reference : array-like of the same shape
        v: held-out targets, or anything that f(ξ) should come close to.
    sample_weight : array-like of shape (q,), optional
        Weights in both inner products.

    Returns
    -------
    float
        One weight for all m targets. Not clipped: below 0 or above 1 is legitimate.

    Raises
    ------
    ValueError
        If shapes differ, or f(0) and f(1) agree everywhere (any ξ gives the same student).

    Notes
    -----
    Exact where the fit is linear in its targets, so that f(ξ) = (1 − ξ) f(0) + ξ f(1): ridge and kernel
    ridge. For other models it is [B]'s estimate from two fits. α⋆ = 1 − ξ⋆ in [B].

    Examples
    --------
    >>> from fastdistill.theory import best_step_weight
    >>> best_step_weight(f0=[1.0, 2.0], f1=[0.0, 2.0], reference=[0.25, 5.0])
    0.75
    """
    f0 = check.real_array(f0, "f0", ndim=(1, 2))
    f1 = check.real_array(f1, "f1", ndim=f0.ndim)
    reference = check.real_array(reference, "reference", ndim=f0.ndim)
    for name, arr in (("f1", f1), ("reference", reference)):
        if arr.shape != f0.shape:
            raise ValueError(f"{name} has shape {arr.shape}, but f0 has shape {f0.shape}; they must agree.")
    w = check.sample_weight(sample_weight, len(f0))
    for name, arr in (("f0", f0), ("f1", f1), ("reference", reference)):
        check.sized(arr, name, check.LARGEST_LINEAR)
    # each at unit size, as their squares may leave float64
    (move, step), (gap, distance) = check.in_units(f1 - f0), check.in_units(reference - f0)
    weighted = move if w is None else move * w.reshape((-1,) + (1,) * (move.ndim - 1))
    norm = float(np.vdot(weighted, move))
    if norm == 0.0:
        raise ValueError("f0 and f1 agree at every reference point: every xi gives the same student.")
    found = np.array(float(np.vdot(weighted, gap)) / norm)
    return float(check.held(found, "best weight", found.dtype, distance / step, 1))


def _weights(xi: Any) -> np.ndarray:
    arr = check.real_array(xi, "xi", ndim=(0, 1))
    if arr.size == 0:
        raise ValueError("xi is empty; at least one imitation weight is needed.")
    return arr


def _rate(d: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    top = d.max()
    largest = np.divide(top, top + lam, out=np.zeros(lam.shape), where=top > 0)
    return np.multiply.outer(largest, np.abs(xi))


def _check_limit_exists(d: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> None:
    rate = np.atleast_1d(_rate(d, lam, xi))
    if rate.max() >= 1.0:
        xi_worst = float(np.atleast_1d(xi)[int(np.abs(xi).argmax())])
        raise ValueError(
            f"The limit does not exist: |xi| max(d / (d + lam)) = {rate.max():.6g} must be below 1 "
            f"(xi={xi_worst:.6g}, lam={lam.min():.6g}, max(d)={d.max():.6g}); raise lam or take "
            f"|xi| < {1.0 + lam.min() / d.max():.6g}."
        )
