"""Students of designs with more rows than one memory or one machine holds, from sums over blocks of rows.

The sums are in `fastdistill.spectral.decompositions.sums`, their students in `fastdistill.spectral.summed_path`.

Cost: one pass over the data, n p (p + m) multiplications; p (p + m) numbers of memory, however many rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.base.progress import reporting
from fastdistill.spectral.decompositions.sums import Sums
from fastdistill.spectral.path import checked_penalties
from fastdistill.spectral.summed_path import Block, SummedPath, SummedSpectrum


class GramAccumulator:
    """Sums of a design X and targets y, Σ w (x − x̄)(x − x̄)ᵀ, Σ w (x − x̄)(y − ȳ)ᵀ and Σ w (y − ȳ)², block by block.

    Blocks may come in any order, and accumulators of different blocks (on other machines, say) may be merged in any
    order: up to rounding, the students are those of all rows together. No row is kept.

    Parameters
    ----------
    fit_intercept : bool
        Centre by the weighted means, so that an unpenalised intercept is fitted.

    Attributes
    ----------
    n_samples : int
        Rows so far, those of zero weight included.
    n_features : int or None
        None before the first block.

    Notes
    -----
    Means far larger than the spread cost no digits: 1e8 times as large is exact to rounding. A Gram matrix squares
    the condition number: directions of the design with singular values below about 1e-7 of the largest are cut (each
    column counts in its own size). Where those matter, use `Spectrum.from_design`.

    Cost: n p (p + m) multiplications, p (p + m) numbers of memory, in which a memory map can be passed whole; then
    O(p³) once, when a path is asked for.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((1000, 3)), rng.standard_normal(1000)
    >>> acc = fd.GramAccumulator()
    >>> for rows in np.split(np.arange(1000), 10):
    ...     acc = acc.partial_fit(X[rows], y[rows])
    >>> acc
    GramAccumulator(n_samples=1000, n_features=3, fit_intercept=True)
    >>> whole = fd.Spectrum.from_design(X, fit_intercept=True).path(y, [1.0, 10.0], [0.5])
    >>> bool(np.allclose(acc.path([1.0, 10.0], [0.5]).coef, whole.coef, rtol=1e-12))
    True
    """

    def __init__(self, fit_intercept: bool = True) -> None:
        self.fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        self._sums: Sums | None = None
        self._is_single = True
        self._dtype = np.dtype(np.float32)
        self._spectrum: SummedSpectrum | None = None  # of these sums

    @property
    def n_samples(self) -> int:
        """Rows so far, those of zero weight included."""
        return 0 if self._sums is None else self._sums.n_samples

    @property
    def n_features(self) -> int | None:
        """Columns of the design; None before the first block."""
        return None if self._sums is None else len(self._sums.gram)

    def __repr__(self) -> str:
        sizes = f"n_samples={self.n_samples}, n_features={self.n_features}"
        return f"GramAccumulator({sizes}, fit_intercept={self.fit_intercept})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_spectrum": None}

    def partial_fit(
        self, X_block: Any, y_block: Any, sample_weight: Any = None, progress: Any = False
    ) -> GramAccumulator:
        """Add a block of samples.

        Parameters
        ----------
        X_block : {array-like, sparse} (h, p)
            A memory map is read once, in pieces of a few MiB, and its pages are given back: it may be larger than
            memory.
        y_block : array-like (h,) or (h, m)
            One or several targets, in all blocks alike.
        sample_weight : float or array-like (h,), optional
            Non-negative weights of the squared residuals, 1 by default; a block may have no positive one.
        progress : bool or callable
            True shows a bar (tqdm's where it is installed) if the block takes more than two seconds. A function is
            called as ``progress(done, total)`` with numbers of rows, at most ten times a second and at the end.

        Returns
        -------
        GramAccumulator
            Itself. A block that is refused leaves it unchanged.

        Raises
        ------
        ValueError
            Values that are not finite, shapes that do not match each other or the earlier blocks, negative weights.
        TypeError
            No numbers.
        """
        block = Block(X_block, y_block, sample_weight)
        self._check(block.shape[1], block.y.shape[1], block.is_single, "X_block", "y_block")
        with reporting(progress, block.shape[0], "rows", "GramAccumulator.partial_fit") as advance:
            sums = block.sums(centred=self.fit_intercept, advance=advance)
        return self._take(sums, block.is_single, block.dtype)

    def merge(self, other: GramAccumulator) -> GramAccumulator:
        """Add the samples of another accumulator, which stays as it is.

        Returns
        -------
        GramAccumulator
            Itself.

        Raises
        ------
        ValueError
            Different `fit_intercept`, features or targets.
        TypeError
            `other` is no GramAccumulator.
        """
        if not isinstance(other, GramAccumulator):
            raise TypeError(f"other must be a GramAccumulator, got {type(other).__name__}.")
        if other.fit_intercept != self.fit_intercept:
            raise ValueError(
                f"fit_intercept is {self.fit_intercept} here and {other.fit_intercept} in other: sums about the means "
                f"and sums about zero cannot be added."
            )
        if other._sums is None:
            return self
        self._check(len(other._sums.gram), len(other._sums.squares), other._is_single, "other", "other")
        return self._take(other._sums, other._is_single, other._dtype)

    def _check(self, n_features: int, n_targets: int, is_single: bool, X_name: str, y_name: str) -> None:
        """Raise where new samples have other shapes than those before."""
        if self._sums is None:
            return
        p, m = self._sums.cross.shape
        if n_features != p:
            raise ValueError(f"{X_name} has {n_features} features, but the samples before have {p}.")
        if (n_targets, is_single) != (m, self._is_single):
            new, before = (
                "one 1-D target" if single else f"{count} targets (2-D)"
                for count, single in ((n_targets, is_single), (m, self._is_single))
            )
            raise ValueError(f"{y_name} has {new}, but the samples before have {before}.")

    def _take(self, sums: Sums, is_single: bool, dtype: np.dtype) -> GramAccumulator:
        """Add sums that fit; nothing changes before all of it is computed."""
        total = sums if self._sums is None else self._sums.added(sums)
        self._sums, self._spectrum = total, None
        self._is_single, self._dtype = is_single, np.promote_types(self._dtype, dtype)
        return self

    def path(self, lam: Any, xi: Any, n_steps: int | None = None) -> SummedPath:
        """Every student from plain ridge (step 0) to step k, as `Spectrum.path` of all samples.

        Parameters
        ----------
        lam : float or array-like (L,)
            Penalties, at least 0.
        xi : float, array-like (k,) or (Q, k)
            Imitation weights; a scalar needs `n_steps`.
        n_steps : int, optional

        Returns
        -------
        DistillationPath
            Of the samples so far. All but `fitted`, `loo` and `loo_mse`, which need rows.

        Raises
        ------
        ValueError
            No samples yet, none of positive weight, or values as in `Spectrum.path`.

        Notes
        -----
        O(p³ + p² m) once, until more samples come; then O(p) per penalty and step. A training error below 1e-15 of the
        variance of y is not resolved, as it is the difference of two sums.
        """
        penalties, schedules = validation.penalties(lam), validation.schedule(xi, n_steps)
        spectrum = self._decomposed()
        d = spectrum.coordinates.d
        return SummedPath(spectrum, checked_penalties(penalties, float(d[0]) if len(d) else 0.0), schedules)

    def _decomposed(self) -> SummedSpectrum:
        if self._sums is None:
            raise ValueError("No samples yet: call partial_fit(X_block, y_block) first.")
        if self._spectrum is None:
            self._spectrum = SummedSpectrum(self._sums, self._dtype, is_single=self._is_single)
        return self._spectrum

    def loo_mse(
        self, blocks: Iterable[Any], lam: Any, xi: Any, n_steps: int | None = None, progress: Any = False
    ) -> np.ndarray:
        """Exact leave-one-out errors Σ w (y − loo)² / Σ w of every student, from one more pass over the samples.

        Parameters
        ----------
        blocks : iterable of (X, y) or (X, y, sample_weight)
            All samples that were summed, once, in any order and in blocks of any size.
        lam, xi, n_steps
            As in `path`.
        progress : bool or callable
            As in `partial_fit`.

        Returns
        -------
        ndarray (L,)(Q,)(k+1,)[m]
            As ``path.loo_mse`` of a `Spectrum`: each student and all its teachers refitted without the sample.

        Raises
        ------
        ValueError
            As in `partial_fit` and `path`; the number or the weight of the samples is not that of the sums.

        Notes
        -----
        O(n p (p + L Q k)): rows of U = W^½ (X − x̄) V diag(d)^-½ are formed block by block.
        """
        path = self.path(lam, xi, n_steps)
        with reporting(progress, self.n_samples, "rows", "GramAccumulator.loo_mse") as advance:
            return path.mean_left_out(path.left_out(Block(*_samples(block)), advance) for block in blocks)


def _samples(block: Any) -> tuple[Any, Any, Any]:
    """X, y and the weights of a block."""
    if not isinstance(block, tuple | list) or len(block) not in (2, 3):
        raise TypeError(f"blocks must yield (X, y) or (X, y, sample_weight), got {type(block).__name__}.")
    X, y, *weight = block
    return X, y, weight[0] if weight else None
