"""A symmetric matrix in one array, of which a Cholesky factor may take the triangle below the diagonal.

LAPACK reads and overwrites one triangle. The other one and the diagonal, n numbers that are stored beside it, hold the
matrix: it is checked for negative eigenvalues and factored without a second n by n array, whose fresh pages take as
long as its copy, and restored by transposition where it is needed once more.

Cost: n³ / 3 to check it, O(n²) to restore it (n = 3000: 13 ms; a fresh copy 17 to 35 ms).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from fastdistill.spectral.decompositions.cholesky import mirror

SMALL = 1000  # sides up to which a copy costs less than restoring


class Halves:
    """A symmetric matrix K (n, n).

    Attributes
    ----------
    diagonal : ndarray (n,)
    """

    def __init__(self, matrix: np.ndarray, *, is_symmetric: bool = True) -> None:
        """`matrix` in C order is kept. Where it is symmetric only nearly, what LAPACK reads of it counts."""
        self._columns, self.diagonal = matrix.T, matrix.diagonal().copy()
        self._is_whole, self._is_lent = True, False
        if not is_symmetric:
            mirror(self._columns)

    def is_finite(self) -> bool:
        """Whether neither K, not overwritten so far, nor the sum of its entries overflows."""
        return bool(np.isfinite(self._columns.sum()))

    def is_positive_semidefinite(self, shift: float) -> bool:
        """Whether K + `shift` I has a Cholesky factor, a tenth of the cost of its eigenvalues.

        `shift` > 0 is how far below zero an eigenvalue may lie. It must be above the rounding error of an eigenvalue
        of zero, a few eps of the largest. For an indefinite matrix LAPACK usually stops long before the last column.
        """
        if len(self.diagonal) <= SMALL:
            work = self._own().copy(order="F")
        else:
            work, self._is_whole = self._own(), False
        diagonal = _diagonal_of(work)
        diagonal += shift
        _, failed = lapack.dpotrf(work, lower=1, clean=0, overwrite_a=1)
        return not failed and bool(np.isfinite(diagonal[-1]))  # a NaN anywhere spreads to the last column

    def lend(self) -> np.ndarray:
        """All of K in Fortran order, to be kept, and overwritten on and below the diagonal."""
        columns = self._own()
        self._is_whole, self._is_lent = False, True
        return columns

    def read(self) -> np.ndarray:
        """All of K in C order, to be kept, and not overwritten."""
        columns = self._columns if self._is_whole else self._own()
        self._is_lent = True
        return columns.T

    def give_up(self) -> np.ndarray:
        """All of K in C order, for whom may overwrite it, and is not kept: nothing else works afterwards."""
        columns = self._own()
        del self._columns
        return columns.T

    def _own(self) -> np.ndarray:
        """All of K in an array that nobody else holds, and that may be written to."""
        if self._is_lent or not self._columns.flags.writeable:  # a copy in another process may share its memory
            self._columns = self._columns.copy(order="F")
        if not self._is_whole:
            mirror(self._columns.T)
            _diagonal_of(self._columns)[:] = self.diagonal
        self._is_whole, self._is_lent = True, False
        return self._columns


def _diagonal_of(columns: np.ndarray) -> np.ndarray:
    """The diagonal (n,) of an array in Fortran order, for writing."""
    return columns.ravel(order="K")[:: len(columns) + 1]
