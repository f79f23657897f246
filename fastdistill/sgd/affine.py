"""Runs of many weights from the runs of two: the squared loss with a fixed teacher.

A step with a linear compressor C::

    x ← C( x − γ ((⟨a_n, x⟩ − (1 − κ) b_n − κ s_n) a_n + l2 x + κ push) )

is affine in x and κ together. Runs that differ in κ alone and start on a line, as from one point, stay on a line::

    x_κ = (1 − τ) x_lo + τ x_hi,     τ = (κ − lo) / (hi − lo)

and so do their velocities and their sums of iterates. A schedule multiplies all weights by one factor, which leaves τ.
Rounding errors of the two runs are averaged, as τ is between 0 and 1; they are small relative to the ends.
Cost: O(p C) per weight and epoch.
"""

from __future__ import annotations

import numpy as np

from fastdistill import kernels

SMALLEST_LINE = 3  # two ends and something between them


def lines(settings: np.ndarray) -> list[np.ndarray]:
    """Configurations of settings (Q, 6) that agree in all but the weight: their numbers, by ascending weight."""
    if len(settings) < SMALLEST_LINE:
        return []
    others = np.delete(settings, kernels.WEIGHT, axis=1)
    _, group = np.unique(others, axis=0, return_inverse=True)
    order = np.lexsort((settings[:, kernels.WEIGHT], group.ravel()))
    found = np.split(order, np.cumsum(np.bincount(group.ravel()))[:-1])
    return [line for line in found if len(line) >= SMALLEST_LINE]


def between(values: np.ndarray, line: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the ends of a line imply for those between them, in float64: values (Q, …), weights (Q,) in all.

    Exact where τ is 0 or 1, and where the ends are equal.
    """
    low, high = values[line[0]].astype(np.float64), values[line[-1]].astype(np.float64)
    length = weights[line[-1]] - weights[line[0]]
    share = (weights[line[1:-1]] - weights[line[0]]) / (length or 1.0)
    share = share.reshape(-1, *[1] * low.ndim)
    return np.where(share < 0.5, low + share * (high - low), high - (1.0 - share) * (high - low))
