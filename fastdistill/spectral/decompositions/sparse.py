"""Eigenvalues and singular vectors of a centred and weighted sparse design, of which no dense copy is made.

By the smaller Gram matrix, a sparse product that is centred afterwards, where its condition allows::

    X_sᵀ X_s = V diag(d) Vᵀ (p ≤ n)      X_s X_sᵀ = U diag(d) Uᵀ (p > n)

A Gram matrix squares the condition number. Where that costs digits, dense blocks of rows (8 MiB) go one after another
into a triangular factor, whose SVD is that of the design; Householder reflections lose nothing::

    X_s = Q R, R = Y diag(s) Vᵀ (p ≤ n)  X_sᵀ = Q R, R = Y diag(s) Uᵀ (p > n)

Q is never formed: the other side is X_s V / s or X_sᵀ U / s. A design no larger than one block is decomposed as a dense
one: its U is exact also where s is small.

Cost, side = min(n, p): 0.2 ns · side³ and the sparse product; by the factor 0.25 ns · n p side and 1 ns · side³, or
some 10 ns · side³ where the sizes of the columns differ by more than 1000. Memory: side² and the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from fastdistill.spectral.decompositions.centre import Centre
from fastdistill.spectral.decompositions.eigen import (
    CONSTANT,
    EPS,
    GRAM_CONDITION,
    HEAVY_ROW,
    UNEVEN_COLUMNS,
    Decomposition,
    column_means,
    decompose_design,
    eigenvalue_noise,
    eigh_negated,
    entry_scale,
    scaled_kernel,
    warn_if_inexact,
)
from fastdistill.spectral.decompositions.graded import graded_svd
from fastdistill.spectral.decompositions.operators import DesignOperator
from fastdistill.spectral.decompositions.rows import FormedRows

BLOCK_ENTRIES = 2**20  # of a dense block (8 MiB)
# A direction v with ‖X v‖ below this share of Σ |v_j| ‖x_j‖, or u with every |x_jᵀ u| below this share of ‖x_j‖, has
# the eigenvalue zero but for rounding.
NULL = 1e4 * EPS
FACTOR_WORK = 4e10  # multiplications n · p · min(n, p) of a factor that nobody has asked for (10 s)


def decompose_sparse(
    design: Any, weight: np.ndarray | None, fit_intercept: bool, solver: str = "auto"
) -> Decomposition:
    """Of a checked CSR design (n, p); by "gram" or "svd" where these are named.

    Empty columns and repeated rows are no reason for a factor: what the Gram matrix makes of them is measured on X.
    """
    n, p = design.shape
    means = column_means(design, weight) if fit_intercept else None
    operator = DesignOperator(design if p <= n else design.tocsc(), weight, means)
    if solver == "svd":
        return _by_factor(design, operator, weight)
    negated, scale = _negated_sparse_gram(design, weight, means)
    d, vectors = eigh_negated(negated)
    scale = max(scale, float(d[0]))
    full = min(n - fit_intercept, p)
    sound = int(np.count_nonzero(d[:full] >= GRAM_CONDITION * scale)) if scale else 0
    if sound < full and sound and _is_null(operator, vectors[:, sound:full]):
        full = sound
    elif sound < full or not full:
        if solver != "gram" and float(n) * p * min(n, p) <= FACTOR_WORK:
            return _by_factor(design, operator, weight)
        full = min(full, np.count_nonzero(d > eigenvalue_noise(len(d)) * scale))
        advice = "use solver='svd' or 'krylov', scale the columns, or drop those that depend on others"
        warn_if_inexact(d[:full], scale, advice)
    centre = None if means is None else Centre(means)
    return _both_sides(operator, np.sqrt(d[:full]), vectors[:, :full], centre, "gram")


def _both_sides(
    operator: DesignOperator, s: np.ndarray, vectors: np.ndarray, centre: Centre | None, method: str
) -> Decomposition:
    """From the singular vectors of the smaller side, V (p, r) for p ≤ n or U (n, r)."""
    n, p = operator.shape
    if p <= n:
        return Decomposition(np.square(s), _SparseRows(operator, vectors / s), vectors, centre, method)
    return Decomposition(np.square(s), vectors, operator.transposed(vectors) / s, centre, method)


def _by_factor(design: Any, operator: DesignOperator, weight: np.ndarray | None) -> Decomposition:
    """By the triangular factor of X_s or X_sᵀ; of a design that fits one block, by the SVD of that."""
    n, p = design.shape
    if n * p <= BLOCK_ENTRIES:
        return decompose_design(design.toarray(), weight, operator.means is not None, "svd")
    squares, means = operator.column_squares, operator.means
    assert squares is not None
    total = float(n) if weight is None else float(weight.sum())
    constant = np.zeros(p, bool) if means is None else squares <= total * np.square(CONSTANT * means)
    sizes = np.sqrt(squares[~constant & (squares > 0)])
    uneven = len(sizes) > 0 and sizes.max() > UNEVEN_COLUMNS * sizes.min()
    heavy = weight is not None and bool(weight.max() > HEAVY_ROW * weight[weight > 0].min())
    if heavy or (uneven and p > n):
        warnings.warn(
            f"The sparse X is made dense ({8e-6 * n * p:.3g} MB): its {'weights' if heavy else 'columns'} differ so "
            "much in size that nothing else is exact. Scale them, use solver='krylov', or pass X.toarray().",
            RuntimeWarning,
            stacklevel=5,
        )
        return decompose_design(design.toarray(), weight, means is not None, "svd")
    factor = _triangular_factor(_dense_blocks(operator, constant), min(n, p))
    if uneven:
        samples = n if weight is None else int(np.count_nonzero(weight))
        _, s, vectors = graded_svd(factor, samples - (means is not None))
    else:
        _, s, vt = scipy.linalg.svd(factor, check_finite=False)
        rank = np.count_nonzero(s > max(n, p) * EPS * s[0])
        s, vectors = s[:rank], vt[:rank].T
    centre = None if means is None else Centre(means, np.sqrt(squares / total), operator.rest)
    return _both_sides(operator, s, vectors, centre, "graded" if uneven else "svd")


def _dense_blocks(operator: DesignOperator, constant: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of X_s (p ≤ n) or of X_sᵀ, at least as many as there are columns; constant columns of X are zero."""
    n, p = operator.shape
    side = min(n, p)
    height = max(side, BLOCK_ENTRIES // side)
    for start in range(0, max(n, p), height):
        stop = min(start + height, max(n, p))
        if p <= n:
            block = operator.block(start, stop)
            block[:, constant] = 0.0
        else:
            block = operator.columns(start, stop).T
            block[constant[start:stop]] = 0.0
        yield block


def _triangular_factor(blocks: Iterator[np.ndarray], side: int) -> np.ndarray:
    """R (side, side) of the blocks (h, side) below one another = Q R."""
    factor = np.zeros((0, side))
    for block in blocks:
        (factor,) = scipy.linalg.qr(np.vstack([factor, block]), mode="r", overwrite_a=True, check_finite=False)
        factor = factor[:side]
    return factor


def sparse_gram(design: Any, weight: np.ndarray | None, centre: np.ndarray | None) -> tuple[np.ndarray, float]:
    """X_sᵀ X_s (p ≤ n) or X_s X_sᵀ of a sparse design, and the scale of its entries before centring."""
    negated, scale = _negated_sparse_gram(design, weight, centre)
    return np.negative(negated, out=negated), scale


def _negated_sparse_gram(design: Any, weight: np.ndarray | None, centre: np.ndarray | None) -> tuple[np.ndarray, float]:
    """−X_sᵀ X_s (p ≤ n) or −X_s X_sᵀ, and the scale of its entries before centring, on which its rounding depends."""
    n, p = design.shape
    if p > n:
        kernel = (design @ design.T).toarray()
        scale = entry_scale(kernel.diagonal(), weight, centre is not None)
        scaled, _ = scaled_kernel(kernel, weight, centre is not None, overwrite=True)
        return np.negative(scaled, out=scaled), scale
    weighted = design if weight is None else design.multiply(weight[:, None]).tocsr()
    gram = (design.T @ weighted).toarray()
    scale = entry_scale(gram.diagonal(), None, centre is not None)
    np.negative(gram, out=gram)
    if centre is not None:
        gram += np.outer(centre, centre) * (n if weight is None else weight.sum())
    return gram, scale


def _is_null(operator: DesignOperator, vectors: np.ndarray) -> bool:
    """Whether X_s v (p ≤ n), or X_sᵀ v, is zero but for rounding errors for all vectors v.

    Rounding errors are relative to the size of each column, so that a small column beside a large one is not zero.
    """
    assert operator.column_squares is not None
    sizes, (n, p) = np.sqrt(operator.column_squares), operator.shape
    width = max(1, BLOCK_ENTRIES // max(n, p))
    for start in range(0, vectors.shape[1], width):
        part = vectors[:, start : start + width]
        if p <= n:
            found, allowed = np.linalg.norm(operator.product(part), axis=0), sizes @ np.abs(part)
        else:
            found, allowed = np.abs(operator.transposed(part)).max(axis=1), sizes
        if np.any(found > NULL * allowed):
            return False
    return True


class _SparseRows(FormedRows):
    """Those of a sparse design: no dense array of n rows is stored."""

    def __init__(self, operator: DesignOperator, inner: np.ndarray) -> None:
        super().__init__(operator.shape[0], inner)
        self.operator = operator

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop as a dense array."""
        return self.operator.block_product(start, stop, self.inner)

    def _matmat(self, c: np.ndarray) -> np.ndarray:
        return self.operator.product(self.inner @ c)

    def _rmatmat(self, y: np.ndarray) -> np.ndarray:
        return self.inner.T @ self.operator.transposed(y)
