"""Students of many penalties and schedules from a tridiagonal form of the kernel: no eigenvector is computed.

With K = Q T Qᵀ, T tridiagonal (LAPACK `sytrd`), Q a product of reflectors that is never formed, and v = Qᵀ y::

    a_t = Q c_t,   (T + λI) c_t = (1 − ξ_t) v + ξ_t T c_{t−1}        fit_t = K a_t = u_t − λ a_t

Every student is a recurrence of length n (`fastdistill.kernels.tridiagonal_students`). Traces take the eigenvalues of
T, O(n²); training errors ‖v − T c_t‖ take neither these nor a product with Q.

A design X with p ≤ n columns takes K = XᵀX and Xᵀy in the place of y: then a_t are its coefficients. One with p > n
takes K = X Xᵀ and the coefficients Xᵀ a_t.

===================  ==============================================
linear algebra       here
===================  ==============================================
T                    ``_diagonal`` (n,), ``_off`` (n − 1,)
Q                    ``_reflectors``, ``_tau``, as LAPACK has them
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

Cost: 4/3 n³ for T, half of it at the speed of memory; n² for the eigenvalues; then 9 n ns a student, and 2 n² for each
product with Q, or 4 n times 128 where they are many. Measured, one thread, RBF, n = 2000, one target, 50
penalties × 20 steps, as shares of `scipy.linalg.eigh(K)` (and of its driver "evd"), medians of five in turn:

* T alone 0.47 (0.46), and with training errors and traces, which is all that GCV needs, 0.53 (0.51);
* with fits and dual coefficients of all 1050 students too, 0.59 (0.58). Most of it is the time for T.

At n = 1000 the last is 0.83 (0.98): there so many students cost as much as the form.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import lapack

from fastdistill.spectral.compiled import compiled_kernels
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
        self._reduce(matrix)

    @classmethod
    def of_design(cls, scaled: np.ndarray) -> Self:
        """Of a scaled (n, p) design, which is stored and not copied, by the smaller of its Gram matrices."""
        n, p = scaled.shape
        self = cls(scaled.T @ scaled if p <= n else scaled @ scaled.T, overwrite=True)
        self.n_samples, self._design, self._is_primal = n, scaled, p <= n
        return self

    def _reduce(self, matrix: np.ndarray) -> None:
        """T and the reflectors of Q; `matrix`, in Fortran order, is overwritten."""
        size = len(matrix)
        if size < 2:
            self._diagonal, self._off = matrix.diagonal().copy(), np.empty(0)
            return
        lwork = int(lapack.dsytrd_lwork(size, lower=1)[0])
        matrix, self._diagonal, self._off, self._tau, _ = lapack.dsytrd(matrix, lower=1, lwork=lwork, overwrite_a=1)
        # Q = diag(1, Q'), and Q' is stored as by a QR factorisation, from the second row on. LAPACK's wrappers copy
        # what is not contiguous; read from the second entry on, the memory is that of n by n − 1 reflectors with one
        # more entry at the end, from the row of R above, which 0 makes the identity.
        matrix[0, 1:] = 0.0
        self._reflectors = _shifted(matrix.ravel(order="K"), size, size - 1)

    def _apply(self, buffer: np.ndarray, *, transpose: bool = False) -> None:
        """Q c or Qᵀ c of vectors c, contiguous in `buffer` (columns · n + 1,), see `_vectors`; in place."""
        size = len(self._diagonal)
        if size < 2:
            return
        columns = _shifted(buffer, size, len(buffer) // size)
        trans = "T" if transpose else "N"
        _, work, _ = lapack.dormqr("L", trans, self._reflectors, self._tau, columns, -1, overwrite_c=1)
        lapack.dormqr("L", trans, self._reflectors, self._tau, columns, int(work[0]), overwrite_c=1)

    def _rotate_back(self, duals: np.ndarray, buffer: np.ndarray) -> None:
        """Q c of all students, in place; `duals` (P, k+1, m, n) is the start of `buffer`.

        Where students are many, only a basis of each target's is multiplied by Q: 1050 students, of 50 penalties over
        seven decades and 20 steps, span 75 directions to the last digit.
        """
        n_families, steps, m, size = duals.shape
        many = n_families * steps >= WORTH_COMPRESSING * DIRECTIONS and size > DIRECTIONS
        found = [_row_space(duals[:, :, j].reshape(-1, size)) for j in range(m * many)]
        bases = [basis for basis in found if basis is not None]
        if len(bases) < m:
            self._apply(buffer)
            return
        for j, basis in enumerate(bases):
            part, rotated = _vectors(basis.shape)
            rotated[:] = basis
            self._apply(part)
            students = duals[:, :, j].reshape(-1, size)
            duals[:, :, j] = (students @ basis.T @ rotated).reshape(n_families, steps, size)

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
        shape = (*_steps(xi), y_s.shape[1], len(self._diagonal))
        buffer, duals = _vectors(shape)
        self._sweep(self._rotated(y_s), lam, xi, duals=duals)
        if self._design is not None and self._is_primal:
            self._rotate_back(duals, buffer)
            return _solved(duals, duals @ self._design.T)
        # one of a_t and K a_t is multiplied by Q, and the other follows from it without cancellation
        large = lam > self._norm
        duals[large] = self._product(duals[large])
        self._rotate_back(duals, buffer)
        fits = np.empty(shape)
        targets = np.ascontiguousarray(y_s.T)
        compiled_kernels().fits_and_duals(lam, xi, targets, large, duals, fits)
        return _solved(duals if self._design is None else duals @ self._design, fits)

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
        buffer, student = _vectors((1, 1, *shape[2:]))
        self._sweep(rotated, least, np.empty((1, 0)), duals=student)
        first = student[0, 0].copy()
        self._apply(buffer)
        residual = y_s - design @ student[0, 0].T
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
        buffer, rotated = _vectors(start.shape)
        rotated[:] = start
        self._apply(buffer, transpose=True)
        return rotated

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


def _vectors(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A buffer for `_apply`, one entry longer than the vectors (..., n) in it, and these."""
    buffer = np.empty(math.prod(shape) + 1)
    buffer[-1] = 0.0  # multiplied by 0, and what memory holds could be NaN
    return buffer, buffer[:-1].reshape(shape)


def _shifted(buffer: np.ndarray, size: int, columns: int) -> np.ndarray:
    """The contiguous (size, columns) array, in Fortran order, whose first entry is the second one of `buffer`."""
    return buffer[1 : 1 + size * columns].reshape((size, columns), order="F")


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
        if len(basis) == DIRECTIONS:
            return None
        for _ in range(2):  # what is nearly inside leaves the first time with errors of the basis
            added = np.linalg.qr(_outside(added, basis).T)[0].T
        basis = np.concatenate([basis, added])


def _outside(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Rows less their projection on an orthonormal basis."""
    return rows - (rows @ basis.T) @ basis


def _solved(coefficients: np.ndarray, fits: np.ndarray) -> Solved:
    return Solved(coefficients.swapaxes(2, 3), fits.swapaxes(2, 3))
