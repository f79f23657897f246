"""What every solver returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Solved(NamedTuple):
    """Students of families of penalties lam (P,) and weights xi (P, k), for scaled targets (n, m)."""

    coefficients: np.ndarray  # (P, k+1, width, m): primal beta with fit = X_s beta, or dual a with fit = K_s a
    fits: np.ndarray  # (P, k+1, n, m) scaled fits
    error: np.ndarray | None = None  # (P, k+1, m) estimated relative error of the fits; None where exact to rounding
    misfits: np.ndarray | None = None  # (P, k+1, m) ‖y_s − fit‖², where they come by the way
