"""Gaussian-process view: predictive standard deviations of the students, and the standard errors of their means.

Student t is the posterior mean of a Gaussian process with covariance k and noise variance λ / w_i, given its targets
u_t = (1 − ξ_t) y + ξ_t ŷ_{t−1}. With the coordinates Q of a query x (`fastdistill.spectrum`), its predictive variance,
and the sampling variance of its mean ŷ_t(x) = Σ_j m_tj Q_j z_j for noise of that variance in y, are::

    v(x)     = k(x, x) − k_xᵀ (K + λ W⁻¹)⁻¹ k_x = k(x, x) − Σ_j Q_j² / (d_j + λ)
    se_t(x)² = noise Σ_j m_tj² Q_j²

An unpenalised intercept is a constant with a flat prior. Carried at the weighted mean of the data (features centred by
w̄ = w / Σ w), its posterior has the mean ȳ and the variance λ / Σ w, and is independent of the rest::

    v(x) = k_c(x, x) − Σ_j Q_j² / (d_j + λ) + λ / Σ w,     k_c(x, x) = k(x, x) − 2 w̄ᵀ k_x + w̄ᵀ K w̄

which is the limit c → ∞ of the covariance k + c; se_t² gains noise / Σ w. A design is the kernel xᵀ z.

=================================================  ===================================================
G (Borup and Andersen 2023)                        here
=================================================  ===================================================
covariance function, noise variance                the kernel, the penalty λ
data-centric: on the teacher's mean                ``path.predict``, ``path.predict_std``
distribution-centric: the teacher's posterior is   no distillation: the penalty λ / (t + 1),
the prior, under which y is seen once more         ``S.path(y, lam / (t + 1), [])``
=================================================  ===================================================

Cost: O(q n r) for the coordinates of q queries, then O(q r) per penalty (variances) or per student (standard errors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdistill.base import validation

if TYPE_CHECKING:
    from fastdistill.path import _Recursion
    from fastdistill.spectrum import Spectrum

# Directions with d below this fraction of λ are not kept but taken together, at d = 0. That overstates what they
# explain, Σ Q² / (d + λ), by at most (d / λ)² of what they leave, Σ Q² / d · λ / (d + λ): by 1e-10 of the variance.
NEGLIGIBLE = 1e-5


class Posterior:
    """Predictive variances at penalties `lam` (L,): what they need of a kernel spectrum and no more, for keeping."""

    def __init__(self, spectrum: Spectrum, lam: np.ndarray) -> None:
        kept = np.count_nonzero(spectrum._d > NEGLIGIBLE * lam.min())
        basis = spectrum._basis[:, :kept].copy()  # a view would keep all n eigenvectors alive
        self.coordinates = _KernelCoordinates(spectrum, basis)
        self.gain = 1.0 / np.add.outer(spectrum._d[:kept], lam)
        self.gain_of_rest = np.divide(1.0, lam, out=np.zeros_like(lam), where=lam > spectrum._noise)
        self.constant = spectrum.fit_intercept * lam / spectrum.total_weight

    def variance(self, Kq: np.ndarray, kernel_diag: Any) -> np.ndarray:
        """Variances (L, q) from checked kernel(query, train) (q, n) and the unchecked k(x, x) of the queries (q,)."""
        prior = validation.real_array(kernel_diag, "kernel_diag", ndim=1)
        if len(prior) != len(Kq):
            raise ValueError(f"kernel_diag has {len(prior)} entries, but there are {len(Kq)} queries.")
        if self.coordinates.centre is None and prior.min(initial=0.0) < 0:
            raise ValueError(
                f"kernel_diag must not be negative: it holds kernel(x, x) of the queries, a variance; got "
                f"{prior.min():.6g} at index {int(prior.argmin())}."
            )
        squares, rest, centring = self.coordinates.squares(Kq)
        explained = squares @ self.gain + np.multiply.outer(rest, self.gain_of_rest)
        # the difference of nearly equal numbers: near the training data rounding can take it below zero
        return np.maximum((prior - centring)[:, None] - explained, 0.0).T + self.constant[:, None]


class _KernelCoordinates:
    """Coordinates of kernel queries in a `basis` (n, r) of leading eigenvectors, and what they leave out."""

    def __init__(self, spectrum: Spectrum, basis: np.ndarray) -> None:
        self.basis, self.centre = basis, spectrum._centre
        self.is_complete = basis.shape[1] == spectrum.n_effective - spectrum.fit_intercept
        self.root = None if spectrum._weight is None else spectrum._sqrt_weight
        if self.centre is not None:
            weight = np.ones(spectrum.n_samples) if spectrum._weight is None else spectrum._weight
            self.share = weight / spectrum.total_weight

    def squares(self, Kq: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Q² (q, r), the squared norm outside of the basis (q,), and k(x, x) − k_c(x, x) (q,)."""
        rows, centring = Kq, np.zeros(len(Kq))
        if self.centre is not None:
            mean = Kq @ self.share
            shift = mean - self.centre @ self.share
            rows = Kq - self.centre - shift[:, None]
            centring = mean + shift
        if self.root is not None:
            rows = rows * self.root
        coordinates = rows @ self.basis
        if self.is_complete:
            return np.square(coordinates), np.zeros(len(Kq)), centring
        # not the difference of the squares, whose rounding errors λ would divide
        rest = rows - coordinates @ self.basis.T
        return np.square(coordinates), np.einsum("ij,ij->i", rest, rest), centring


def predict_std(students: _Recursion, queries: Any, kernel_diag: Any) -> np.ndarray:
    """Predictive standard deviations (students, q, m) in flat order; see `DistillationPath.predict_std`."""
    spectrum, lam = students.spectrum, students.lam.ravel()
    checked = spectrum._check_queries(queries)
    if spectrum.is_kernel:
        if kernel_diag is None:
            raise ValueError(
                "predict_std needs kernel_diag, the values kernel(x, x) of the queries (q,): they are the prior "
                "variances, which Kq does not hold."
            )
        variance = Posterior(spectrum, lam).variance(checked, kernel_diag)
    elif kernel_diag is not None:
        raise ValueError("kernel_diag is for kernels; for a design kernel(x, x) is the squared norm of Xq's rows.")
    else:
        variance = _design_variance(spectrum, lam, checked)
    # data-centric: no schedule and no step changes it
    variance = np.repeat(variance, students._n_students // len(lam), axis=0)
    return np.repeat(np.sqrt(variance)[:, :, None], len(students._targets.mean), axis=2)


def standard_error(students: _Recursion, queries: Any, noise: Any) -> np.ndarray:
    """Standard errors (students, q, m) in flat order; see `DistillationPath.standard_error`."""
    from fastdistill import kernels

    spectrum, n_targets, count = students.spectrum, len(students._targets.mean), students._n_students
    checked = spectrum._check_queries(queries)
    scale = validation.real_array(noise, "noise", ndim=(0, 1))
    if scale.ndim == 1 and len(scale) != n_targets:
        raise ValueError(f"noise has {len(scale)} entries, but there are {n_targets} targets.")
    if scale.min(initial=0.0) < 0:
        raise ValueError(f"noise must be at least 0, the variance of the targets' noise, got {scale.min():.6g}.")
    if spectrum.is_kernel:
        squares, rest, _ = _KernelCoordinates(spectrum, spectrum._basis).squares(checked)
        form, outside = kernels.DUAL, students._null(0, count)[:, 0] * np.sqrt(rest)
    else:
        squares, form, outside = np.square(spectrum._query_coordinates(checked)), kernels.PRIMAL, 0.0
    multipliers = students._multipliers(form, 0, count)[:, 0]
    # in units of each student's largest: the squares of what a large λ leaves would underflow
    unit = np.abs(multipliers).max(axis=1, initial=0.0, keepdims=True)
    multipliers = np.divide(multipliers, unit, out=np.zeros_like(multipliers), where=unit > 0)
    of_slopes = unit * np.sqrt(np.square(multipliers) @ squares.T)
    of_intercept = np.sqrt(spectrum.fit_intercept / spectrum.total_weight)
    # `outside` is divided by λ, and its square can overflow where λ is next to nothing
    error = np.hypot(np.hypot(of_slopes, of_intercept), outside)
    return error[:, :, None] * np.broadcast_to(np.sqrt(scale), n_targets)


def _design_variance(spectrum: Spectrum, lam: np.ndarray, queries: Any) -> np.ndarray:
    """Variances (L, q) of the linear kernel on checked queries (q, p), from what is left of each direction."""
    squares = np.square(spectrum._query_coordinates(queries))
    variance = squares @ (lam / np.add.outer(spectrum._d, lam))
    if spectrum.rank < spectrum._basis.shape[0]:
        unexplored = _squared_norms(queries, spectrum._centre) - squares.sum(axis=1)
        variance += np.maximum(unexplored, 0.0)[:, None]
    return (variance + spectrum.fit_intercept * lam / spectrum.total_weight).T


def _squared_norms(queries: Any, centre: np.ndarray | None) -> np.ndarray:
    """‖x − centre‖² (q,) of dense or sparse rows x."""
    if isinstance(queries, np.ndarray):
        rows = queries if centre is None else queries - centre
        return np.einsum("ij,ij->i", rows, rows)
    squares = queries.multiply(queries).sum(axis=1)
    return squares if centre is None else squares - 2 * (queries @ centre) + centre @ centre
