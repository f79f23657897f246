"""Gaussian-process view: predictive standard deviations of the students, and the standard errors of their means.

Student t is the posterior mean of a Gaussian process with covariance k and noise variance λ / w_i, given its targets
u_t = (1 − ξ_t) y + ξ_t ŷ_{t−1}. With the coordinates Q of a query x (`fastdistill.spectral.coordinates`), its
predictive variance, and the sampling variance of its mean ŷ_t(x) = Σ_j m_tj Q_j z_j for noise in y, are::

    v(x)     = k(x, x) − k_xᵀ (K + λ W⁻¹)⁻¹ k_x = k(x, x) − Σ_j Q_j² / (d_j + λ)
    se_t(x)² = noise Σ_j m_tj² Q_j²

An unpenalised intercept is a constant with a flat prior. With features centred by w̄ = w / Σ w, its posterior has the
mean ȳ and the variance λ / Σ w, and is independent of the rest::

    v(x) = k_c(x, x) − Σ_j Q_j² / (d_j + λ) + λ / Σ w,     k_c(x, x) = k(x, x) − 2 w̄ᵀ k_x + w̄ᵀ K w̄

which is the limit c → ∞ of the covariance k + c; se_t² gains noise / Σ w. A design is the kernel xᵀ z.

The targets themselves have the covariance σ² (W⁻¹ + K / λ): a function of variance σ² / λ times k, and noise of
variance σ² / w_i. With σ² at the maximum of the likelihood, N = n, and Σ log w over the samples of positive weight::

    log p(y | λ) = −½ [N log(2π σ̂²) + N + Σ_j log(1 + d_j / λ) − Σ_i log w_i]
    σ̂² = (Σ_j z_j² λ / (d_j + λ) + outside) / N

With an intercept this is the restricted likelihood, the density of the n − 1 contrasts of y, in which the constant does
not appear: N = n − 1, d and z are those of the centred problem, and − log(n / Σ w) joins the bracket.

=================================================  ===================================================
G (Borup and Andersen 2023)                        here
=================================================  ===================================================
covariance function, noise variance                the kernel, the penalty λ
data-centric: on the teacher's mean                ``path.predict``, ``path.predict_std``
distribution-centric: the teacher's posterior is   no distillation: the penalty λ / (t + 1),
the prior, under which y is seen once more         ``S.path(y, lam / (t + 1), [])``
=================================================  ===================================================

Cost: O(q n r) for the coordinates of q queries, then O(q r) per penalty (variances) or per student (standard errors);
O(r) per penalty and target for the likelihood.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.queries import DesignQueries, KernelQueries

# Directions with d below this fraction of λ are treated as one, of d = 0. That overstates their Σ Q² / (d + λ) by at
# most (d / λ)² of the variance that remains in them, Σ Q² / d · λ / (d + λ): by 1e-10 of the variance.
NEGLIGIBLE = 1e-5


class Posterior:
    """Predictive variances of a kernel at penalties `lam` (L,): k_c(x, x) − Σ_j Q_j² / (d_j + λ) + λ / Σ w.

    Holds the leading eigenvectors that the smallest penalty needs, not the whole decomposition, so that it can be
    stored in a fitted model.
    """

    def __init__(self, coordinates: Coordinates, lam: np.ndarray) -> None:
        d = coordinates.d
        n_leading = np.count_nonzero(d > NEGLIGIBLE * lam.min())
        basis = coordinates.basis[:, :n_leading].copy()  # a view would keep all n eigenvectors alive
        self.projection = _KernelProjection(coordinates, basis)
        self.inverse = 1.0 / np.add.outer(d[:n_leading], lam)
        self.inverse_outside = np.divide(1.0, lam, out=np.zeros_like(lam), where=lam > coordinates.noise)
        self.intercept_variance = coordinates.frame.fit_intercept * lam / coordinates.frame.total_weight

    def variance(self, Kq: np.ndarray, kernel_diag: Any) -> np.ndarray:
        """Variances (L, q) from checked kernel(query, train) (q, n) and the unchecked k(x, x) of the queries (q,)."""
        prior = validation.real_array(kernel_diag, "kernel_diag", ndim=1)
        if len(prior) != len(Kq):
            raise ValueError(f"kernel_diag has {len(prior)} entries, but there are {len(Kq)} queries.")
        if not self.projection.is_centred and prior.min(initial=0.0) < 0:
            raise ValueError(
                f"kernel_diag must not be negative: it holds kernel(x, x) of the queries, a variance; got "
                f"{prior.min():.6g} at index {int(prior.argmin())}."
            )
        squares, outside, centring = self.projection.squares(Kq)
        explained = squares @ self.inverse + np.multiply.outer(outside, self.inverse_outside)
        # the difference of nearly equal numbers: near the training data rounding can take it below zero
        return np.maximum((prior - centring)[:, None] - explained, 0.0).T + self.intercept_variance[:, None]


class _KernelProjection:
    """Kernel queries in a `basis` (n, r) of leading eigenvectors, and the part of them outside its span."""

    def __init__(self, coordinates: Coordinates, basis: np.ndarray) -> None:
        queries = coordinates.queries
        if not isinstance(queries, KernelQueries):
            raise TypeError("These are the queries of a design.")
        self.queries, self.basis = queries, basis
        self.is_centred = queries.centre is not None
        self.is_complete = basis.shape[1] == coordinates.frame.degrees

    def squares(self, Kq: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Q² (q, r), the squared norm outside the span of the basis (q,), and k(x, x) − k_c(x, x) (q,)."""
        rows, centring = self.queries.centred(Kq)
        rows = self.queries.scaled(rows)
        projected = rows @ self.basis
        if self.is_complete:
            return np.square(projected), np.zeros(len(Kq)), centring
        # not the difference of the squares, whose rounding errors λ would divide
        outside = rows - projected @ self.basis.T
        return np.square(projected), np.einsum("ij,ij->i", outside, outside), centring


def predict_std(coordinates: Coordinates, lam: np.ndarray, queries: Any, kernel_diag: Any) -> np.ndarray:
    """Predictive standard deviations (L, q) at penalties lam (L,); see `DistillationPath.predict_std`."""
    if isinstance(coordinates.queries, DesignQueries):
        if kernel_diag is not None:
            raise ValueError("kernel_diag is for kernels; for a design kernel(x, x) is the squared norm of Xq's rows.")
        return np.sqrt(_design_variance(coordinates, coordinates.queries, lam, queries))
    if kernel_diag is None:
        raise ValueError(
            "predict_std needs kernel_diag, the values kernel(x, x) of the queries (q,): they are the prior "
            "variances, which Kq does not hold."
        )
    return np.sqrt(Posterior(coordinates, lam).variance(queries, kernel_diag))


def standard_error(
    coordinates: Coordinates, multipliers: np.ndarray, outside_multipliers: np.ndarray | None, queries: Any
) -> np.ndarray:
    """Standard errors (students, q) for noise of unit variance, from multipliers m (students, r).

    `outside_multipliers` (students, 1) are those of a kernel outside the span of its eigenvectors (see
    `Students.outside_multipliers`), None for a design. See `DistillationPath.standard_error`.
    """
    of_outside: Any = 0.0
    if outside_multipliers is not None:
        squares, outside, _ = _KernelProjection(coordinates, coordinates.basis).squares(queries)
        of_outside = outside_multipliers * np.sqrt(outside)
    else:
        squares = np.square(coordinates.project(queries))
    # in units of each student's largest: the small multipliers of a large λ have squares that would underflow
    unit = np.abs(multipliers).max(axis=1, initial=0.0, keepdims=True)
    multipliers = np.divide(multipliers, unit, out=np.zeros_like(multipliers), where=unit > 0)
    of_slopes = unit * np.sqrt(np.square(multipliers) @ squares.T)
    of_intercept = np.sqrt(coordinates.frame.fit_intercept / coordinates.frame.total_weight)
    # `of_outside` is divided by λ, and its square can overflow where λ is next to nothing
    return np.hypot(np.hypot(of_slopes, of_intercept), of_outside)


def log_marginal_likelihood(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, resolved: np.ndarray
) -> np.ndarray:
    """log p(y | λ) (L, m) at penalties `lam` (L,), the noise variance of each target at its maximum.

    Minus infinity without a penalty, where there is no noise. A target whose square sum is not above `resolved` (m,),
    that of its rounding errors, has no noise to estimate: its likelihood is given without the term N log(2π σ̂²).
    """
    d, frame = coordinates.d, coordinates.frame
    n, positive = frame.degrees, lam > 0
    penalties = lam[positive, None]
    variance = np.array([noise_variance(coordinates, rotated, penalty) for penalty in penalties])
    variance = variance.reshape(len(penalties), len(rotated.outside))
    varies = np.square(rotated.z).sum(axis=0) + rotated.outside > resolved
    of_noise = n * np.log(2 * np.pi * variance, out=np.zeros_like(variance), where=varies)
    values = np.full((len(lam), variance.shape[1]), -np.inf)
    values[positive] = -0.5 * (of_noise + n + np.log1p(d / penalties).sum(axis=1)[:, None]) + _of_weights(frame)
    return values


def noise_variance(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray) -> np.ndarray:
    """σ̂² (m,), the noise variance at the maximum of each likelihood, at one penalty (1,) or one a target (m,)."""
    left = lam / (coordinates.d[:, None] + lam)
    return ((left * np.square(rotated.z)).sum(axis=0) + rotated.outside) / coordinates.frame.degrees


def _of_weights(frame: Frame) -> float:
    """Half of Σ log w and, with an intercept, log(n / Σ w): what weights add to the log density of W^½ y."""
    if frame.weight is None:
        return 0.0
    of_noise = float(np.log(frame.weight[frame.weight > 0]).sum())
    return 0.5 * (of_noise + frame.fit_intercept * float(np.log(frame.n_effective / frame.total_weight)))


def _design_variance(coordinates: Coordinates, design: DesignQueries, lam: np.ndarray, queries: Any) -> np.ndarray:
    """Variances (L, q) of the linear kernel on checked queries (q, p), Σ_j Q_j² λ / (d_j + λ) in the span of V."""
    frame, squares = coordinates.frame, np.square(coordinates.project(queries))
    variance = squares @ (lam / np.add.outer(coordinates.d, lam))
    if coordinates.rank < design.width:
        outside = design.squared_norms(queries) - squares.sum(axis=1)
        variance += np.maximum(outside, 0.0)[:, None]
    return (variance + frame.fit_intercept * lam / frame.total_weight).T
