"""Products with a centred design, (X − 1 x̄ᵀ) M, without cancellation where columns are far from zero.

X M − 1 x̄ᵀ M loses log10(mean / spread) digits of a column, nine for time stamps over a second counted in nanoseconds
since 1970. The mean itself, rounded to one number, is wrong by eps |x̄|. So the mean is the sum of two numbers,
x̄ = near + rest, and a column far from zero is centred before it is multiplied; of a sparse X only those are made dense.

Cost: that of X M.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# A column is far from zero where its mean is this many times its spread (largest, or root mean square, deviation).
FAR = 1e3
BLOCK_ENTRIES = 2**17  # of the rows that are centred at once (1 MiB)


def shares(weight: np.ndarray | None, n: int) -> np.ndarray:
    """w̄ = w / Σ w (n,), the weights of a mean."""
    return np.full(n, 1.0 / n) if weight is None else weight / weight.sum()


def centred_blocks(design: np.ndarray, means: np.ndarray | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows, less their means where these are given, in memory that the next block overwrites: fresh pages cost time."""
    n, p = design.shape
    height = max(1, BLOCK_ENTRIES // p)
    kept = np.empty((min(n, height), p) if means is not None else (0, p))
    for start in range(0, n, height):
        index = slice(start, min(start + height, n))
        rows = design[index]
        yield index, rows if means is None else np.subtract(rows, means, out=kept[: len(rows)])


class Centre:
    """Means x̄ = near + rest (p,) of the columns, and which columns are far from zero.

    Attributes
    ----------
    near : ndarray (p,)
        x̄ rounded to one number for each column.
    rest : ndarray (p,) or None
        The rounding error of `near`; None where it does not matter.
    far : ndarray of int or None
        Columns to be centred before they are multiplied; None where there is none.
    """

    def __init__(self, near: np.ndarray, spread: np.ndarray | None = None, rest: np.ndarray | None = None) -> None:
        """`spread` (p,) is that of the columns; None says that no column is far from zero."""
        self.near, self.rest, self.far = near, rest, None
        if spread is not None:
            far = np.flatnonzero(np.abs(near) > FAR * spread)
            self.far = far if len(far) else None

    def product(self, rows: Any, matrix: np.ndarray) -> np.ndarray:
        """(rows − 1 x̄ᵀ) matrix (q, c) of dense or sparse rows (q, p)."""
        if self.far is None:
            product = rows @ matrix - self.near @ matrix
        elif isinstance(rows, np.ndarray):
            product = (rows - self.near) @ matrix
        else:
            other = matrix.copy()
            other[self.far] = 0.0
            product = rows @ other - self.near @ other
            product += (rows[:, self.far].toarray() - self.near[self.far]) @ matrix[self.far]
        return product if self.rest is None else product - self.rest @ matrix
