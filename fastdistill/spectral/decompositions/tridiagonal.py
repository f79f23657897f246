"""Students of many penalties and schedules from a tridiagonal form of the kernel: no eigenvector is computed.

With K = Q T Qᵀ, T tridiagonal, Q a product of reflectors that is never formed (`reduction`), and v = Qᵀ y::

    a_t = Q c_t,   (T + λI) c_t = (1 − ξ_t) v + ξ_t T c_{t−1}        fit_t = K a_t = u_t − λ a_t

Every student is a recurrence of length n (`fastdistill.kernels.tridiagonal_students`). Traces take the eigenvalues of
T, O(n²); training errors ‖v − T c_t‖ take neither these nor a product with Q.

A design X with p ≤ n columns takes K = XᵀX and Xᵀy in the place of y: then a_t are its coefficients. One with p > n
takes K = X Xᵀ and the coefficients Xᵀ a_t.

===================  ==============================================
linear algebra       here
===================  ==============================================
T                    ``_diagonal`` (n,), ``_off`` (n − 1,)
Q                    ``_reduction.rotate``
c_t                  ``duals`` (P, k+1, m, n) before `_rotate_back`
===================  ==============================================

Accuracy. T is exact for a matrix that differs from K by some eps ‖K‖, so that fits have relative errors of
eps d_max / λ. Measured, worst of four students, n = 300 (`accurate` says where to take another decomposition):

====================================  =======  =======  =======  =======
λ / d_max                             1e-2     1e-4     1e-6     1e-8
====================================  =======  =======  =======  =======
smooth RBF, here                      3e-14    1e-12    1e-10    6e-09
smooth RBF, `eigh`                    2e-13    9e-12    7e-10    6e-08
rank 3, here                          3e-13    3e-11    3e-09    3e-07
rank 3, `eigh` without noise of zero  2e-15    2e-15    2e-15    2e-15
====================================  =======  =======  =======  =======

Cost: 4/3 n³ for T, see `reduction`; n² for the eigenvalues; then 3.2 n ns a student, and 2 to 4 n² for each product
with Q, of which many students need at most 128. Measured, one thread, RBF, one target, 50 penalties × 20 steps, as
shares of `scipy.linalg.eigh(K)` (of `numpy.linalg.eigh`), medians of three in turn:

=======================================================  ===========  ===========
n                                                        1000         2000
=======================================================  ===========  ===========
T alone                                                  0.44 (0.44)  0.35 (0.31)
with training errors and traces: all that GCV needs      0.58 (0.58)  0.41 (0.36)
with fits and dual coefficients of all 1050 students     0.81 (0.81)  0.52 (0.45)
=======================================================  ===========  ===========
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import lapack

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.decompositions.reduction import reduce
from fastdistill.spectral.decompositions.solved import Solved

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
# A target's students are rotated back through a basis of so many directions where they are so many times as many.
DIRECTIONS, WORTH_COMPRESSING = 128, 4
AT_A_TIME = 32
ROUNDING = 16 * float(np.finfo(np.float64).eps)  # measured: 3 to 7 eps where the basis is wide enough
# Ratios of the smallest to the largest eigenvalue of K + λI below which this solver is too inexact: a design has ten
# digits here, and all of them by an SVD; for a kernel of low rank `eigh` drops the rounding errors of zero.
MIN_RATIO_DESIGN = 1e-5
MIN_RATIO_KERNEL = 1e-5


class Tridiagonal:
    """Students for every positive penalty and every schedule; λ = 0 takes an eigendecomposition.

    Immutable once made, and safe to share between threads.
    """

    def __init__(self, scaled_kernel: np.ndarray, *, overwrite: bool = False) -> None:
        """Of a scaled, symmetric (n, n) kernel; `overwrite` saves the only copy where it is contiguous."""
        matrix = scaled_kernel.T if scaled_kernel.flags.c_contiguous else scaled_kernel
        if not (overwrite and matrix.flags.f_contiguous and matrix.flags.writeable):
            matrix = matrix.copy(order="F")
        self.n_samples = len(matrix)
        self._design: np.ndarray | None = None
        self._is_primal = False
        self._reduction = reduce(matrix)
        self._diagonal, self._off = self._reduction.diagonal, self._reduction.off

    @classmethod
    def of_design(cls, scaled: np.ndarray) -> Self:
        """Of a scaled (n, p) design, which is stored and not copied, by the smaller of its Gram matrices."""
        n, p = scaled.shape
        self = cls(scaled.T @ scaled if p <= n else scaled @ scaled.T, overwrite=True)
        self.n_samples, self._design, self._is_primal = n, scaled, p <= n
        return self

    def _rotate_back(self, duals: np.ndarray) -> None:
        """Q c of all students, in place; `duals` (P, k+1, m, n).

        Where students are many, only a basis of each target's is multiplied by Q: 1050 students, of 50 penalties over
        seven decades and 20 steps, span 75 directions to the last digit.
        """
        n_families, steps, m, size = duals.shape
        many = n_families * steps >= WORTH_COMPRESSING * DIRECTIONS and size > DIRECTIONS
        rotate = self._reduction.rotate
        for j in range(m):
            students = duals[:, :, j].reshape(-1, size)  # of one target a view
            basis = _row_space(students) if many else None
            if basis is None:
                students[:] = rotate(students)
            else:
                np.matmul(students @ basis.T, rotate(basis), out=students)
            if m > 1:
                duals[:, :, j] = students.reshape(n_families, steps, size)

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        if len(self._diagonal) < 2:
            return self._diagonal
        values, failed = lapack.dsterf(self._diagonal, self._off)
        if failed:
            raise np.linalg.LinAlgError("The eigenvalues of the tridiagonal matrix did not converge.")
        return values[::-1]

    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of K (r,), descending, r = min(n, p) of a design; zeros come with rounding errors."""
        return self._eigenvalues.copy()

    def accurate(self, lam: np.ndarray) -> np.ndarray:
        """Whether each penalty (P,) is large enough; otherwise the caller takes an eigendecomposition or an SVD."""
        least = MIN_RATIO_KERNEL if self._design is None else MIN_RATIO_DESIGN
        d = self._eigenvalues
        return np.asarray(max(d[-1], 0.0) + lam >= least * (d[0] + lam))

    def students(self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> Solved:
        """Students of families of penalties lam (P,) and weights xi (P, k), for scaled targets y_s (n, m).

        Results are views whose last two axes are in Fortran order.
        """
        lam, xi = _families(lam, xi)
        duals = np.empty((*_steps(xi), y_s.shape[1], len(self._diagonal)))
        misfits = np.empty(duals.shape[:3])
        self._sweep(self._rotated(y_s), lam, xi, duals=duals, misfits=misfits)
        if self._design is not None and self._is_primal:
            self._rotate_back(duals)
            return _solved(duals, duals @ self._design.T)
        # one of a_t and K a_t is multiplied by Q, and the other follows from it without cancellation
        large = lam > self._norm
        duals[large] = self._product(duals[large])
        self._rotate_back(duals)
        fits = np.empty_like(duals)
        targets = np.ascontiguousarray(y_s.T)
        compiled_kernels().fits_and_duals(lam, xi, targets, large, duals, fits)
        return _solved(duals if self._design is None else duals @ self._design, fits, misfits)

    def misfits(self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """‖y_s − fit_t‖² of each student, (P, k+1, m): O(n) each after one product with Qᵀ."""
        lam, xi = _families(lam, xi)
        if self._design is not None and self._is_primal:
            return self._primal_misfits(y_s, self._design, lam, xi)
        misfits = np.empty((*_steps(xi), y_s.shape[1]))
        self._sweep(self._rotated(y_s), lam, xi, misfits=misfits)
        return misfits

    def _primal_misfits(self, y_s: np.ndarray, design: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """From the residual r of one student b: ‖r − X δ‖² = ‖r‖² − 2 λ bᵀδ + δᵀ T δ, as Xᵀ r = λ b.

        b is student 0 of the smallest penalty, whose ‖r‖² is small: little cancels, and X is multiplied once.
        """
        rotated = self._rotated(y_s)
        shape = (*_steps(xi), *rotated.shape)
        least = lam.min(keepdims=True)
        student = np.empty((1, 1, *shape[2:]))
        self._sweep(rotated, least, np.empty((1, 0)), duals=student)
        first = student[0, 0]
        residual = y_s - design @ self._reduction.rotate(first).T
        misfits = np.empty(shape[:3])
        height = max(1, BLOCK_ENTRIES // math.prod(shape[1:]))
        for start in range(0, len(lam), height):
            index = slice(start, start + height)
            change = np.empty((len(lam[index]), *shape[1:]))
            self._sweep(rotated, lam[index], xi[index], duals=change)
            change -= first
            linear = np.einsum("...j,...j->...", change, -2.0 * least * first)
            misfits[index] = linear + np.einsum("...j,...j->...", change, self._product(change))
        return misfits + np.einsum("ij,ij->j", residual, residual)

    def traces(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Trace of each student's smoother, (P, k+1), from the eigenvalues."""
        d = np.maximum(self._eigenvalues, 0.0)
        ridge = d / (d + lam[:, None])
        filters, out = ridge, np.empty(_steps(xi))
        for t in range(out.shape[1]):
            if t:
                filters = ridge * ((1.0 - xi[:, t - 1, None]) + xi[:, t - 1, None] * filters)
            out[:, t] = filters.sum(axis=1)
        return out

    def remaining(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Trace of I − smoother over all n rows, formed without a subtraction from n: (P, k+1)."""
        d = np.maximum(self._eigenvalues, 0.0)
        ridge, complement = d / (d + lam[:, None]), lam[:, None] / (d + lam[:, None])
        residual, out = complement, np.empty(_steps(xi))
        for t in range(out.shape[1]):
            if t:
                residual = complement + xi[:, t - 1, None] * ridge * residual
            out[:, t] = residual.sum(axis=1)
        return out + (self.n_samples - len(d))

    @cached_property
    def _norm(self) -> float:
        """Largest absolute row sum of T."""
        off = np.abs(self._off)
        return float((np.abs(self._diagonal) + np.append(off, 0.0) + np.append(0.0, off)).max())

    def _product(self, c: np.ndarray) -> np.ndarray:
        """T c of vectors (..., n)."""
        out = self._diagonal * c
        out[..., :-1] += self._off * c[..., 1:]
        out[..., 1:] += self._off * c[..., :-1]
        return out

    def _rotated(self, y_s: np.ndarray) -> np.ndarray:
        """v = Qᵀ y, or Qᵀ Xᵀ y, one target a row (m, n)."""
        start = y_s.T if self._design is None or not self._is_primal else y_s.T @ self._design
        return self._reduction.rotate(start, transpose=True)

    def _sweep(self, rotated: np.ndarray, lam: np.ndarray, xi: np.ndarray, **outputs: np.ndarray) -> None:
        """Fill `duals` (P, k+1, m, n) or `misfits` (P, k+1, m)."""
        steps = _steps(xi)
        duals = outputs.get("duals", np.empty((*steps, 0, rotated.shape[1])))
        misfits = outputs.get("misfits", np.empty((*steps, 0)))
        failed = compiled_kernels().tridiagonal_students(self._diagonal, self._off, lam, xi, rotated, duals, misfits)
        if failed >= 0:
            raise np.linalg.LinAlgError(
                f"K + lam I with lam = {lam[failed]:.6g} is not positive definite in floating point. Raise lam, or use "
                f"an eigendecomposition."
            )


def _families(lam: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Penalties and weights as the kernels take them."""
    lam, xi = np.ascontiguousarray(lam, dtype=np.float64), np.ascontiguousarray(xi, dtype=np.float64)
    if not np.all((lam > 0) & np.isfinite(lam)):
        raise ValueError(
            "The tridiagonal solver takes positive, finite penalties; lam = 0 takes an eigendecomposition."
        )
    return lam, xi


def _steps(xi: np.ndarray) -> tuple[int, int]:
    return len(xi), xi.shape[1] + 1


def _row_space(rows: np.ndarray) -> np.ndarray | None:
    """An orthonormal basis (r, n) of all rows (N, n), to the last digits of the norm of each; None above `DIRECTIONS`.

    Of random combinations of the rows at unit length: so many at a time, until the next ones have nothing to add.
    """
    size = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    scale, rng = np.where(size > 0, size, 1.0), np.random.default_rng(0)
    basis = np.empty((0, rows.shape[1]))
    while True:
        combinations = (rng.standard_normal((AT_A_TIME, len(rows))) / scale) @ rows
        added = _outside(combinations, basis)
        if np.linalg.norm(added) <= ROUNDING * np.linalg.norm(combinations):
            return basis
        if len(basis) + AT_A_TIME > DIRECTIONS:
            return None
        for _ in range(2):  # what is nearly inside leaves the first time with errors of the basis
            added = np.linalg.qr(_outside(added, basis).T)[0].T
        basis = np.concatenate([basis, added])


def _outside(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Rows less their projection on an orthonormal basis."""
    return rows - (rows @ basis.T) @ basis


def _solved(coefficients: np.ndarray, fits: np.ndarray, misfits: np.ndarray | None = None) -> Solved:
    return Solved(coefficients.swapaxes(2, 3), fits.swapaxes(2, 3), misfits=misfits)
