"""Two models on the same samples: paired differences of their squared errors, and folds for refitting both.

With the squared errors e² of the plain model and e'² of the student, summed over targets::

    gain            Σ w (e² − e'²) / Σ w e²                                    1 would remove all of the error
    standard error  sqrt(n / (n − 1) Σ w² (Δ − Δ̄)²) / Σ w e²,  Δ = e² − e'²    of the paired differences

Leave-one-out errors are exact for a student whose weights were tuned: it and its teachers are refitted without the
sample, with weights and penalty held fixed. A student that was chosen as the one closest to a filter f is judged by
that filter, held fixed in the linear smoother H = U f Uᵀ (+ 1 w̄ᵀ): e' = (y − ŷ) / (1 − h). (Its weights are large, and
give f at the eigenvalues of all samples only. Held fixed without a sample, they showed a gain of −38 % on 300 samples
with the signal in one of 100 directions; f showed +24 %, and new samples 17 %.)

Rows that nearly repeat each other stay in one fold: one in a training part and the other in the held-out part would
favour a model that memorises.

Cost: O(n r k) for leave-one-out, O(n r) for folds; no refit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.spectral.leave_one_out import leverages
from fastdistill.spectral.path import FilteredStudents

# Rows nearer to each other than this share of the root mean square row are treated as repetitions of one sample.
SAME_ROW = 1e-2
# How many samples of neighbouring fits a row is compared with: near rows have near fits.
NEIGHBOURS = 20


def relative_gain(plain: np.ndarray, student: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Share of the plain model's squared errors (n,) that the student removes, and its standard error."""
    total, _ = mean_and_error(plain, weight)
    gain, error = mean_and_error(plain - student, weight)
    return (gain / total, error / total) if total else (0.0, 0.0)


def mean_and_error(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted mean of one value per sample (n,), without NaN, and its standard error; (0, inf) of fewer than two."""
    used = ~np.isnan(values) & (weight > 0)
    count = np.count_nonzero(used)
    if count < 2:
        return 0.0, np.inf
    share = weight[used] / weight[used].sum()
    unit = float(np.abs(values[used]).max()) or 1.0  # squares of extreme values would leave float64
    scaled = values[used] / unit
    mean = float(share @ scaled)
    return mean * unit, float(np.linalg.norm(share * (scaled - mean)) * np.sqrt(count / (count - 1))) * unit


def squares(residual: np.ndarray) -> np.ndarray:
    """Squared residuals (n,) of (n,) or (n, m), summed over targets."""
    return np.square(residual, dtype=np.float64).reshape(len(residual), -1).sum(axis=1)


def squared_errors(path: Any, y: np.ndarray, *, fixed_filter: bool) -> np.ndarray:
    """Squared leave-one-out residuals (n,) of the last student of a path, summed over targets.

    With `fixed_filter` its filter is held fixed, otherwise its penalty and weights.
    """
    if not (fixed_filter or isinstance(path, FilteredStudents)):
        return squares(y - path.loo[-1])
    leverage = leverages(path.spectrum.coordinates, path.filters[-1].astype(np.float64, copy=False))
    residual = y - path.fitted[-1]
    # a sample that alone fixes a direction is fitted exactly; there is nothing to divide
    one_minus_leverage = np.where(leverage < 1.0, 1.0 - leverage, 1.0)
    return squares(residual / one_minus_leverage.reshape(-1, *(1,) * (residual.ndim - 1)))


def grouped_folds(rows: np.ndarray, fits: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold (n,) of each sample, from rows (n, r), the samples in any coordinates, and their centred fits (n, m).

    Samples go to the folds in turn, ordered by the size of their fits, so that neither the order of the rows nor the
    sign of y matters. Rows that nearly repeat each other go to one fold.
    """
    order = np.argsort(np.linalg.norm(fits, axis=1), kind="stable")
    near = np.square(SAME_ROW) * np.square(rows).sum(axis=1).mean()
    label, leaders = np.empty(len(rows), dtype=np.intp), np.empty(len(rows), dtype=np.intp)
    count = 0
    for i in order:
        recent = leaders[max(0, count - NEIGHBOURS) : count]
        distances = np.square(rows[recent] - rows[i]).sum(axis=1)
        same = np.flatnonzero(distances <= near)
        if len(same):
            label[i] = label[recent[same[-1]]]
        else:
            label[i], leaders[count] = count, i
            count += 1
    return label % n_folds
