"""Products with the centred and weighted design or kernel, without forming either::

    design   X_s = W^½ (X − 1 x̄ᵀ)                      kernel   K_s = W^½ (I − 1 w̄ᵀ) K (I − w̄ 1ᵀ) W^½

Centring is a rank-one correction of the product, never a dense copy. A correction loses as many digits as the mean of
a column is larger than its spread, so columns with |x̄| > 1000 spreads are centred before they are multiplied: a dense X
in blocks of rows, of a sparse X those columns only, as a dense array (such a column has next to no zeros, so that this
takes no more memory than its stored values do). A `LinearOperator` cannot be looked into: its columns must not be that
far from zero, or lose the digits. Likewise a kernel loses log10 of (its entries / its spread around the means).

==================  =============================================
linear algebra      here
==================  =============================================
X_s B, K_s B        ``product``
W^-½ X_s B          ``unweighted``, also of rows without weight
X_sᵀ A              ``transposed``
diag(X_sᵀ X_s)      ``column_squares``; None for a LinearOperator
diag(X_s X_sᵀ)      ``diagonal``; None for a LinearOperator
==================  =============================================

Cost: one pass over X or K per product, whatever the number of columns, over half of K for a single one (1.5 and 0.8 ms
for a kernel of 2000); single precision, integers and memory maps are
converted in blocks of rows (1 MiB), sparse values once (8 bytes a value).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse
from scipy.linalg import blas
from scipy.sparse.linalg import LinearOperator

from fastdistill.spectral.decompositions.centre import FAR, shares

BLOCK_ENTRIES = 2**17  # entries of a block of rows that is converted or centred (1 MiB)
KERNEL_ENTRIES = 2**20  # entries of a block of kernel rows that is evaluated at once (8 MiB)


def operator_means(X: Any, weight: np.ndarray | None = None) -> np.ndarray:
    """Weighted means x̄ (p,) of the columns of X; `DesignOperator` adds what rounding them to one number took away."""
    design = _Columns(X)
    share = shares(weight, design.shape[0])
    return design.transposed(share[:, None])[:, 0]


class DesignOperator:
    """X_s = W^½ (X − 1 x̄ᵀ) of a design X (n, p).

    Parameters
    ----------
    X : ndarray (also a memory map), CSR or CSC, or LinearOperator
        Finite. Other sparse formats are converted to CSR.
    weight : ndarray (n,), optional
    means : ndarray (p,), optional
        x̄ of an intercept, see `operator_means`; None does not centre.

    Attributes
    ----------
    shape : (n, p)
    nbytes : int
        Size of X, 0 if unknown.
    means, rest : ndarray (p,) or None
        x̄ = means + rest; rest is None where no column is far from zero.
    """

    def __init__(self, X: Any, weight: np.ndarray | None = None, means: np.ndarray | None = None) -> None:
        self._columns = _Columns(X)
        self.shape: tuple[int, int] = self._columns.shape
        self.nbytes: int = self._columns.nbytes
        self._weight = weight
        self._root = None if weight is None else np.sqrt(weight)[:, None]
        self.means = means
        self.rest: np.ndarray | None = None
        self._explicit: np.ndarray | None = None  # (2, p) means and rest, taken off the blocks of a dense X
        self._far: tuple[np.ndarray, np.ndarray] | None = None  # columns of a sparse X, and these, centred
        self.column_squares = self._column_squares()

    def product(self, matrix: np.ndarray) -> np.ndarray:
        """X_s B (n, c) of B (p, c)."""
        out = self.unweighted(matrix)
        return out if self._root is None else np.multiply(out, self._root, out=out)

    def unweighted(self, matrix: np.ndarray) -> np.ndarray:
        """(X − 1 x̄ᵀ) B (n, c) of B (p, c)."""
        near = self._near(matrix)
        out = self._columns.product(near, self._explicit)
        if self.means is not None and self._explicit is None:
            out -= self.means @ near
        if self._far is not None:
            out += self._far[1] @ matrix[self._far[0]]
        return out

    def _near(self, matrix: np.ndarray) -> np.ndarray:
        """B with zeros for the columns of a sparse X that are far from zero."""
        if self._far is None:
            return matrix
        near = matrix.copy()
        near[self._far[0]] = 0.0
        return near

    def transposed(self, matrix: np.ndarray) -> np.ndarray:
        """X_sᵀ A (p, c) of A (n, c)."""
        if self._root is not None:
            matrix = matrix * self._root
        out = self._columns.transposed(matrix, self._explicit)
        if self.means is not None and self._explicit is None:
            out -= np.outer(self.means, matrix.sum(axis=0))
        if self._far is not None:
            out[self._far[0]] = self._far[1].T @ matrix
        return out

    def diagonal(self) -> np.ndarray | None:
        """diag(X_s X_sᵀ) (n,), the squared lengths of the rows; None for a LinearOperator or columns far from zero."""
        if self._columns.is_opaque or self.rest is not None:
            return None
        squares = self._columns.row_squares()
        if self.means is not None:
            means = self.means
            squares = squares - 2.0 * self._columns.product(means[:, None])[:, 0] + means @ means
            np.maximum(squares, 0.0, out=squares)
        return squares if self._weight is None else squares * self._weight

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of X_s as a dense array."""
        rows = self._columns.rows(start, stop)
        for means in (self.means, self.rest):
            rows = rows if means is None else rows - means
        return rows if self._root is None else rows * self._root[start:stop]

    def block_product(self, start: int, stop: int, matrix: np.ndarray) -> np.ndarray:
        """Rows start..stop of X_s B (h, c) of a sparse X."""
        near = self._near(matrix)
        rows = self._columns.product_of_rows(start, stop, near)
        if self.means is not None:
            rows -= self.means @ near
        if self._far is not None:
            rows += self._far[1][start:stop] @ matrix[self._far[0]]
        return rows if self._root is None else rows * self._root[start:stop]

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns start..stop of a sparse X_s as a dense array (n, h)."""
        columns = self._columns.some(slice(start, stop))
        for means in (self.means, self.rest):
            columns = columns if means is None else columns - means[start:stop]
        return columns if self._root is None else columns * self._root

    def _column_squares(self) -> np.ndarray | None:
        """diag(X_sᵀ X_s) (p,); finds the columns far from zero on the way."""
        if self._columns.is_opaque:
            return None
        n = self.shape[0]
        squares = self._columns.column_squares(self._weight)
        if self.means is None:
            return squares
        total = float(n) if self._weight is None else float(self._weight.sum())
        squares -= total * np.square(self.means)
        far = np.flatnonzero(np.square(self.means) * total > FAR**2 * np.maximum(squares, 0.0))
        far = far[self.means[far] != 0.0]
        if len(far):
            self._centre_far(far, squares)
        return np.maximum(squares, 0.0)

    def _centre_far(self, far: np.ndarray, squares: np.ndarray) -> None:
        """Centre the columns `far` explicitly, and what rounding the means to one number left of them once more."""
        assert self.means is not None
        n = self.shape[0]
        share, weight = shares(self._weight, n), np.ones(n) if self._weight is None else self._weight
        rest = np.zeros(self.shape[1])
        if self._columns.is_dense:
            once = np.stack([self.means, rest])
            rest[far] = self._columns.transposed(share[:, None], once)[far, 0]
            self._explicit = np.stack([self.means, rest])
            squares[far] = self._columns.column_squares(self._weight, self._explicit)[far]
        else:
            columns = self._columns.some(far) - self.means[far]
            rest[far] = share @ columns
            columns -= rest[far]
            squares[far] = np.einsum("ij,ij,i->j", columns, columns, weight)
            self._far = far, columns
        self.rest = rest


class KernelOperator:
    """K_s = W^½ (I − 1 w̄ᵀ) K (I − w̄ 1ᵀ) W^½ of a symmetric kernel matrix K (n, n); not centred without an intercept.

    Parameters
    ----------
    K : ndarray (n, n), also a memory map, or callable
        ``K(start, stop)`` returns the rows start..stop (h, n); it is called with blocks of at most 8 MiB, anew at
        every product, so that K is never stored.
    n : int, optional
        Needed for a callable.
    weight : ndarray (n,), optional
    fit_intercept : bool
    """

    def __init__(
        self,
        K: np.ndarray | Callable[[int, int], np.ndarray],
        n: int | None = None,
        weight: np.ndarray | None = None,
        fit_intercept: bool = False,
    ) -> None:
        self._rows: Callable[[int, int], np.ndarray] | None = None
        self._triangle: np.ndarray | None = None  # K in Fortran order, as BLAS reads it
        if isinstance(K, np.ndarray):
            self._columns, n = _Columns(K), K.shape[0]
            if K.dtype == np.float64 and K.flags.c_contiguous and not isinstance(K, np.memmap):
                self._triangle = K.T
        elif n is None:
            raise TypeError("A kernel given by a function needs n, the number of its rows.")
        else:
            self._rows = K
        self.shape = (n, n)
        self.nbytes = 0 if self._rows is not None else self._columns.nbytes
        self._share = shares(weight, n) if fit_intercept else None
        self._root = None if weight is None else np.sqrt(weight)[:, None]

    def product(self, matrix: np.ndarray) -> np.ndarray:
        """K_s B (n, c) of B (n, c)."""
        out = self.unweighted(matrix)
        return out if self._root is None else np.multiply(out, self._root, out=out)

    def unweighted(self, matrix: np.ndarray) -> np.ndarray:
        """W^-½ K_s B (n, c) of B (n, c)."""
        if self._root is not None:
            matrix = matrix * self._root
        if self._share is not None:
            matrix = matrix - np.outer(self._share, matrix.sum(axis=0))
        out = self._stored(matrix) if self._rows is None else self._evaluated(matrix)
        if self._share is not None:
            out -= self._share @ out
        return out

    def means(self) -> np.ndarray | None:
        """k̄ = K w̄ (n,), one more product; None without an intercept."""
        if self._share is None:
            return None
        share = self._share[:, None]
        return (self._columns.product(share) if self._rows is None else self._evaluated(share))[:, 0]

    def diagonal(self) -> np.ndarray | None:
        """diag(K_s) (n,); None for a kernel given by a function."""
        if self._rows is not None:
            return None
        out = np.array(self._columns.main_diagonal(), dtype=np.float64)
        if self._share is not None:
            means = self._columns.product(self._share[:, None])[:, 0]
            out += self._share @ means - 2.0 * means
            np.maximum(out, 0.0, out=out)
        return out if self._root is None else out * np.square(self._root[:, 0])

    def _stored(self, matrix: np.ndarray) -> np.ndarray:
        """K B; a single column reads one triangle only, at half the price."""
        if self._triangle is None or matrix.shape[1] > 1:
            return self._columns.product(matrix)
        return blas.dsymv(1.0, self._triangle, matrix[:, 0], lower=1)[:, None]

    def _evaluated(self, matrix: np.ndarray) -> np.ndarray:
        assert self._rows is not None
        out = np.empty(matrix.shape)
        height = max(1, KERNEL_ENTRIES // self.shape[0])
        for start in range(0, self.shape[0], height):
            stop = min(start + height, self.shape[0])
            np.matmul(self._rows(start, stop), matrix, out=out[start:stop])
        return out


class _Columns:
    """Products with X itself, in float64 whatever its type."""

    def __init__(self, X: Any) -> None:
        self.is_dense, self.is_opaque = isinstance(X, np.ndarray), isinstance(X, LinearOperator)
        self.nbytes = int(getattr(X, "nbytes", 0))
        if scipy.sparse.issparse(X):
            X = X if X.format in ("csr", "csc") else X.tocsr()
            self.nbytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
            if X.dtype != np.float64:  # else every product would convert the values anew
                X = type(X)((X.data.astype(np.float64), X.indices, X.indptr), shape=X.shape, copy=False)
            self._transpose = X.T
        elif not (self.is_dense or self.is_opaque):
            raise TypeError(f"X must be an ndarray, a sparse matrix or a LinearOperator; got {type(X).__name__}.")
        self._X = X
        self.shape: tuple[int, int] = X.shape
        self._in_blocks = self.is_dense and (X.dtype != np.float64 or isinstance(X, np.memmap))

    def product(self, matrix: np.ndarray, means: np.ndarray | None = None) -> np.ndarray:
        """X B; (X − 1 x̄ᵀ) B of a dense X with x̄ = means[0] + means[1]."""
        if self.is_opaque:
            return np.array(self._X.matmat(matrix), dtype=np.float64)
        if not self._in_blocks and means is None:
            return self._X @ matrix
        out = np.empty((self.shape[0], matrix.shape[1]))
        for index, block in self._blocks(means):
            np.matmul(block, matrix, out=out[index])
        return out

    def transposed(self, matrix: np.ndarray, means: np.ndarray | None = None) -> np.ndarray:
        """Xᵀ A; (X − 1 x̄ᵀ)ᵀ A of a dense X with x̄ = means[0] + means[1]."""
        if self.is_opaque:
            return np.array(self._X.rmatmat(matrix), dtype=np.float64)
        if not self.is_dense:
            return self._transpose @ matrix
        if not self._in_blocks and means is None:
            return self._X.T @ matrix
        out = np.zeros((self.shape[1], matrix.shape[1]))
        for index, block in self._blocks(means):
            out += block.T @ matrix[index]
        return out

    def column_squares(self, weight: np.ndarray | None, means: np.ndarray | None = None) -> np.ndarray:
        out = np.zeros(self.shape[1])
        weight = np.ones(self.shape[0]) if weight is None else weight
        if self.is_dense:
            for index, block in self._blocks(means):
                out += np.einsum("ij,ij,i->j", block, block, weight[index])
            return out
        for rows, columns, values in self._stored():
            out += np.bincount(columns, np.square(values) * weight[rows], minlength=len(out))
        return out

    def row_squares(self) -> np.ndarray:
        out = np.zeros(self.shape[0])
        if self.is_dense:
            for index, block in self._blocks(None):
                out[index] = np.einsum("ij,ij->i", block, block)
            return out
        for rows, _, values in self._stored():
            out += np.bincount(rows, np.square(values), minlength=len(out))
        return out

    def main_diagonal(self) -> np.ndarray:
        return self._X.diagonal()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of X as a dense array."""
        rows = self._X[start:stop]
        return np.asarray(rows if self.is_dense else rows.toarray(), dtype=np.float64)

    def product_of_rows(self, start: int, stop: int, matrix: np.ndarray) -> np.ndarray:
        """Rows start..stop of X B."""
        return np.asarray(self._X[start:stop] @ matrix)

    def some(self, columns: np.ndarray | slice) -> np.ndarray:
        """Columns of a sparse X as a dense float64 array."""
        return np.asarray(self._X[:, columns].toarray())

    def _blocks(self, means: np.ndarray | None) -> Iterator[tuple[slice, np.ndarray]]:
        height = max(1, BLOCK_ENTRIES // max(1, self.shape[1]))
        for start in range(0, self.shape[0], height):
            index = slice(start, min(start + height, self.shape[0]))
            block = np.asarray(self._X[index], dtype=np.float64)
            yield index, block if means is None else block - means[0] - means[1]

    def _stored(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(rows, columns, values) of the stored values of a sparse X, a block at a time."""
        pointers, is_rows = self._X.indptr, self._X.format == "csr"
        for start in range(0, len(self._X.data), BLOCK_ENTRIES):
            part = slice(start, min(start + BLOCK_ENTRIES, len(self._X.data)))
            first = int(np.searchsorted(pointers, start, side="right")) - 1
            last = int(np.searchsorted(pointers, part.stop, side="left"))
            counts = np.diff(np.clip(pointers[first : last + 1], start, part.stop))
            major = np.repeat(np.arange(first, last), counts)
            minor, values = self._X.indices[part], self._X.data[part]
            yield (major, minor, values) if is_rows else (minor, major, values)
