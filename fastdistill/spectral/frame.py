"""The frame of a problem: sample weights and the intercept, by which samples and targets are centred and scaled.

Weighted ridge with an unpenalised intercept is plain ridge on centred samples and targets, with rows scaled by sqrt(w).
With weights W = diag(w) and w̄ = w / Σw::

    targets   y_s = W^½ (y − 1 ȳ),  ȳ = w̄ᵀ y            fits   ŷ = ȳ + W^-½ ŷ_s

Without an intercept ȳ = 0; without weights W is the identity. Solvers and decompositions see the scaled problem only.

Cost: O(n m) for m targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.base import validation

# Samples with a weight below this fraction of the largest are `Frame.light`.
LIGHT_ROW = 1e-8


@dataclass(frozen=True, eq=False)
class Targets:
    """Centred and scaled targets.

    Where float64 cannot hold the squares of y, all values are divided by `unit`, a power of two (1 otherwise). Students
    are linear in y, and every result is multiplied by it at the end.

    Attributes
    ----------
    mean : ndarray (m,)
        ȳ, zero without an intercept.
    scaled : ndarray (n, m)
        y_s = W^½ (y − ȳ).
    unit : float
    largest : float
        The largest absolute entry of y, divided by `unit`.
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


def check_target_sizes(sizes: np.ndarray, unit: float) -> None:
    """Raise where a target is too large or too small beside the others: `sizes` (m,) are the largest entries / unit."""
    extreme = (sizes > validation.LARGEST) | ((sizes < 1.0 / validation.LARGEST) & (sizes > 0.0))
    for j in np.flatnonzero(extreme) if len(sizes) > 1 else ():
        which = f"Target {j} of y" + (f", in units of {unit:.3g}," if unit != 1.0 else "")
        validation.sized(sizes[j : j + 1], which)


class Frame:
    """Weights and intercept of n samples.

    Attributes
    ----------
    n_samples : int
    weight, root, inverse_root : ndarray (n,) or None
        w, sqrt(w) and 1 / sqrt(w), 0 at zero weight; None where all are 1.
    fit_intercept : bool
    n_effective : int
        Samples of positive weight.
    degrees : int
        Degrees of freedom of centred targets: `n_effective`, less one for an intercept.
    total_weight : float
        Σ w.
    is_masked : bool
        Whether the light rows are those of zero weight, so that they move no fit at all.
    light : ndarray of int
        Samples whose weight is 0, or next to nothing beside the largest. They are predicted as queries are, since
        W^-½ U would amplify rounding errors.
    """

    def __init__(self, n_samples: int, weight: np.ndarray | None, fit_intercept: bool) -> None:
        self.n_samples, self.weight, self.fit_intercept = n_samples, weight, fit_intercept
        self.root: np.ndarray | None = None
        self.inverse_root: np.ndarray | None = None
        self.light = np.empty(0, dtype=np.intp)
        self.n_effective, self.total_weight = n_samples, float(n_samples)
        if weight is not None:
            self.root = np.sqrt(weight)
            self.light = np.flatnonzero(weight < LIGHT_ROW * weight.max())
            self.n_effective, self.total_weight = int(np.count_nonzero(weight)), float(weight.sum())
            self.inverse_root = np.divide(1.0, self.root, out=np.zeros_like(weight), where=weight > 0)
        self.degrees = self.n_effective - fit_intercept
        self.is_masked = len(self.light) == n_samples - self.n_effective

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
        m = values.shape[1]
        if m > 1:
            sizes = np.maximum(values.max(axis=0), -values.min(axis=0))
            check_target_sizes(sizes, unit)
            largest = float(sizes.max())
        else:
            largest = max(float(np.maximum.reduce(values, axis=None)), -float(np.minimum.reduce(values, axis=None)))
        mean = np.zeros(m)
        if self.fit_intercept:
            mean = values.mean(axis=0) if self.weight is None else np.average(values, axis=0, weights=self.weight)
        scaled = values - mean if self.fit_intercept else values.copy()
        if self.weight is not None and self.root is not None:
            if self.fit_intercept:  # once more: a heavy sample needs a mean exact beyond its last digit
                scaled -= self.weight / self.total_weight @ scaled
            scaled *= self.root[:, None]
        return Targets(mean, scaled, unit, largest, is_single)

    def unscaled(self, scaled: np.ndarray, index: slice = slice(None)) -> np.ndarray:
        """W^-½ times rows `index` of scaled values (n, c); zero at zero weight."""
        return scaled if self.inverse_root is None else scaled * self.inverse_root[index, None]
