"""New points: checked, centred as the training data are, and multiplied by coefficients or by a basis.

==========  ==========================================  ==============================================
            a design, queries X_q (q, p)                a kernel, queries K_q (q, n)
==========  ==========================================  ==============================================
centred     X_q − 1 x̄ᵀ                                  K_q − 1 k̄ᵀ, k̄ = K w̄
projected   (X_q − 1 x̄ᵀ) V                              (K_q − 1 k̄ᵀ) W^½ U
==========  ==========================================  ==============================================

Cost: one product with the queries.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.decompositions.centre import Centre
from fastdistill.spectral.frame import Frame


class Queries(Protocol):
    """How new points are checked, centred and multiplied."""

    @property
    def width(self) -> int:
        """Columns of the queries: p of a design, n of a kernel."""

    def check(self, queries: Any) -> Any:
        """Finite queries (q, width), or an error that says what is wrong."""

    def project(self, queries: Any, basis: np.ndarray) -> np.ndarray:
        """Coordinates (q, r) of checked queries in a basis (width, r) of scaled samples."""

    def evaluate(self, queries: Any, coefficients: np.ndarray) -> np.ndarray:
        """Centred predictions (N, q) of coefficients (N, width) on checked queries."""

    def at_origin(self, coefficients: np.ndarray) -> np.ndarray:
        """Centred predictions (N,) of coefficients (N, width) on a query of zeros."""

    def coefficients(self, scaled: np.ndarray) -> np.ndarray:
        """Coefficients (N, width) for unscaled queries, from coefficients of the scaled problem."""


class DesignQueries:
    """Queries X_q (q, p) of a design, dense or sparse.

    `centre` holds the means x̄ of the columns; None without an intercept.
    """

    def __init__(self, n_features: int, centre: Centre | None) -> None:
        self.width, self.centre = n_features, centre

    def check(self, queries: Any) -> Any:
        """Finite queries (q, p)."""
        checked = validation.design(queries, "Xq", smallest=0.0)
        if checked.shape[1] != self.width:
            raise ValueError(f"Xq must have {self.width} features, got shape {checked.shape}.")
        return checked

    def project(self, queries: Any, basis: np.ndarray) -> np.ndarray:
        """(X_q − x̄) V."""
        return queries @ basis if self.centre is None else self.centre.product(queries, basis)

    def evaluate(self, queries: Any, coefficients: np.ndarray) -> np.ndarray:
        """Centred predictions (N, q)."""
        return self.project(queries, coefficients.T).T

    def at_origin(self, coefficients: np.ndarray) -> np.ndarray:
        """−x̄ᵀ β (N,)."""
        centre = self.centre
        if centre is None:
            return np.zeros(len(coefficients))
        level = -(coefficients @ centre.near)
        return level if centre.rest is None else level - coefficients @ centre.rest

    def coefficients(self, scaled: np.ndarray) -> np.ndarray:
        """The same coefficients β: where W^½ (X − x̄) β fits W^½ (y − ȳ), (X − x̄) β fits y − ȳ."""
        return scaled

    def squared_norms(self, queries: Any) -> np.ndarray:
        """‖x − x̄‖² (q,)."""
        centre = None if self.centre is None else self.centre.near
        if isinstance(queries, np.ndarray):
            rows = queries if centre is None else queries - centre
            return np.einsum("ij,ij->i", rows, rows)
        squares = queries.multiply(queries).sum(axis=1)
        return squares if centre is None else squares - 2 * (queries @ centre) + centre @ centre


class KernelQueries:
    """Queries K_q = kernel(query, train) (q, n) of a kernel; `centre` is k̄ = K w̄, None without an intercept."""

    def __init__(self, frame: Frame, centre: np.ndarray | None) -> None:
        self.width, self.frame, self.centre = frame.n_samples, frame, centre

    def check(self, queries: Any) -> Any:
        """Finite queries (q, n)."""
        checked = validation.sized(validation.filled_matrix(queries, "Kq"), "Kq", smallest=0.0)
        if checked.shape[1] != self.width:
            raise ValueError(f"Kq must be kernel(query, train) of shape (q, {self.width}), got shape {checked.shape}.")
        return checked

    def project(self, queries: Any, basis: np.ndarray) -> np.ndarray:
        """(K_q − k̄) W^½ U."""
        return self.scaled(queries if self.centre is None else queries - self.centre) @ basis

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """`rows` (q, n) W^½."""
        return rows if self.frame.root is None else rows * self.frame.root

    def evaluate(self, queries: Any, coefficients: np.ndarray) -> np.ndarray:
        """Centred predictions (N, q)."""
        predictions = (queries @ coefficients.T).T
        return predictions if self.centre is None else predictions - (coefficients @ self.centre)[:, None]

    def at_origin(self, coefficients: np.ndarray) -> np.ndarray:
        """−k̄ᵀ a (N,)."""
        return np.zeros(len(coefficients)) if self.centre is None else -(coefficients @ self.centre)

    def coefficients(self, scaled: np.ndarray) -> np.ndarray:
        """Dual coefficients W^½ a: where W^½ K W^½ a fits W^½ (y − ȳ), K W^½ a fits y − ȳ."""
        return self.scaled(scaled)

    def centred(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries of the centred kernel k_c (q, n), and k(x, x) − k_c(x, x) (q,); see `gaussian_process`."""
        if self.centre is None:
            return queries, np.zeros(len(queries))
        share = self.frame.each_weight / self.frame.total_weight
        mean = queries @ share
        shift = mean - self.centre @ share
        return queries - self.centre - shift[:, None], mean + shift
