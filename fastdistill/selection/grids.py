"""Grids of penalties spaced in effective degrees of freedom, so that nobody has to guess one.

Ridge of penalty λ has t(λ) = Σ_j d_j / (d_j + λ) degrees of freedom, the intercept not counted, between 0 and the rank
r. The grid has equal steps of::

    log(t / r) − c log(1 − t / r),      c = 1 / 4

from one per cent of the rank, or t = 0.1 where that is less, to all but 1e-5 of it: nearly equal ratios of t, and
towards the rank, where only penalties far below all d remain, larger ones of what is missing. The penalties of c d are
c times those of d: X may have any unit. Penalties of a kernel end where rounding of K would hide what they keep.

Measured on 64 cells (32 real tables, n = 60 and 150), against the best of 600 penalties: mean excess of the
leave-one-out error of the choice, and of its test error.

======================  ================  ================  ========================
grid of 40 penalties    linear            RBF               linear, X in other units
======================  ================  ================  ========================
logspace(-4, 5)         0.07 %, 0.5 %     0.08 %, 0.1 %     22 %, 22 % (1000 X)
c = 1                   0.11 %, 0.5 %     0.20 %, 0.2 %     the same as linear
**c = 1 / 4**           0.10 %, 0.6 %     0.11 %, −0.1 %    the same as linear
c = 0.1                 0.09 %, −0.0 %    0.08 %, −0.1 %    the same as linear
======================  ================  ================  ========================

c = 0 would end too early where few directions carry a signal far above the noise, which wants a t next to the rank.

The level falls with log λ. `KNOTS` values between d_min and d_max times the odds of the ends bracket each λ; then
Newton steps, and bisection where one leaves the bracket, and at every fourth.

Cost: O(L r) per step, of which 3 to 5 are needed: 40 penalties of 1000 eigenvalues take 8 ms, of 5000 23 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.protocol import Decomposed

DOF = "dof"
COUNT = 40  # penalties
KNOTS = 64
FEWEST, FEWEST_SHARE = 0.1, 0.01  # degrees of freedom, in all and as a share of the rank, at the largest penalty
FINENESS = 0.25  # c
LEFT = 1e-5  # share of the rank that the smallest penalty leaves
CLOSE = 1e-10  # in levels
MOST_STEPS = 200


def is_dof(given: Any, name: str) -> bool:
    """Whether the penalties `given` are the word "dof"; raises for any other word."""
    if not isinstance(given, str):
        return False
    if given != DOF:
        raise TypeError(f'{name} must hold real numbers, or be "dof", got {validation.shown(given)}.')
    return True


def penalties_of(spectrum: Decomposed, count: int = COUNT) -> np.ndarray:
    """`dof_penalties` of a spectrum, ascending (L,)."""
    coordinates = spectrum.coordinates
    return dof_penalties(coordinates.d, count, coordinates.noise)


def dof_penalties(d: np.ndarray, count: int = COUNT, smallest: float = 0.0) -> np.ndarray:
    """Penalties (count,), ascending, with equal steps of log(t / r) − c log(1 − t / r), t = Σ d / (d + λ).

    Parameters
    ----------
    d : ndarray (r,)
        Eigenvalues. Those of an indefinite kernel below 0 are left out; without positive ones the grid is
        ``logspace(-4, 5, count)``, of which every penalty gives the same fit.
    count : int
    smallest : float
        No penalty is below it; of d at least half should be above.
    """
    if not (d > 0).any():
        return np.logspace(-4, 5, count)
    unit = float(d.max())
    d = d[d > 0] / unit
    fewest = min(FEWEST / len(d), FEWEST_SHARE)
    ends = np.array([d.min() * LEFT / (1.0 - LEFT), d.max() * (1.0 - fewest) / fewest])
    low, high = _level(np.array([fewest, 1.0 - LEFT]), np.array([1.0 - fewest, LEFT]))
    if smallest:
        ends[0] = max(ends[0], smallest / unit)
        high = min(high, float(_level_and_slope(d, np.log(ends[:1]))[0][0]))
    levels = np.linspace(high, low, count)
    return np.exp(_at_levels(d, levels, np.log(ends))) * unit


def _at_levels(d: np.ndarray, levels: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """log λ (L,), within its `ends`, of these levels (L,), for positive d (r,)."""
    knots = np.linspace(ends[1], ends[0], KNOTS)
    values = _level_and_slope(d, knots)[0]
    after = np.clip(np.searchsorted(values, levels), 1, KNOTS - 1)
    low, high, at = knots[after], knots[after - 1], np.interp(levels, values, knots)
    for step in range(MOST_STEPS):
        value, slope = _level_and_slope(d, at)
        error = value - levels
        if np.abs(error).max() <= CLOSE:
            break
        low, high = np.where(error > 0, at, low), np.where(error > 0, high, at)
        newton = at + error / slope
        inside = (newton > low) & (newton < high) & (step % 4 < 3)
        at = np.where(np.abs(error) <= CLOSE, at, np.where(inside, newton, (low + high) / 2))
    return at


def _level(kept: np.ndarray, left: np.ndarray) -> np.ndarray:
    """log(t / r) − c log(1 − t / r) from both shares, which add up to 1."""
    return np.log(kept) - FINENESS * np.log(left)


def _level_and_slope(d: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The level and minus its derivative in log λ, at log λ = `at` (L,); both shares are summed, not subtracted."""
    penalties = np.exp(at)[:, None]
    kept, left = d / (d + penalties), penalties / (d + penalties)
    share, rest = kept.mean(axis=1), left.mean(axis=1)
    spread = np.einsum("lj,lj->l", kept, left) / len(d)
    return _level(share, rest), np.maximum(spread * (1.0 / share + FINENESS / rest), np.finfo(np.float64).tiny)
