"""The frame of a problem: sample weights, the intercept, and targets centred and scaled alike.

With weights W = diag(w), w̄ = w / Σw, an unpenalised intercept centring by w̄, and rows scaled by sqrt(w)::

    targets   y_s = W^½ (y − 1 ȳ),  ȳ = w̄ᵀ y            fits   ŷ = ȳ + W^-½ ŷ_s

Without an intercept ȳ = 0; without weights W is the identity. Every decomposition sees the scaled problem only.

Cost: O(n m) for m targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.base import validation

# Rows lighter than this fraction of the heaviest are predicted like queries: U / sqrt(w) would amplify rounding.
LIGHT_ROW = 1e-8


@dataclass(frozen=True, eq=False)
class Targets:
    """Centred and scaled targets; plain values.

    Targets whose squares float64 cannot hold are in units of `unit`, a power of two (1 for all others): students are
    linear in y, and every result is multiplied by it at the end.

    Attributes
    ----------
    mean : ndarray (m,)
        ȳ, zero without an intercept.
    scaled : ndarray (n, m)
        y_s = W^½ (y − ȳ).
    unit : float
    largest : float
        The largest absolute entry of y, in units of `unit`.
    is_single : bool
        Whether y had one axis, so that results have no axis of targets.
    """

    mean: np.ndarray
    scaled: np.ndarray
    unit: float
    largest: float
    is_single: bool

    @property
    def count(self) -> int:
        """Number of targets m."""
        return len(self.mean)


class Frame:
    """Weights and intercept of n samples.

    Attributes
    ----------
    n_samples : int
    weight, root : ndarray (n,) or None
        w and sqrt(w); None where all are 1.
    fit_intercept : bool
    n_effective : int
        Samples of positive weight.
    degrees : int
        Degrees of freedom of centred targets: `n_effective`, less one for an intercept.
    total_weight : float
        Σ w.
    light : ndarray of int
        Rows so light that they are predicted as queries are.
    """

    def __init__(self, n_samples: int, weight: np.ndarray | None, fit_intercept: bool) -> None:
        self.n_samples, self.weight, self.fit_intercept = n_samples, weight, fit_intercept
        self.root: np.ndarray | None = None
        self.light = np.empty(0, dtype=np.intp)
        self.n_effective, self.total_weight = n_samples, float(n_samples)
        if weight is not None:
            self.root = np.sqrt(weight)
            self.light = np.flatnonzero(weight < LIGHT_ROW * weight.max())
            self.n_effective, self.total_weight = int(np.count_nonzero(weight)), float(weight.sum())
            self._inverse_root = np.divide(1.0, self.root, out=np.zeros_like(weight), where=weight > 0)
        self.degrees = self.n_effective - fit_intercept

    @property
    def each_weight(self) -> np.ndarray:
        """The weights (n,), all 1 where there are none."""
        return np.ones(self.n_samples) if self.weight is None else self.weight

    @property
    def intercept_share(self) -> np.ndarray:
        """Diagonal (n,) of the intercept's smoother, w / Σw; zero without one."""
        return self.each_weight / self.total_weight * self.fit_intercept

    def targets(self, y: Any) -> Targets:
        """Checked, centred and scaled targets of y (n,) or (n, m)."""
        values, is_single = validation.targets(y, self.n_samples)
        unit = 1.0 if validation.is_ordinary(values, validation.LARGEST_TARGET) else validation.unit_size(values)
        values = values / unit if unit != 1.0 else values
        sizes = np.maximum(values.max(axis=0), -values.min(axis=0))
        extreme = (sizes > validation.LARGEST) | ((sizes < 1.0 / validation.LARGEST) & (sizes > 0.0))
        for j in np.flatnonzero(extreme) if values.shape[1] > 1 else ():
            which = f"Target {j} of y" + (f", in units of {unit:.3g}," if unit != 1.0 else "")
            validation.sized(values[:, j], which)
        mean = np.zeros(values.shape[1])
        if self.fit_intercept:
            mean = np.average(values, axis=0, weights=self.weight)
        scaled = values - mean
        if self.weight is not None and self.root is not None:
            if self.fit_intercept:  # what rounding left of the mean, as of the columns of a design
                scaled -= self.weight / self.total_weight @ scaled
            scaled *= self.root[:, None]
        return Targets(mean, scaled, unit, float(sizes.max(initial=0.0)), is_single)

    def unscaled(self, scaled: np.ndarray, index: slice = slice(None)) -> np.ndarray:
        """W^-½ times rows `index` of scaled values (n, c); zero at zero weight."""
        return scaled if self.weight is None else scaled * self._inverse_root[index, None]
