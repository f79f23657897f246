"""Students of one penalty from one Cholesky factor: no eigenvalue is computed.

With A = K + λI = L Lᵀ, K the scaled kernel matrix, targets u_0 = y and imitation weights ξ_t::

    a_t = A⁻¹ u_t        fit_t = K a_t = u_t − λ a_t        u_{t+1} = (1 − ξ_{t+1}) y + ξ_{t+1} fit_t

A design X with p ≤ n columns takes K = XᵀX, p by p, and Xᵀu in the place of u: then a_t are its coefficients, and no
product with X is needed between two steps. A design with p > n takes K = X Xᵀ and the coefficients Xᵀ a_t.

===================  ==========================================================
linear algebra       here
===================  ==========================================================
a_t                  ``duals``
K a_t                ``images``
H = K A⁻¹            smoother of student 0, filter a = d / (d + λ)
B = I − H = λ A⁻¹    its complement, formed without a subtraction from one
diag H^(j+1)         ``power_diagonals`` (k+1, n), j = 0..k
diag B H^j           ``complement_diagonals`` (k+1, n)
===================  ==========================================================

The difference u_t − λ a_t has an error of eps ‖u_t‖. Where λ > ‖K‖ the fit is no larger than that, and K a_t is formed.

Accuracy. The factor is exact for a matrix that differs from K by some eps ‖K‖, so that fits have relative errors of
eps d_max / λ. Measured, worst of four students, n = 300:

====================================  =======  =======  =======  =======
λ / d_max                             1e-2     1e-4     1e-6     1e-8
====================================  =======  =======  =======  =======
smooth RBF, here                      1e-14    8e-13    5e-11    3e-09
smooth RBF, `eigh`                    2e-13    9e-12    7e-10    6e-08
rank 3, here                          1e-13    2e-11    1e-09    1e-07
rank 3, `eigh` without noise of zero  2e-15    2e-15    2e-15    2e-15
====================================  =======  =======  =======  =======

A Gram matrix squares the condition number of a design, which an SVD does not. `accurate` says where an
eigendecomposition or an SVD should be taken instead.

Cost: n³/3 to factor, 2 n² a step and target; n³ for the diagonals of two steps, 2 n³ of four. Measured, one thread:

* kernel, k = 3, one target, against `scipy.linalg.solve(assume_a="pos")`, which scikit-learn's KernelRidge calls for
  student 0 alone: 0.25, 0.48, 0.56 of its time at n = 500, 1500, 3000;
* exact leave-one-out of four students, k = 3: 0.7 and 0.45 of `eigh(driver="evd")` at n = 500 and 1500;
* design 2000 × 100, k = 1, centred here, no fits: 2.0 ms; scikit-learn's Ridge 6.5 ms for student 0, checks included.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from scipy.linalg import blas, lapack

from fastdistill.spectral.decompositions.solved import Solved

# Reciprocal condition numbers of K + λI (1-norm) below which this solver is too inexact. A design has ten digits here,
# and all of them by an SVD. For a kernel of low rank `eigh` drops eigenvalues that are rounding errors of zero; here
# they are divided by λ, an error of 3e-10 of the targets at 1e-5.
MIN_RCOND_DESIGN = 1e-5
MIN_RCOND_KERNEL = 1e-4
# Where 1 − h is below this share of the numbers subtracted to form it, two digits are lost.
NEAR_INTERPOLATION = 1 / 64
FEW_TARGETS = 2  # so many columns are solved by `trsv`, one by one: twice as fast as `potrs`
SMALL = 128  # sides up to which a call costs more than `trsv` saves
BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
BLOCK_COLUMNS = 256
TILE = 128


class Products(Protocol):
    """A scaled design that is not stored as an array, such as `operators.DesignOperator`."""

    shape: tuple[int, int]

    def product(self, matrix: np.ndarray) -> np.ndarray:
        """X_s B."""

    def transposed(self, matrix: np.ndarray) -> np.ndarray:
        """X_sᵀ A."""

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows of X_s."""


class _Array:
    """The products of an array."""

    def __init__(self, scaled: np.ndarray) -> None:
        self._scaled, self.shape = scaled, scaled.shape

    def product(self, matrix: np.ndarray) -> np.ndarray:
        return self._scaled @ matrix

    def transposed(self, matrix: np.ndarray) -> np.ndarray:
        return self._scaled.T @ matrix

    def block(self, start: int, stop: int) -> np.ndarray:
        return self._scaled[start:stop]


class Cholesky:
    """Students of the penalty `lam` for every schedule; made by `of_kernel` or `of_design`.

    Immutable once made, and safe to share between threads. Raises `numpy.linalg.LinAlgError` where K + λI is not
    positive definite in floating point.
    """

    def __init__(self, matrix: np.ndarray, lam: float, design: Products | None = None) -> None:
        """Factor `matrix`, K in Fortran order, in place: L below the diagonal, K above; K is that of a `design`."""
        self.lam = float(lam)
        self.n_samples = len(matrix) if design is None else design.shape[0]
        self._design = design
        self._is_primal = design is not None and design.shape[1] <= design.shape[0]
        self._diagonal = matrix.diagonal().copy()
        self.trace = float(np.add.reduce(self._diagonal))  # of K, at least its largest eigenvalue
        # where λ > ‖K‖ fits are products with K, which needs all of it
        exceeds = self.lam * len(matrix) > self.trace and _exceeds_norm(self.lam, matrix, self._diagonal)
        self._matrix = matrix.copy(order="F") if exceeds else None
        matrix.ravel(order="K")[:: len(matrix) + 1] += self.lam
        self._factor, failed = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if failed:
            raise np.linalg.LinAlgError(
                f"K + lam I with lam = {self.lam:.6g} is not positive definite in floating point: its leading block of "
                f"order {failed} is not. Raise lam, or use an eigendecomposition."
            )

    @classmethod
    def of_kernel(cls, scaled_kernel: np.ndarray, lam: float, *, overwrite: bool = False) -> Self:
        """Of a scaled, symmetric (n, n) kernel; `overwrite` saves the only copy where it is contiguous."""
        matrix = scaled_kernel.T if scaled_kernel.flags.c_contiguous else scaled_kernel
        if not (overwrite and matrix.flags.f_contiguous and matrix.flags.writeable):
            matrix = matrix.copy(order="F")
        return cls(matrix, lam)

    @classmethod
    def of_design(cls, scaled: np.ndarray, lam: float) -> Self:
        """Of a scaled (n, p) design, which is stored and not copied, by the smaller of its Gram matrices."""
        n, p = scaled.shape
        gram = scaled.T @ scaled if p <= n else scaled @ scaled.T
        return cls(gram.T, lam, _Array(scaled))

    @cached_property
    def rcond(self) -> float:
        """Reciprocal condition number of A in the 1-norm, estimated from the factor: O(n²)."""
        sums = _absolute_sums(self._factor, np.abs(self._diagonal + self.lam))
        rcond, _ = lapack.dpocon(self._factor, sums.max(initial=0.0), uplo="L")
        return float(rcond)

    @cached_property
    def accurate(self) -> bool:
        """Whether A is well enough conditioned; otherwise the caller takes an eigendecomposition or an SVD."""
        least = MIN_RCOND_KERNEL if self._design is None else MIN_RCOND_DESIGN
        return self.lam >= least * (self.trace + self.lam) or self.rcond >= least

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """A⁻¹ columns; (size, m), in place where they are in Fortran order."""
        if columns.shape[1] > FEW_TARGETS:
            return lapack.dpotrs(self._factor, columns, lower=1, overwrite_b=1)[0]
        columns = np.asfortranarray(columns)
        for j in range(columns.shape[1]):
            half = blas.dtrsv(self._factor, columns[:, j], lower=1, overwrite_x=1)
            columns[:, j] = blas.dtrsv(self._factor, half, lower=1, trans=1, overwrite_x=1)
        return columns

    def students(self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray, *, with_fits: bool = True) -> Solved:
        """Students of the schedules xi (P, k) for scaled targets y_s (n, m); every lam (P,) is the factor's own.

        Fits of a design cost another product with it; without them their array has no rows, (P, k+1, 0, m). Results
        are views whose last two axes are in Fortran order.
        """
        self._require_own(lam)
        duals, images = self._chain(y_s, xi, with_last_image=with_fits)
        coefficients, fits = duals, images
        if not with_fits:
            fits = images[..., :0]
        elif self._design is not None and self._is_primal:
            fits = _each_row(self._design.product, duals)
        if self._design is not None and not self._is_primal:
            coefficients = _each_row(self._design.transposed, duals)
        return Solved(coefficients.transpose(1, 0, 3, 2), fits.transpose(1, 0, 3, 2))

    def _chain(self, y_s: np.ndarray, xi: np.ndarray, *, with_last_image: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """a_t and K a_t, each (k+1, P, m, n or p): the columns of a step are contiguous, as LAPACK needs them."""
        (n_families, k), m = xi.shape, y_s.shape[1]
        start = y_s.T if self._design is None or not self._is_primal else self._design.transposed(y_s).T
        if n_families == 1 and m <= FEW_TARGETS and len(self._diagonal) <= SMALL:
            return self._small_chain(start, xi[0].tolist(), with_last_image=with_last_image)
        duals = np.empty((k + 1, n_families, m, len(self._diagonal)))
        images = np.empty_like(duals)
        duals[0] = self.solve(np.array(start, order="C").T).T  # one for all families: no weight enters it
        images[0] = self._image(start, duals[0])
        for t in range(1, k + 1):
            weight = xi[:, t - 1, None, None]
            targets = (1.0 - weight) * start + weight * images[t - 1]
            duals[t] = targets
            columns = duals[t].reshape(n_families * m, -1)
            solved = self.solve(columns.T)
            if not np.shares_memory(solved, columns):
                columns[:] = solved.T
            images[t] = self._image(targets, duals[t])
        return duals, images

    def _small_chain(
        self, start: np.ndarray, xi: list[float], *, with_last_image: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """`_chain` of one schedule where what costs is the number of calls: as few of them as there can be.

        The last K a_t, which no later step needs, is formed only if asked for.
        """
        duals = np.empty((len(xi) + 1, 1, *start.shape))
        images = np.empty_like(duals)
        targets = start
        for t in range(len(duals)):
            if t:
                targets = (1.0 - xi[t - 1]) * start
                targets += xi[t - 1] * images[t - 1, 0]
            step = duals[t, 0]
            step[...] = targets
            lapack.dpotrs(self._factor, step.T, lower=1, overwrite_b=1)  # in place, as it is in Fortran order
            if t < len(xi) or with_last_image:
                images[t, 0] = self._image(targets, step)
        return duals, images

    def _image(self, targets: np.ndarray, duals: np.ndarray) -> np.ndarray:
        """K a_t from the targets u_t and a_t (..., n or p)."""
        return targets - self.lam * duals if self._matrix is None else duals @ self._matrix

    def _require_own(self, lam: np.ndarray) -> None:
        if lam.tolist() != [self.lam] * len(lam):
            raise ValueError(f"A Cholesky factor serves one penalty: lam must be {self.lam!r} for every family.")

    def traces(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Trace of each student's smoother, (P, k+1)."""
        self._require_own(lam)
        totals = self._powers(xi.shape[1])[0].sum(axis=1)
        return np.array([_pure_weights(row) @ totals for row in xi])

    def remaining(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Trace of I − smoother over all n rows, formed without the subtraction from n: (P, k+1)."""
        self._require_own(lam)
        totals = self._powers(xi.shape[1])[1].sum(axis=1)
        return np.array([_complement_weights(row) @ totals for row in xi]) + (self.n_samples - len(self._diagonal))

    def diagonals(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """diag H^(j+1) and diag (I − H) H^j of the n by n smoother H, j = 0..k: (k+1, n) each."""
        if self._design is None or not self._is_primal:
            return self._powers(k)
        power_diagonals = np.empty((k + 1, self.n_samples))
        inner = self._inner() if k else None
        height = max(1, BLOCK_ENTRIES // max(1, len(self._diagonal)))
        for first in range(0, self.n_samples, height):
            rows = slice(first, min(first + height, self.n_samples))
            # Q = X L⁻ᵀ: H^(j+1) = Q Mʲ Qᵀ with M = Qᵀ Q
            right = left = blas.dtrsm(1.0, self._factor, self._design.block(rows.start, rows.stop).T, lower=1).T
            for j in range(k + 1):
                if j:
                    left, right = right, left @ inner if j % 2 else right
                power_diagonals[j, rows] = np.einsum("ij,ij->i", left, right)
        return power_diagonals, np.concatenate([1.0 - power_diagonals[:1], power_diagonals[:-1] - power_diagonals[1:]])

    def leave_one_out(
        self, y_s: np.ndarray, xi: np.ndarray, intercept_share: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Leave-one-out predictions (k+1, n, m) of the centred, scaled targets, teachers refitted without the row too.

        xi (k,) is one schedule; `intercept_share` (n,) = w_i / Σ w is that of an intercept in each leverage.
        Meaningless in a row of zero weight. None where a leverage is so near one that 1 − h would lose two digits. The
        formulas are those of `fastdistill.spectral.leave_one_out`.
        """
        share = np.zeros(self.n_samples) if intercept_share is None else intercept_share
        power_diagonals, complement_diagonals = self.diagonals(len(xi))
        one_minus_leverage = complement_diagonals[0] - share
        subtracted = 1.0 if self._is_primal else complement_diagonals[0]
        if not np.all(one_minus_leverage > NEAR_INTERPOLATION * subtracted):
            return None
        duals, images = self._chain(y_s, xi[None])
        if self._design is not None and self._is_primal:
            fits = _each_row(self._design.product, duals[:, 0]).transpose(0, 2, 1)
            shifts = fits - y_s  # fit − targets
            shifts[1:] += xi[:, None, None] * (y_s - fits[:-1])
        else:
            fits = images[:, 0].transpose(0, 2, 1)
            shifts = -self.lam * duals[:, 0].transpose(0, 2, 1)
        return _leave_one_out(xi, one_minus_leverage, power_diagonals + share, complement_diagonals, fits, shifts)

    def _powers(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """diag H^(j+1) and diag B Hʲ, j = 0..k, (k+1, n or p): for p ≤ n of the p by p matrix K A⁻¹, of equal traces.

        Each from the rows of two lower powers, so that only every second j needs a product of matrices.
        """
        inverse, _ = lapack.dpotri(self._factor, lower=1)
        mirror(inverse)
        inverse *= self.lam
        complement = inverse.T  # B
        if self._matrix is None:
            smoother = -complement
            np.fill_diagonal(smoother, 1.0 - complement.diagonal())
        else:
            smoother = (self._matrix / self.lam) @ complement
        power, complement_power = smoother, complement  # H^(i+1) and B H^i
        power_diagonals, complement_diagonals = np.empty((2, k + 1, len(inverse)))
        power_diagonals[0], complement_diagonals[0] = smoother.diagonal(), complement.diagonal()
        for j in range(1, k + 1):
            before = power
            if j % 2 == 0 and self._matrix is None:
                # the first of these products is that of a symmetric matrix with itself, at half the price
                product = complement_power @ complement.T
                complement_power = np.subtract(complement_power, product, out=product)
                power = before - complement_power
            elif j % 2 == 0:
                power = before @ smoother
                complement_power = before - power
            np.einsum("ij,ij->i", before, power, out=power_diagonals[j])
            np.einsum("ij,ij->i", before, complement_power, out=complement_diagonals[j])
        return power_diagonals, complement_diagonals

    def _inner(self) -> np.ndarray:
        """M = L⁻¹ K L⁻ᵀ = I − λ L⁻¹ L⁻ᵀ."""
        if self._matrix is not None:
            half = blas.dtrsm(1.0, self._factor, self._matrix, lower=1)
            return blas.dtrsm(1.0, self._factor, half.T, lower=1)
        inverse = np.tril(lapack.dtrtri(self._factor, lower=1)[0])
        inner = -self.lam * (inverse @ inverse.T)
        np.fill_diagonal(inner, 1.0 + inner.diagonal())
        return inner


def _each_row(apply: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """What `apply` makes of columns, for each row of an array (..., size)."""
    images = apply(rows.reshape(-1, rows.shape[-1]).T)
    return images.T.reshape(*rows.shape[:-1], len(images))


def _leave_one_out(
    xi: np.ndarray,
    one_minus_leverage: np.ndarray,
    power_diagonals: np.ndarray,
    complement_diagonals: np.ndarray,
    fits: np.ndarray,
    shifts: np.ndarray,
) -> np.ndarray:
    """`fastdistill.kernels.leave_one_out` for all targets at once: fits (k+1, n, m) -> predictions (k+1, n, m).

    `shifts` (k+1, n, m) are the fits less their training targets, and are overwritten by the δ of that function.
    """
    out = fits.copy()
    for t in range(len(out)):
        for s in range(t):
            shifts[t] -= xi[t - 1] * complement_diagonals[t - s, :, None] * shifts[s]
        shifts[t] /= one_minus_leverage[:, None]
        shifts[:t] *= xi[t - 1] if t else 1.0
        for s in range(t + 1):
            out[t] += shifts[s] * power_diagonals[t - s, :, None]
    return out


def _pure_weights(xi: np.ndarray) -> np.ndarray:
    """Weights (k+1, k+1) of a^(j+1) in the filter f_t of each student: f_t = a ((1 − ξ_t) + ξ_t f_{t−1})."""
    weights = np.zeros((len(xi) + 1, len(xi) + 1))
    weights[0, 0] = 1.0
    for t, step in enumerate(xi, start=1):
        weights[t, 1:] = step * weights[t - 1, :-1]
        weights[t, 0] = 1.0 - step
    return weights


def _complement_weights(xi: np.ndarray) -> np.ndarray:
    """Weights (k+1, k+1) of (1 − a) aʲ in 1 − f_t = (1 − a) + ξ_t a (1 − f_{t−1})."""
    weights = np.zeros((len(xi) + 1, len(xi) + 1))
    weights[:, 0] = 1.0
    for t, step in enumerate(xi, start=1):
        weights[t, 1:] = step * weights[t - 1, :-1]
    return weights


def _exceeds_norm(lam: float, matrix: np.ndarray, diagonal: np.ndarray) -> bool:
    """Whether λ > ‖K‖ in the Frobenius norm; a pass over K only where its diagonal does not tell."""
    if lam <= diagonal.max(initial=0.0):
        return False
    return bool(lam >= diagonal.sum() or lam > np.linalg.norm(matrix.ravel(order="K")))


def _absolute_sums(matrix: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Column sums of |K|, from the triangle above the diagonal and the absolute `diagonal`, in blocks of columns."""
    sums = diagonal.copy()
    for first in range(0, len(matrix), BLOCK_COLUMNS):
        index = slice(first, first + BLOCK_COLUMNS)
        block = np.abs(matrix[: first + BLOCK_COLUMNS, index])
        block[first:] = np.triu(block[first:], 1)
        sums[index] += block.sum(axis=0)
        sums[: len(block)] += block.sum(axis=1)
    return sums


def mirror(matrix: np.ndarray) -> None:
    """Copy the triangle below the diagonal to the one above it, by tiles that fit a cache."""
    for first in range(0, len(matrix), TILE):
        index = slice(first, first + TILE)
        for start in range(0, first, TILE):
            matrix[start : start + TILE, index] = matrix[index, start : start + TILE].T
        block = matrix[index, index]
        block[:] = np.tril(block) + np.tril(block, -1).T
