"""Singular value decomposition of a matrix whose columns, or rows, differ wildly in size: A = U diag(s) Vᵀ.

An ordinary SVD is exact to eps times the *largest* singular value, so that rounding of one column of size 1e16 hides
every other column of the design, although a ridge penalty of 1 needs them. Here every column is exact to eps times *its
own* size
(Drmač and Veselić, "New fast and accurate Jacobi SVD algorithm", SIAM J. Matrix Anal. Appl. 29, 2008)::

    A Π = Q [R₁ R₂; 0]          Householder QR with pivoting, R₁ (r, r); columns of nothing but rounding errors are zero
    [R₁ R₂]ᵀ = Z diag(s) Yᵀ     one-sided Jacobi (LAPACK's gejsv), exact to eps for each s: U = Q Y
    V = Π [I F]ᵀ (I + F Fᵀ)⁻¹ R₁⁻¹ Y diag(s),   F = R₁⁻¹ R₂

The last line is A⁺ U diag(s). Substitution with R₁ is exact row by row, so that V_ij is right to eps s_j / (size of
column i), which a query needs, whose entries have the sizes of the columns. Z itself is right to eps only.

Cost: O(n p min(n, p)), 3 to 10 times an ordinary SVD.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

EPS = float(np.finfo(np.float64).eps)
# A column that depends on others is not zero after their elimination, but, as measured, below 4 eps of its size.
DEPENDENT = 16 * EPS


def graded_svd(matrix: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U (n, r), s (r,) descending and V (p, r) of a finite matrix (n, p), each column exact to its own size.

    `most` bounds r from above: centring removes one direction, and its rounding errors must not count as data.
    """
    sizes = column_norms(matrix)
    rows = np.flatnonzero(matrix.any(axis=1))
    columns = np.flatnonzero(sizes)
    n, p = matrix.shape
    u, v = np.zeros((n, 0)), np.zeros((p, 0))
    if not len(columns):
        return u, np.zeros(0), v
    q, upper, order = _pivoted_qr(matrix[np.ix_(rows, columns)], sizes[columns], most)
    rank = len(upper)
    s, y = _jacobi(upper)
    u, v = np.zeros((n, rank)), np.zeros((p, rank))
    u[rows] = q @ y
    v[columns[order]] = _right_vectors(upper, y * s)
    return u, s, v


def column_norms(matrix: np.ndarray) -> np.ndarray:
    """Norms of the columns, also where their squares would overflow or underflow."""
    largest = np.abs(matrix).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    return largest * np.linalg.norm(matrix / unit, axis=0)


def _pivoted_qr(matrix: np.ndarray, sizes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q (n, r), R = [R₁ R₂] (r, p) and the order Π of the columns: matrix[:, order] = Q R.

    Each step takes the column with the largest remaining norm and, as its leading row, the row where that column is
    largest; so light rows are not hidden by heavy ones either. The remainder of a column is taken for rounding errors
    where it is below eps times the column's size, in the sizes of the remaining rows.
    """
    n, p = matrix.shape
    work = np.array(matrix, order="F")
    row_sizes = np.abs(work / sizes).max(axis=1)
    row_order, order, tau = np.arange(n), np.arange(p), []
    sizes = sizes.copy()
    for k in range(min(n, p, most)):
        trailing = work[k:, k:]
        norms = column_norms(trailing)
        noise = DEPENDENT * np.linalg.norm(row_sizes[k:]) * sizes[k:]
        trailing[:, norms <= noise] = 0.0
        norms[norms <= noise] = 0.0
        best = int(norms.argmax())
        if norms[best] == 0.0:
            break
        for array in (work.T, order, sizes):
            array[[k, k + best]] = array[[k + best, k]]
        lead = int(np.abs(trailing[:, 0]).argmax())
        for array in (work, row_order, row_sizes):
            array[[k, k + lead]] = array[[k + lead, k]]
        tau.append(_reflect(trailing, norms[best]))
    rank = len(tau)
    upper = np.triu(work[:rank])
    q, _, info = lapack.dorgqr(np.asfortranarray(work[:, :rank]), np.array(tau))
    if info:
        raise np.linalg.LinAlgError(f"LAPACK's orgqr failed with info = {info}.")
    unsorted = np.empty_like(q)
    unsorted[row_order] = q
    return unsorted, upper, order


def _reflect(trailing: np.ndarray, norm: float) -> float:
    """Reflect the first column of `trailing`, of this norm, onto its first row, as LAPACK stores it; returns tau."""
    lead = trailing[0, 0]
    corner = -norm if lead >= 0 else norm
    tail = trailing[1:, 0] / (lead - corner)
    tau = (corner - lead) / corner
    product = tau * (trailing[0, 1:] + tail @ trailing[1:, 1:])
    trailing[0, 1:] -= product
    trailing[1:, 1:] -= np.outer(product, tail).T  # in the order of `trailing`
    trailing[0, 0], trailing[1:, 0] = corner, tail
    return float(tau)


def _jacobi(upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values s (r,), descending, and left vectors Y (r, r) of R (r, p), each s exact to eps of itself."""
    s, _, y, work, _, info = lapack.dgejsv(upper.T, joba=0, jobu=3, jobv=0, jobr=0, jobp=0)
    if info:
        raise np.linalg.LinAlgError(f"The Jacobi SVD did not converge (LAPACK's gejsv, info = {info}).")
    return s * (work[0] / work[1]), y


def _right_vectors(upper: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """The least-norm solution (p, r) of R V = `scaled`, with errors graded as the columns of R."""
    rank = len(upper)
    basic = scipy.linalg.solve_triangular(upper[:, :rank], scaled)
    if upper.shape[1] == rank:
        return basic
    f = scipy.linalg.solve_triangular(upper[:, :rank], upper[:, rank:])
    # the entries of I + F Fᵀ off its diagonal are graded as the columns: Cholesky preserves that
    basic = scipy.linalg.cho_solve(scipy.linalg.cho_factor(np.eye(rank) + f @ f.T), basic)
    return np.vstack([basic, f.T @ basic])
