"""Sums of a design and its targets, added up block by block, and the eigenvalues that follow from them.

With weights w, W = Σ w and means x̄, ȳ (zero without an intercept), a block of rows has the sums::

    G = Σ w (x − x̄)(x − x̄)ᵀ     c = Σ w (x − x̄)(y − ȳ)ᵀ     t = Σ w (y − ȳ)²

Two blocks a and b together have (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", 1982), with δ = x̄_b − x̄_a, ε = ȳ_b − ȳ_a and v = W_a W_b / (W_a + W_b)::

    x̄ = x̄_a + (W_b / W) δ     G = G_a + G_b + v δ δᵀ     c = c_a + c_b + v δ εᵀ     t = t_a + t_b + v ε²

Nothing cancels there but δ, so x̄ and ȳ are held in two numbers each: means of 1e8 times the spread, rounded to one,
would make δ wrong by 1e-8 of the spread. Then G = V diag(d) Vᵀ, z = diag(d)^-½ Vᵀ c, and the squared norm of the
targets outside the span of the design is t − ‖z‖².

==============  =====================
symbol          here
==============  =====================
x̄, ȳ            ``Sums.x``, ``Sums.y``
G, c, t         ``gram, cross, squares``
W               ``total_weight``
V, d            ``decompose_gram``
==============  =====================

Cost: n p (p + m) for n rows, and p (p + m) numbers of memory, three times while a block is added. The products of a
block are formed in tiles that stay in the second-level cache: in one thread, beside XᵀX alone in the best blocks, all
sums take 1.3 of its time at p = 100 (1.5 before there were tiles; 1.28 for 10 million rows of a memory map). To centre
a block before the product, and to check it apart, would make that 2.1 and, at p = 10, 3.4. As of every Gram matrix
the condition number is squared: directions
with s below about 1e-7 of the largest are cut, after the columns were brought to one size where their sizes differ by
more than 1e3.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import blas, lapack
from scipy.sparse import csr_array

from fastdistill.spectral.decompositions.eigen import CONSTANT, EPS, UNEVEN_COLUMNS, eigenvalue_noise, eigh_negated
from fastdistill.spectral.decompositions.graded import graded_svd

# A column with a mean of this many times its spread is centred before it is multiplied (and made dense, of a sparse
# block): centring XᵀX afterwards takes no pass over the rows, but enlarges rounding errors by 1 + (mean / spread)².
FAR = 4.0
TILE_ENTRIES = 2**16  # of dense rows that are multiplied at once (512 KiB), or twice p² for more than 181 columns
FEW_ROWS = 16  # whose deviations bound the spread of a column from below


@dataclass(frozen=True, eq=False)
class Means:
    """Means of columns, each the sum of two numbers: `near` (c,), and its rounding error `rest` (c,)."""

    near: np.ndarray
    rest: np.ndarray

    def difference(self, other: Means) -> np.ndarray:
        """These less the other ones."""
        return (self.near - other.near) + (self.rest - other.rest)

    def moved(self, by: np.ndarray) -> Means:
        """These plus `by`."""
        by = by + self.rest
        near = self.near + by
        part = near - self.near
        return Means(near, (self.near - (near - part)) + (by - part))

    def times(self, factor: float) -> Means:
        """These times a power of two."""
        return Means(self.near * factor, self.rest * factor)


@dataclass(eq=False)
class Sums:
    """Sums of some rows; see the table of the module.

    Attributes
    ----------
    n_samples, n_effective : int
        Rows, and rows of positive weight.
    varies : ndarray of bool (p,)
        Columns that differ from their mean by more than rounding.
    unit : float
        A power of two, by which targets were divided whose squares would leave float64; 1 otherwise.
    sizes : ndarray (m,)
        The largest absolute entry of each target / unit.
    rounding : float
        The square of the rounding errors to be expected in G, in those of one block.
    centred : bool
        Whether there is an intercept.
    """

    n_samples: int
    n_effective: int
    total_weight: float
    x: Means
    y: Means
    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    varies: np.ndarray
    unit: float
    sizes: np.ndarray
    rounding: float
    centred: bool

    def added(self, other: Sums) -> Sums:
        """The sums of both."""
        both = copy.copy(self)
        both.gram, both.cross, both.squares = self.gram.copy(), self.cross.copy(), self.squares.copy()
        both.add(other)
        return both

    def add(self, other: Sums) -> None:
        """Add the sums of other rows to these, in place."""
        other = self._in_one_unit(other)
        weights = self.total_weight, other.total_weight
        self.gram += other.gram
        self.cross += other.cross
        self.squares += other.squares
        self.varies = self.varies | other.varies
        if self.centred and min(weights) > 0:
            dx, dy = other.x.difference(self.x), other.y.difference(self.y)
            share = weights[1] / sum(weights)
            self.gram = blas.dger(weights[0] * share, dx, dx, a=self.gram.T, overwrite_a=1).T
            self.cross += np.outer(weights[0] * share * dx, dy)
            self.squares += weights[0] * share * np.square(dy)
            self.varies = self.varies | (np.abs(dx) > CONSTANT * np.abs(self.x.near))
            self.x, self.y = self.x.moved(share * dx), self.y.moved(share * dy)
        elif weights[0] == 0:
            self.x, self.y = other.x, other.y
        self.n_samples += other.n_samples
        self.n_effective += other.n_effective
        self.total_weight = sum(weights)
        self.sizes = np.maximum(self.sizes, other.sizes)
        self.rounding += other.rounding

    def _in_one_unit(self, other: Sums) -> Sums:
        """The other sums with the targets in the unit of both, that of the larger ones."""
        if self.unit == other.unit:
            return other
        if self.sizes.max() * self.unit < other.sizes.max() * other.unit:
            self._change_unit(other.unit)
            return other
        other = copy.copy(other)
        other._change_unit(self.unit)
        return other

    def _change_unit(self, unit: float) -> None:
        factor, self.unit = self.unit / unit, unit
        self.y, self.cross, self.sizes = self.y.times(factor), self.cross * factor, self.sizes * factor
        self.squares = self.squares * factor * factor

    @property
    def size(self) -> float:
        """The root mean square of the largest column; NaN or infinite where the design is, or leaves float64."""
        squares = self.gram.diagonal() / (self.total_weight or 1.0) + np.square(self.x.near)
        return float(np.sqrt(squares.max()))

    def varying(self) -> tuple[np.ndarray, np.ndarray]:
        """G and c, with zeros for the columns that are constant but for rounding errors."""
        if not self.centred or self.varies.all():
            return self.gram, self.cross
        return self.gram * self.varies * self.varies[:, None], self.cross * self.varies[:, None]


def sums_of_rows(
    rows: np.ndarray | csr_array, y: np.ndarray, weight: np.ndarray | None, unit: float, *, centred: bool
) -> Sums:
    """Sums of checked rows (h, p), dense or CSR, and their targets (h, m) / unit."""
    (h, p), m = rows.shape, y.shape[1]
    total = float(h) if weight is None else float(weight.sum())
    root = None if weight is None else np.sqrt(weight)[:, None]
    y_means, y_scaled = Means(np.zeros(m), np.zeros(m)), y
    if centred and total > 0:
        share = np.full(h, 1.0 / h) if weight is None else weight / total
        y_scaled, y_means = _centred(y, share)
        y_scaled = _scaled(y_scaled, root)
        of_design = _centred_sums(rows, y_scaled, root, share, total)
    else:
        y_scaled, scaled = _scaled(y, root), _scaled(rows, root)
        means = Means(np.zeros(p), np.zeros(p))
        of_design = _OfDesign(_gram(scaled), scaled.T @ y_scaled, means, np.full(p, not centred), 1.0)
    return Sums(
        n_samples=h,
        n_effective=h if weight is None else int(np.count_nonzero(weight)),
        total_weight=total,
        x=of_design.means,
        y=y_means,
        gram=of_design.gram,
        cross=of_design.cross,
        squares=np.einsum("ij,ij->j", y_scaled, y_scaled),
        varies=of_design.varies,
        unit=unit,
        sizes=np.maximum(y.max(axis=0), -y.min(axis=0)),
        rounding=of_design.lost**2,
        centred=centred,
    )


class _OfDesign(NamedTuple):
    """G, c, x̄, the varying columns, and the factor by which centring after the product has enlarged rounding errors."""

    gram: np.ndarray
    cross: np.ndarray
    means: Means
    varies: np.ndarray
    lost: float


def _centred_sums(
    rows: Any, y_scaled: np.ndarray, root: np.ndarray | None, share: np.ndarray, total: float
) -> _OfDesign:
    """Centred after the product, without a pass over the rows; columns far from zero are centred before it."""
    if isinstance(rows, np.ndarray) and _looks_far(rows[:FEW_ROWS]):
        return _sums_of_centred(rows, y_scaled, root, share, total)
    p = rows.shape[1]
    gram, cross, near = _products(rows, y_scaled, root, share)
    gram = blas.dger(-total, near, near, a=gram.T, overwrite_a=1).T  # in place, where it is in C order
    removed, diagonal = total * np.square(near), gram.diagonal()
    is_far = removed > FAR**2 * diagonal
    lost = 1.0 + float(np.max(removed / np.where(diagonal > 0, diagonal, 1.0), initial=0.0, where=~is_far))
    rest, varies, far = np.zeros(p), np.ones(p, dtype=bool), np.flatnonzero(is_far)
    if len(far) and isinstance(rows, np.ndarray):
        return _sums_of_centred(rows, y_scaled, root, share, total)
    if len(far):
        given = rows[:, far].toarray()
        columns, means = _centred(given, share)
        near[far], rest[far], varies[far] = means.near, means.rest, _varying(given, means)
        columns, scaled = _scaled(columns, root), _scaled(rows, root)
        gram[:, far] = scaled.T @ columns
        gram[far] = gram[:, far].T
        gram[np.ix_(far, far)] = columns.T @ columns
        cross[far] = columns.T @ y_scaled
    return _OfDesign(gram, cross, Means(near, rest), varies, lost)


def _products(
    rows: Any, y_scaled: np.ndarray, root: np.ndarray | None, share: np.ndarray, centre: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ w x xᵀ (p, p), Σ w x yᵀ (p, m) and Σ share x (p,), all three of some rows while these are in the cache.

    x are the rows less `centre` (p,), which is for dense ones.
    """
    h, p = rows.shape
    height = max(1, max(TILE_ENTRIES, 2 * p * p) // p) if isinstance(rows, np.ndarray) else h
    total: tuple[np.ndarray, ...] = ()
    for start in range(0, h, height):
        tile = slice(start, start + height)
        few = rows if height >= h else rows[tile]
        few = few if centre is None else few - centre
        scaled = _scaled(few, None if root is None else root[tile])
        # the Gram matrix first: it hides the time that the rows take to come from memory
        part = _gram(scaled), scaled.T @ y_scaled[tile], share[tile] @ few
        for whole, more in zip(total, part, strict=False):
            np.add(whole, more, out=whole)
        total = total or part
    gram, cross, means = total
    return gram, cross, means


def _looks_far(few: np.ndarray) -> bool:
    """Whether the means of some columns seem to be many times their spread, from a few rows."""
    means = few.mean(axis=0)
    return bool(np.any(2.0 * np.abs(means) > FAR * np.abs(few - means).max(axis=0)))


def _sums_of_centred(
    rows: np.ndarray, y_scaled: np.ndarray, root: np.ndarray | None, share: np.ndarray, total: float
) -> _OfDesign:
    """Dense rows, centred before the product."""
    near = share @ rows
    gram, cross, rest = _products(rows, y_scaled, root, share, near)
    gram = blas.dger(-total, rest, rest, a=gram.T, overwrite_a=1).T
    means = Means(near, rest)
    varies = _varying(rows, means)
    if not varies.all():  # the difference of two roundings, which may be negative
        gram[~varies], gram[:, ~varies], cross[~varies] = 0.0, 0.0, 0.0
    return _OfDesign(gram, cross, means, varies, 1.0)


def _scaled(rows: Any, root: np.ndarray | None) -> Any:
    """W^½ times dense or CSR rows."""
    if root is None:
        return rows
    return rows * root if isinstance(rows, np.ndarray) else rows.multiply(root).tocsr()


def _gram(rows: Any) -> np.ndarray:
    product = rows.T @ rows
    return product if isinstance(rows, np.ndarray) else product.toarray()


def _centred(values: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, Means]:
    """Values (h, c) less their means by the weights `share` (h,), in a new array."""
    near = share @ values
    centred = values - near
    rest = share @ centred
    centred -= rest
    return centred, Means(near, rest)


def _varying(rows: np.ndarray, means: Means) -> np.ndarray:
    """Columns (c,) of which an entry is further from the mean than rounding; in most the first rows show it."""
    smallest = CONSTANT * np.abs(means.near)
    varies = np.abs(rows[:FEW_ROWS] - means.near - means.rest).max(axis=0) > smallest
    unsure = np.flatnonzero(~varies)
    if len(unsure):
        away = rows[:, unsure] - means.near[unsure] - means.rest[unsure]
        varies[unsure] = np.abs(away).max(axis=0) > smallest[unsure]
    return varies


def decompose_gram(gram: np.ndarray, most: int, rounding: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues d (r,), descending, and vectors V (p, r) of a Gram matrix G, without those that rounding may have
    made of zero; r is at most `most`.

    Where the columns have very different sizes, G = D R̂ᵀ R̂ D with D the sizes and R̂ a Cholesky factor of a matrix of
    unit diagonal, and the graded SVD of R̂ D has every column to its own precision.
    """
    noise = max(eigenvalue_noise(len(gram)), 2.0 * EPS * rounding**0.5)
    sizes = np.sqrt(gram.diagonal())
    used = np.flatnonzero(sizes)
    if not len(used):
        return np.zeros(0), np.zeros((len(gram), 0))
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(gram.sum())
    if is_finite and sizes[used].max() > UNEVEN_COLUMNS * sizes[used].min():
        unit = gram[np.ix_(used, used)] / sizes[used] / sizes[used, None]
        upper, order, rank, _ = lapack.dpstrf(unit, tol=max(noise, len(used) * EPS))
        factor = np.zeros((rank, len(gram)))
        factor[:, used[order - 1]] = np.triu(upper[:rank])
        _, s, vectors = graded_svd(factor * sizes, most)
        return np.square(s), vectors
    d, vectors = eigh_negated(np.negative(gram))
    rank = min(most, int(np.count_nonzero(d > noise * d[0])))
    return d[:rank], vectors[:, :rank]
