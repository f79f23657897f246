"""Eigenvalues and singular vectors of a tall dense design, in two passes over its rows and without a copy of it.

With a shift c near the means, the Gram matrix and the means come from one pass, and U from another when it is needed::

    G_c = Σ_i (x_i − c)(x_i − c)ᵀ, s = Σ_i (x_i − c),   x̄ = c + s / n,   G = G_c − s sᵀ / n = V diag(d) Vᵀ
    U = (X − 1 x̄ᵀ) V diag(d)^−½

G squares the condition number: where that would cost digits, another decomposition has to be taken. No column is
centred where its mean is so near zero that this saves less than a digit.

Cost: n p² for G, n p² for the rows of U. Above 8 MiB these are formed where they are needed, and stored when they are
needed again: new memory costs more than the products (100 000 × 50: G 10 ms, rows of U 14 ms, storing them another 20).
"""

from __future__ import annotations

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.decompositions.centre import BLOCK_ENTRIES, Centre, centred_blocks
from fastdistill.spectral.decompositions.eigen import GRAM_CONDITION, ROUNDED_MEAN, Decomposition, eigh_negated
from fastdistill.spectral.decompositions.rows import FormedRows

STORED_ENTRIES = 2**20  # of U (8 MiB)
# A mean of at most so many deviations costs less than a digit of a sum of squares, and less than two of a row of U:
# then nothing is taken off before multiplying.
NEAR_OF_SQUARES, NEAR_OF_ROWS = 4.0, 64.0
FIRST_ROWS = 128  # that say whether the means are far from zero: 0.05 ms; of a whole block 0.3
# Fewer fill too little of a panel: of 500 000 × 6, panels take 6.6 ms and BLAS 5.3; of 100 000 × 20, 2.7 and 3.4.
PANEL_COLUMNS = 16
SHIFTED = 16.0  # times as large as without the shift, a sum of squares loses a digit


def is_tall(design: np.ndarray) -> bool:
    """Whether passes over blocks of rows are cheaper than whole copies."""
    return design.size > BLOCK_ENTRIES and design.shape[0] >= 4 * design.shape[1]


def decompose_tall(design: np.ndarray, fit_intercept: bool) -> Decomposition | None:
    """Of a tall design without weights; None where XᵀX is ill-conditioned, or columns are very far from zero."""
    n, means = len(design), None
    with np.errstate(over="ignore", invalid="ignore"):  # refused by the eigenproblem
        if fit_intercept:
            means, gram = _moments(design)
            squares = gram.diagonal().copy()
            if np.any(squares <= n * np.square(ROUNDED_MEAN * means)):
                return None
        else:
            gram = sum(block.T @ block for _, block in centred_blocks(design, None))
        np.negative(gram, out=gram)
    d, vectors = eigh_negated(gram)
    if d[-1] < GRAM_CONDITION * d[0] or d[0] <= 0:
        return None
    spread = None if means is None else np.sqrt(squares / n)
    rows = TallRows(design, vectors / np.sqrt(d), means, spread)
    is_small = design.size <= STORED_ENTRIES
    return Decomposition(
        d, rows.stored() if is_small else rows, vectors, None if means is None else Centre(means, spread), "gram"
    )


def _moments(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x̄ (p,) and G (p, p), by a second pass where the first rows had other means than all."""
    n, first = len(design), design[:FIRST_ROWS]
    shift = _shift(first.mean(axis=0), first.std(axis=0), NEAR_OF_SQUARES)
    # of less than 8 MiB it is not worth compiling for; BLAS is as fast where columns are contiguous and not centred
    by_panels = design.size > STORED_ENTRIES and design.shape[1] >= PANEL_COLUMNS
    by_panels = by_panels and (shift is not None or design.flags.c_contiguous)
    for _ in range(2):
        gram, total = np.zeros((design.shape[1], design.shape[1])), np.zeros(design.shape[1])
        if by_panels:
            near = np.zeros_like(total) if shift is None else shift
            compiled_kernels().add_centred_products(_read_only(design), near, gram, total)
        else:
            for _, block in centred_blocks(design, shift):
                gram += block.T @ block
                total += np.ones(len(block)) @ block
        means, shifted = total / n if shift is None else shift + total / n, gram.diagonal().copy()
        gram -= np.outer(total, total / n)
        if np.all(shifted <= SHIFTED * gram.diagonal()):
            break
        shift = means
    return means, gram


def _read_only(design: np.ndarray) -> np.ndarray:
    """The same array of one type for the compiler, whether it can be written to or, as of a data frame, not."""
    view = design.view()
    view.flags.writeable = False
    return view


def _shift(means: np.ndarray, spread: np.ndarray, near: float) -> np.ndarray | None:
    """What is taken off before multiplying; None where the means are at most `near` deviations from zero."""
    return None if np.all(np.abs(means) <= near * spread) else means


class TallRows(FormedRows):
    """Those of a tall design; stored once they are asked for a second time.

    Attributes
    ----------
    design : ndarray (n, p)
        X, read-only.
    centre : ndarray (p,)
        x̄, zero without an intercept.
    """

    def __init__(
        self, design: np.ndarray, inner: np.ndarray, means: np.ndarray | None, spread: np.ndarray | None
    ) -> None:
        super().__init__(len(design), inner)
        self._design, self._asked = design, 0
        self.centre = np.zeros(design.shape[1]) if means is None else means
        self._stored: np.ndarray | None = None
        self._shift = None if means is None or spread is None else _shift(means, spread, NEAR_OF_ROWS)
        # what is left to take off: of sums over the rows of X, and of the rows of U
        self._means = means if self._shift is None else None
        self._offset = None if self._means is None else self._means @ inner

    @property
    def design(self) -> np.ndarray:
        """See the class."""
        return _read_only(self._design)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop as a dense array."""
        self._asked += stop - start
        if self._stored is None and self._asked > self.shape[0]:
            self._stored = self.stored()
        return self._formed(slice(start, stop)) if self._stored is None else self._stored[start:stop]

    def _formed(self, index: slice) -> np.ndarray:
        rows = self._design[index]
        out = (rows if self._shift is None else rows - self._shift) @ self.inner
        return out if self._offset is None else np.subtract(out, self._offset, out=out)

    def stored(self) -> np.ndarray:
        """All rows as a dense array."""
        return self._product(self.inner, self._offset)

    def fits(self, coordinates: np.ndarray) -> np.ndarray:
        """U c for each row c of `coordinates` (N, r) -> (N, n)."""
        out, combined = np.empty((len(coordinates), self.shape[0])), coordinates @ self.inner.T
        for index, block in centred_blocks(self._design, self._shift):
            np.matmul(combined, block.T, out=out[:, index])
        return out if self._offset is None else np.subtract(out, (coordinates @ self._offset)[:, None], out=out)

    def _matmat(self, c: np.ndarray) -> np.ndarray:
        return self._product(self.inner @ c, None if self._offset is None else self._offset @ c)

    def _product(self, combined: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
        """The centred X times `combined`."""
        out = np.empty((self.shape[0], combined.shape[1]))
        for index, block in centred_blocks(self._design, self._shift):
            part = np.matmul(block, combined, out=out[index])
            if offset is not None:
                part -= offset
        return out

    def _rmatmat(self, y: np.ndarray) -> np.ndarray:
        sums = sum(block.T @ y[index] for index, block in centred_blocks(self._design, self._shift))
        if self._means is not None:
            sums = sums - np.outer(self._means, y.sum(axis=0))
        return self.inner.T @ sums
