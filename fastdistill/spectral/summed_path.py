"""Students of a design of which only sums were kept: a path without rows.

With the sums G, c and t of `fastdistill.spectral.decompositions.sums` and G = V diag(d) Vᵀ::

    z = diag(d)^-½ Vᵀ c          outside = t − ‖z‖²          U = W^½ (X − 1 x̄ᵀ) V diag(d)^-½

Students need d, V, z and `outside` for everything but fits and leave-one-out, which need rows of U. Those of a block of
samples follow from the block, so leave-one-out takes one more pass over the data.

`outside` is the difference of two sums, and its error about 1e-15 t: a training error below that share of the variance
of y is not resolved (it is taken as 0 where rounding makes it negative).

Cost: O(p³) for the eigenvalues, O(p² m) for z; leave-one-out as of `fastdistill.spectral.leave_one_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import progress, validation
from fastdistill.base.mapped import MappedPages
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.decompositions.centre import Centre
from fastdistill.spectral.decompositions.eigen import Decomposition
from fastdistill.spectral.decompositions.sums import Sums, decompose_gram, sums_of_rows
from fastdistill.spectral.frame import Frame, Targets, check_target_sizes
from fastdistill.spectral.influence import Influence
from fastdistill.spectral.leave_one_out import leave_one_out_squares
from fastdistill.spectral.path import DistillationPath
from fastdistill.spectral.queries import DesignQueries

NO_ROWS = (
    "Sums hold no rows, of which {} would need every one. acc.loo_mse(blocks, lam, xi) has the exact leave-one-out "
    "errors, from one more pass over the data; path.predict(X) has the fits of rows that are at hand."
)
BLOCK_ENTRIES = 2**20  # entries of a block of dense rows whose sums are added to the others at once (8 MiB)
MOST_ENTRIES = 2**22  # of a block of at least 4 p rows, which cost more than adding its p by p sums (32 MiB)
SAME_WEIGHT = 1e-9  # sums of weights that differ by less differ by rounding
ORDINARY = 1e50  # weighted rows of a smaller root mean square need no closer look
DENSE = 1 / 8  # share of stored entries from which a dense product is faster than a sparse one


class NoRowsError(ValueError):
    """Only sums were kept, and something needs rows."""

    def __init__(self, what: str) -> None:
        super().__init__(NO_ROWS.format(what))


class Block:
    """Samples, their targets and weights, checked; a dense design, also a memory map, is checked as it is read.

    Attributes
    ----------
    shape : (n, p)
    dtype : dtype
        Of results.
    y : ndarray (n, m)
    is_single : bool
        Whether y came as one 1-D target.
    weight : ndarray (n,) or None
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any) -> None:
        self.dtype = validation.result_dtype(X)
        is_array = isinstance(X, np.ndarray) and not isinstance(X, np.ma.MaskedArray) and X.ndim == 2
        if not (is_array and X.dtype.kind in "fiub" and X.size):
            X = validation.design(X, "X_block", smallest=0.0, copies=False)
        self._design = X if isinstance(X, np.ndarray) else X.tocsr()
        self.shape: tuple[int, int] = X.shape
        self.y, self.is_single = validation.targets(y, self.shape[0], "y_block")
        self.weight = validation.sample_weight(sample_weight, self.shape[0], may_vanish=True)

    @property
    def is_dense(self) -> bool:
        """Whether its sums are those of dense rows."""
        return isinstance(self._design, np.ndarray) or self._design.nnz > DENSE * self.shape[0] * self.shape[1]

    def parts(self, height: int) -> Iterator[tuple[slice, Any, np.ndarray, np.ndarray | None]]:
        """Which of the samples, their rows (dense, not yet checked, or CSR), targets and weights; so many at a time."""
        n, pages = self.shape[0], MappedPages(self._design)
        for start in range(0, n, height):
            index = slice(start, min(start + height, n))
            given = self._design[index]
            rows = np.asarray(given, dtype=np.float64) if isinstance(given, np.ndarray) else given
            yield index, rows, self.y[index], None if self.weight is None else self.weight[index]
            pages.release(given)

    def check(self, rows: Any, index: slice) -> None:
        """Raise where dense rows are not finite, or too large."""
        name = "X_block" if index.stop - index.start == self.shape[0] else f"X_block[{index.start}:]"
        if isinstance(rows, np.ndarray):
            validation.design(rows, name, smallest=0.0)

    def sums(self, *, centred: bool, advance: progress.Advance = progress.nothing) -> Sums:
        """Its sums; `advance` is told the rows that are done."""
        n, p = self.shape
        unit = 1.0 if validation.is_ordinary(self.y, validation.LARGEST_TARGET) else validation.unit_size(self.y)
        height = max(BLOCK_ENTRIES, min(4 * p * p, MOST_ENTRIES)) // p if self.is_dense else n
        total = None
        for index, rows, y, weight in self.parts(max(1, height)):
            rows = rows if isinstance(rows, np.ndarray) or not self.is_dense else rows.toarray()
            with np.errstate(over="ignore", invalid="ignore"):
                part = sums_of_rows(rows, y if unit == 1.0 else y / unit, weight, unit, centred=centred)
            if not part.size < ORDINARY:  # a check of the rows themselves would be one more pass over them
                self.check(rows, index)
            if total is None:
                total = part
            else:
                total.add(part)
            advance(len(y))
        assert total is not None
        return total


class SummedFrame(Frame):
    """The frame of a problem with known totals, of which only `n_samples` rows, with these weights, are at hand."""

    def __init__(
        self, n_samples: int, weight: np.ndarray | None, fit_intercept: bool, n_effective: int, total_weight: float
    ) -> None:
        super().__init__(n_samples, weight, fit_intercept)
        self.n_effective, self.total_weight = n_effective, total_weight
        self.degrees = n_effective - fit_intercept


class _WholeFrame(SummedFrame):
    """That of all samples, whose weights were not kept."""

    @property
    def each_weight(self) -> np.ndarray:
        """An error: there are no rows."""
        raise NoRowsError("the weights")


class _Coordinates(Coordinates):
    """Eigenvalues and V, without U."""

    def rotate(self, targets: Targets) -> Rotated:
        """An error: there are no rows."""
        raise NoRowsError("new targets")

    def fits(self, coordinates: np.ndarray) -> np.ndarray:
        """An error: there are no rows."""
        raise NoRowsError("fitted values")

    def row_block(self, start: int, stop: int) -> np.ndarray:
        """An error: there are no rows."""
        raise NoRowsError("leave-one-out predictions")


class SummedSpectrum:
    """A design given by its sums; what students need of it (`fastdistill.spectral.protocol.Decomposed`).

    Attributes
    ----------
    targets : Targets
        Without rows.
    rotated : Rotated
        z and the squared norm outside the span, of the targets that were summed.
    """

    is_kernel = False

    def __init__(self, sums: Sums, dtype: np.dtype, *, is_single: bool) -> None:
        if sums.total_weight == 0:
            raise ValueError(validation.ALL_ZERO)
        validation.sized(np.asarray(sums.size), "X")
        check_target_sizes(sums.sizes, sums.unit)
        self.dtype, self._y_means = dtype, sums.y
        self.frame: Frame = _WholeFrame(sums.n_samples, None, sums.centred, sums.n_effective, sums.total_weight)
        gram, cross = sums.varying()
        d, basis = decompose_gram(gram, self.frame.degrees, sums.rounding)
        if not d.all():
            raise ValueError("The squares of the data underflow: their eigenvalues must be positive; rescale the data.")
        centre = None
        if sums.centred:
            centre = Centre(sums.x.near, np.sqrt(sums.gram.diagonal() / sums.total_weight), sums.x.rest)
        self.queries = DesignQueries(len(basis), centre)
        self._decomposition = Decomposition(d, np.empty((0, len(d))), basis, centre, "gram")
        self.coordinates: Coordinates = _Coordinates(
            self._decomposition, self.frame, self.queries, None, is_kernel=False
        )
        z = (basis.T @ cross) / np.sqrt(d)[:, None]
        outside = np.maximum(sums.squares - np.einsum("ij,ij->j", z, z), 0.0)
        if self.coordinates.is_complete:
            outside = np.zeros_like(outside)
        none = np.empty((0, len(outside)))
        self.rotated = Rotated(none, z, none, outside, None)
        self.targets = Targets(sums.y.near, none, sums.unit, float(sums.sizes.max()), is_single)

    def __repr__(self) -> str:
        n, (p, r) = self.frame.n_samples, self.coordinates.basis.shape
        return f"Sums(n_samples={n}, n_features={p}, rank={r}, fit_intercept={self.frame.fit_intercept})"

    def part(self, rows: Any, y: np.ndarray, weight: np.ndarray | None) -> tuple[Coordinates, Rotated]:
        """Coordinates and rotated targets of some samples: checked rows (h, p), targets (h, m), positive weights."""
        whole, basis, z = self.frame, self.coordinates.basis, self.rotated.z
        frame = SummedFrame(len(y), weight, whole.fit_intercept, whole.n_effective, whole.total_weight)
        u = self.queries.project(rows, basis) / np.sqrt(self._decomposition.d)
        scaled = (y / self.targets.unit - self._y_means.near) - self._y_means.rest
        if frame.root is not None:
            u, scaled = u * frame.root[:, None], scaled * frame.root[:, None]
        light = rows[frame.light] if len(frame.light) else None
        coordinates = Coordinates(self._decomposition._replace(rows=u), frame, self.queries, light, is_kernel=False)
        outside_part = np.zeros_like(scaled) if coordinates.is_complete else scaled - u @ z
        return coordinates, Rotated(scaled, z, outside_part, self.rotated.outside, None)


class LeftOut(NamedTuple):
    """Leave-one-out of some samples: Σ w (y − loo)² (P, k+1, m) in the units of the path, their number and weight."""

    squares: np.ndarray
    n_samples: int
    weight: float


class SummedPath(DistillationPath):
    """A `DistillationPath` without rows: no `fitted`, no leave-one-out, no folds; everything else is exact."""

    spectrum: SummedSpectrum

    def __init__(self, spectrum: SummedSpectrum, lam: np.ndarray, xi: np.ndarray) -> None:
        super().__init__(spectrum, spectrum.targets, lam, xi)
        self.rotated = spectrum.rotated

    @property
    def fitted(self) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`fitted`"))

    @property
    def loo(self) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`loo`"))

    @property
    def loo_mse(self) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`loo_mse`"))

    def cv(self, splits: Any) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`cv`"))

    def cv_mse(self, splits: Any) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`cv_mse`"))

    def loo_std(self, noise: Any = None) -> np.ndarray:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`loo_std`"))

    def influence(self) -> Influence:
        """An error: there are no rows."""
        raise AttributeError(NO_ROWS.format("`influence`"))

    @property
    def y_mean(self) -> Any:
        """ȳ, () or (m,); zero without an intercept."""
        means = self.targets.mean * self.targets.unit
        return means[0] if self.targets.is_single else means

    def left_out(self, block: Block, advance: progress.Advance = progress.nothing) -> LeftOut:
        """Leave-one-out of a block of the samples; `advance` is told the rows that are done."""
        (n, p), m, rank = block.shape, self.targets.count, self.spectrum.coordinates.rank
        if p != self.queries.width:
            raise ValueError(f"X_block must have {self.queries.width} features, got shape {block.shape}.")
        if block.y.shape[1] != m:
            raise ValueError(f"y_block has {block.y.shape[1]} targets, but the sums are of {m}.")
        squares = np.zeros((*self.family_penalties.shape, m))
        for index, rows, y, weight in block.parts(max(1, MOST_ENTRIES // max(1, p if block.is_dense else rank))):
            block.check(rows, index)
            if weight is not None:  # a sample of zero weight adds nothing
                rows, y, weight = rows[weight > 0], y[weight > 0], weight[weight > 0]
            if len(y):
                part = self.spectrum.part(rows, y, weight)
                squares += leave_one_out_squares(*part, self.family_penalties[:, 0], self.family_weights)
            advance(index.stop - index.start)
        return LeftOut(squares, n, float(n if block.weight is None else block.weight.sum()))

    def mean_left_out(self, found: Iterable[LeftOut]) -> np.ndarray:
        """Leave-one-out errors (...[, m]) from those of all samples, in blocks."""
        squares, n, weight = np.zeros((*self.family_penalties.shape, self.targets.count)), 0, 0.0
        for part in found:
            squares += part.squares
            n, weight = n + part.n_samples, weight + part.weight
        frame = self.spectrum.frame
        if n != frame.n_samples or abs(weight - frame.total_weight) > SAME_WEIGHT * frame.total_weight:
            raise ValueError(
                f"The blocks hold {n} samples of total weight {weight:.9g}, the sums {frame.n_samples} of "
                f"{frame.total_weight:.9g}: leave-one-out needs the samples that were summed, all of them, once. "
                f"(An iterator that was used before is empty.)"
            )
        return self._mean_left_out(squares)
