"""Left singular vectors U = X_s B (n, r), B = V diag(d)^−½, that are formed from the design when they are needed."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from scipy.sparse.linalg import LinearOperator


class FormedRows(LinearOperator):
    """U as an operator: products with it, and some of its rows.

    Parameters
    ----------
    n : int
        Number of samples.
    inner : ndarray (p, r)
        B.
    """

    def __init__(self, n: int, inner: np.ndarray) -> None:
        super().__init__(dtype=np.float64, shape=(n, inner.shape[1]))
        self.inner = inner

    @abstractmethod
    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop as a dense array."""

    def fits(self, coordinates: np.ndarray) -> np.ndarray:
        """U c for each row c of `coordinates` (N, r) -> (N, n)."""
        return np.ascontiguousarray((self @ coordinates.T).T)

    def _matvec(self, c: np.ndarray) -> np.ndarray:  # SciPy before 1.15 has no default for it
        return self._matmat(c.reshape(-1, 1))

    def _rmatvec(self, y: np.ndarray) -> np.ndarray:
        return self._rmatmat(y.reshape(-1, 1))
