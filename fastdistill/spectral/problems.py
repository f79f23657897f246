"""Designs and kernels with their weights and intercept, before anything is decomposed or factored.

Solvers and decompositions see the scaled problem, with the symbols of `fastdistill.spectral.frame` and k̿ = w̄ᵀ K w̄::

    design   X_s = W^½ (X − 1 x̄ᵀ)                kernel   K_s = W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½

Implicit problems give only products with X_s or K_s: a LinearOperator, a memory map, a kernel that is not stored.

Cost: O(n p) for a design, a copy and O(n²) for a kernel, one pass over an implicit one; then that of the solver.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fastdistill.spectral.decompositions.centre import Centre, shares
from fastdistill.spectral.decompositions.cholesky import MIN_RCOND_KERNEL, Cholesky
from fastdistill.spectral.decompositions.choose import Shape
from fastdistill.spectral.decompositions.eigen import (
    INDEFINITE,
    Decomposition,
    column_means,
    decompose_design,
    decompose_factor,
    decompose_kernel,
    entry_scale,
    has_heavy_rows,
    require_semidefinite,
    scaled_design,
    scaled_kernel,
)
from fastdistill.spectral.decompositions.halves import Halves
from fastdistill.spectral.decompositions.operators import DesignOperator, KernelOperator, operator_means
from fastdistill.spectral.decompositions.sparse import decompose_sparse, sparse_gram
from fastdistill.spectral.decompositions.tall import decompose_tall, is_tall
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.queries import DesignQueries, KernelQueries, Queries

# Where centring makes the entries of a Gram matrix this many times smaller, it costs more than a digit.
CANCELLED = 16.0
# Squares of the data below this are not told from zero: the decomposition says what is wrong.
UNDERFLOW = 1e-280
# Means of at most so many deviations of one of the first rows: their rounding moves no digit of the students.
NEAR, FEW_ROWS = 1e3, 16


class Problem(Protocol):
    """A design or kernel, its weights and its intercept."""

    frame: Frame

    @property
    def shape(self) -> Shape:
        """Sizes that decide which solver is cheapest."""

    def decompose(self, solver: str) -> tuple[Decomposition, Queries]:
        """Eigenvalues and bases, and how new points enter; a kernel can be decomposed once."""

    def factor(self, lam: float) -> tuple[Cholesky, Queries] | None:
        """A Cholesky factor for the penalty, and how new points enter; None where it is not accurate enough."""

    def products(self) -> tuple[DesignOperator | KernelOperator, Queries]:
        """Products with X_s or K_s, for an iterative solver, and how new points enter."""

    def light_queries(self) -> Any:
        """The samples of next to no weight, `Frame.light`, as queries."""


class DesignProblem:
    """A checked design, dense (n, p), CSR or CSC."""

    def __init__(self, design: Any, frame: Frame) -> None:
        self.design, self.frame = design, frame

    @cached_property
    def shape(self) -> Shape:
        """Its sizes; of a sparse design with the number of multiplications in its smaller Gram matrix."""
        n, p = self.design.shape
        if isinstance(self.design, np.ndarray):
            return Shape("dense", n, p)
        design, axis = self.design, "csr" if p <= n else "csc"
        if design.format == axis:
            counts = np.diff(design.indptr)
        else:
            counts = np.bincount(design.indices, minlength=min(n, p))
        return Shape("sparse", n, p, len(design.data), float(np.square(counts, dtype=np.float64).sum()))

    def decompose(self, solver: str) -> tuple[Decomposition, DesignQueries]:
        """By the eigenvalues of the smaller Gram matrix, or an SVD."""
        weight, fit_intercept = self.frame.weight, self.frame.fit_intercept
        decomposition = None
        if not isinstance(self.design, np.ndarray):
            decomposition = decompose_sparse(self.design.tocsr(), weight, fit_intercept, solver)
        elif weight is None and solver != "svd" and is_tall(self.design):
            decomposition = decompose_tall(self.design, fit_intercept)
        if decomposition is None:
            decomposition = decompose_design(self.design, weight, fit_intercept, solver)
        return decomposition, DesignQueries(self.design.shape[1], decomposition.centre)

    def factor(self, lam: float) -> tuple[Cholesky, DesignQueries] | None:
        """Of the smaller Gram matrix plus λI."""
        if not isinstance(self.design, np.ndarray):
            return self._sparse_factor(lam)
        scaled, centre = self._scaled()
        factor = _factored(lambda: Cholesky.of_design(scaled, lam))
        return None if factor is None else (factor, DesignQueries(self.design.shape[1], centre))

    def _scaled(self) -> tuple[np.ndarray, Centre | None]:
        """X_s and x̄, as `scaled_design`; in half the passes over X where no column is far from zero."""
        weight, fit_intercept = self.frame.weight, self.frame.fit_intercept
        if fit_intercept and weight is None:
            means = shares(None, len(self.design)) @ self.design
            scaled = self.design - means
            # a few rows bound the spread from below
            if np.all(np.abs(means) <= NEAR * np.abs(scaled[:FEW_ROWS]).max(axis=0)):
                return scaled, Centre(means)
        return scaled_design(self.design, weight, column_means(self.design, weight) if fit_intercept else None)

    def _sparse_factor(self, lam: float) -> tuple[Cholesky, DesignQueries] | None:
        """Of a sparse product, centred afterwards; None also where centring costs digits."""
        operator, queries = self.products()
        if operator.rest is not None:
            return None
        gram, scale = sparse_gram(self.design, self.frame.weight, operator.means)
        if scale > CANCELLED * (gram.diagonal().max(initial=0.0) + lam):
            return None
        factor = _factored(lambda: Cholesky(gram.T, lam, operator))
        return None if factor is None else (factor, queries)

    @cached_property
    def _products(self) -> tuple[DesignOperator, DesignQueries]:
        return _design_products(self.design, self.frame)

    def products(self) -> tuple[DesignOperator, DesignQueries]:
        """Products with X_s, from products with X."""
        return self._products

    def light_queries(self) -> Any:
        """Rows of X."""
        return self.design[self.frame.light]


class ImplicitDesign:
    """A checked LinearOperator or memory map."""

    def __init__(self, design: Any, frame: Frame) -> None:
        self.frame, self._design = frame, design
        self.shape = Shape("operator", *design.shape)

    @cached_property
    def _products(self) -> tuple[DesignOperator, DesignQueries]:
        return _design_products(self._design, self.frame)

    def products(self) -> tuple[DesignOperator, DesignQueries]:
        """Products with X_s, from products with X; those of a memory map in blocks of rows."""
        return self._products

    def decompose(self, solver: str) -> tuple[Decomposition, DesignQueries]:
        """An error: products with it are not enough."""
        raise ValueError(_only_products(f"X is a {type(self._design).__name__}"))

    def factor(self, lam: float) -> None:
        """None: there is no matrix to factor."""

    def light_queries(self) -> Any:
        """An error: products with it are not enough."""
        raise ValueError(_only_products(f"X is a {type(self._design).__name__}"))


class ImplicitKernel:
    """A symmetric kernel that is not copied: a checked matrix, or a function that gives its rows (`KernelOperator`)."""

    def __init__(self, kernel: np.ndarray | Callable[[int, int], np.ndarray], frame: Frame) -> None:
        self.frame, self._kernel = frame, kernel
        self.shape = Shape("operator", frame.n_samples, frame.n_samples)

    @cached_property
    def _products(self) -> tuple[KernelOperator, KernelQueries]:
        frame = self.frame
        operator = KernelOperator(self._kernel, frame.n_samples, frame.weight, frame.fit_intercept)
        return operator, KernelQueries(frame, operator.means())

    def products(self) -> tuple[KernelOperator, KernelQueries]:
        """Products with K_s, from products with K."""
        return self._products

    def decompose(self, solver: str) -> tuple[Decomposition, KernelQueries]:
        """An error: products with it are not enough."""
        raise ValueError(_only_products("K is not stored"))

    def factor(self, lam: float) -> None:
        """None: there is no matrix to factor."""

    def light_queries(self) -> Any:
        """An error: products with it are not enough."""
        raise ValueError(_only_products("K is not stored"))


class KernelProblem:
    """A checked symmetric kernel matrix K (n, n), with entries known to a relative `resolution`.

    With `indefinite` it may have negative eigenvalues. With `known_definite` it is taken to have none, and may be
    overwritten. Where it `is_symmetric` only nearly, one of its triangles counts.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        frame: Frame,
        resolution: float,
        *,
        indefinite: bool,
        known_definite: bool,
        is_symmetric: bool = True,
    ) -> None:
        self.frame, self._resolution, self._indefinite = frame, resolution, indefinite
        self._light = kernel[frame.light]
        self._heavy = kernel.copy() if has_heavy_rows(frame.weight) else None
        self._scale = entry_scale(kernel.diagonal(), frame.weight, frame.fit_intercept)
        scaled, self._centre = scaled_kernel(kernel, frame.weight, frame.fit_intercept, overwrite=known_definite)
        self._scaled = Halves(scaled, is_symmetric=is_symmetric)
        self._queries = KernelQueries(frame, self._centre)
        self._known_definite = known_definite
        self._tridiagonal: Tridiagonal | None = None
        self.shape = Shape("dense", *kernel.shape)

    def _allowed(self, largest: float) -> float:
        """How far below zero an eigenvalue may lie beside the largest."""
        return max(INDEFINITE, self._resolution * len(self._scaled.diagonal)) * largest

    def require_semidefinite(self) -> None:
        """An error where K_s has a negative eigenvalue, by those of its tridiagonal form."""
        if not self._scaled.is_finite() or len(self.frame.light):
            return  # no such form
        d = self.tridiagonal()[0].eigenvalues()
        require_semidefinite(d, self._allowed(max(self._scale, float(d[0]))))
        self._known_definite = True

    def is_definite(self) -> bool:
        """Whether K_s is positive semi-definite by a Cholesky factor; if not, eigenvalues must decide."""
        if self._known_definite:
            return True
        if self._tridiagonal is not None:
            d = self._tridiagonal.eigenvalues()
            self._known_definite = bool(d[-1] >= -self._allowed(max(self._scale, float(d[0]))))
            return self._known_definite
        # the largest entry is at most the largest eigenvalue, so that this allows no more than they do
        allowed = self._allowed(self._scaled.diagonal.max(initial=0.0))
        self._known_definite = allowed > 0 and self._scaled.is_positive_semidefinite(allowed)
        return self._known_definite

    def decompose(self, solver: str) -> tuple[Decomposition, KernelQueries]:
        """By all eigenvalues; where some weights are huge, by the graded SVD of a factor."""
        weight, scaled = self.frame.weight, self._scaled.give_up()
        decomposition = decompose_kernel(
            np.negative(scaled, out=scaled),
            self._centre,
            weight,
            self._scale,
            self._resolution,
            indefinite=self._indefinite,
        )
        is_indefinite = self._indefinite and decomposition.d.min(initial=0.0) < 0
        if self._heavy is not None and weight is not None and not is_indefinite:
            decomposition = decompose_factor(self._heavy, weight, self._centre)
        return decomposition, self._queries

    def factor(self, lam: float) -> tuple[Cholesky, KernelQueries] | None:
        """Of K_s + λI, where K_s is positive semi-definite and λ well above the rounding of K before it was centred."""
        if lam < MIN_RCOND_KERNEL * self._scale or not self.is_definite():
            return None
        factor = _factored(lambda: Cholesky.of_kernel(self._scaled.lend(), lam, overwrite=True))
        return None if factor is None else (factor, self._queries)

    def products(self) -> tuple[KernelOperator, KernelQueries]:
        """Products with K_s, which is stored."""
        return KernelOperator(self._scaled.read()), self._queries

    def tridiagonal(self) -> tuple[Tridiagonal, KernelQueries]:
        """The tridiagonal form of K_s, which overwrites it, and how new points enter."""
        if self._tridiagonal is None:
            self._tridiagonal = Tridiagonal(self._scaled.give_up(), overwrite=True)
        return self._tridiagonal, self._queries

    def light_queries(self) -> np.ndarray:
        """Rows of K."""
        return self._light


def _design_products(design: Any, frame: Frame) -> tuple[DesignOperator, DesignQueries]:
    """The operator of a design, and the queries centred as it is."""
    means = operator_means(design, frame.weight) if frame.fit_intercept else None
    operator = DesignOperator(design, frame.weight, means)
    centre = None
    if means is not None:
        squares = operator.column_squares
        spread = None if squares is None else np.sqrt(squares / frame.total_weight)
        centre = Centre(means, spread, operator.rest)
    return operator, DesignQueries(design.shape[1], centre)


def _only_products(why: str) -> str:
    return (
        f"{why}, of which only solver='krylov' is possible: coefficients, fits, predictions, errors, dof and gcv, but "
        f"no eigenvalues, filters or leave-one-out predictions. Pass an array for those."
    )


def _factored(make: Any) -> Cholesky | None:
    """The factor, unless it fails, is inaccurate, or squares leave float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            factor: Cholesky = make()
        except np.linalg.LinAlgError:
            return None
    return factor if factor.trace > UNDERFLOW and np.isfinite(factor.trace) and factor.accurate else None
