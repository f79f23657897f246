"""Prediction intervals of a student: jackknife+ from its exact leave-one-out fits.

With the fit f_{−i} of student and teachers without sample i, residuals R_i = |y_i − f_{−i}(x_i)| and α = 1 − level::

    lower(x) = the ⌊α (n + 1)⌋-th smallest of f_{−i}(x) − R_i
    upper(x) = the ⌈(1 − α) (n + 1)⌉-th smallest of f_{−i}(x) + R_i

For exchangeable samples [lower, upper] holds a new target with a probability of at least 1 − 2 α, and in practice about
1 − α, whatever the model and the noise. No fit is computed anew: dropping sample i moves its targets by δ_s (see
`fastdistill.spectral.leave_one_out`), and with c_s = δ_s Π_{s<r≤t} ξ_r and the coordinates Q of a query x::

    f_{−i}(x) = f(x) + Σ_s c_{s,i} ( Q (a^(t−s+1) / d^½) U_iᵀ + w_i^½ / Σ w )

with d instead of d^½ for a kernel, and the last term for an intercept only. A student that is given by its filter f
keeps it without the sample: c = −e_i / (1 − h_i).

Source: R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive inference with the jackknife+", Annals
of Statistics 49 (2021). None of the four papers has intervals.

Cost: O(n r) for each step, then O(n q r) for each step and O(n q m) for q queries, in blocks of queries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdistill.spectral.compiled import DUAL, FILTER, PRIMAL, RESIDUAL
from fastdistill.spectral.influence import target_changes
from fastdistill.spectral.leave_one_out import leave_one_out_blocks, leverage_complements
from fastdistill.spectral.path import DistillationPath, FilteredStudents
from fastdistill.spectral.queries import KernelQueries

BLOCK_ENTRIES = 2**22  # entries of the working arrays (32 MiB); a quarter of it took twice as long at n = 100 000
ROUNDING = 1e-9  # of α (n + 1), so that 0.1 · 20 is 2


class Jackknife:
    """Leave-one-out fits of the last of some students, of one penalty and one schedule or of a given filter.

    Attributes
    ----------
    students : DistillationPath or FilteredStudents
    """

    def __init__(self, students: DistillationPath | FilteredStudents) -> None:
        self.students = students
        spectrum = students.spectrum
        coordinates, frame = spectrum.coordinates, spectrum.frame
        self._used = np.flatnonzero(frame.each_weight > 0)
        if isinstance(students, FilteredStudents):
            changes, multipliers = self._with_fixed_filter(students)
        else:
            changes, multipliers = self._with_refitted_teachers(students)
        if not np.isfinite(changes).all():
            raise ValueError(
                "There are no prediction intervals: without one of the samples nothing is left to fit, or only that "
                "sample fixes a direction. Use a larger alpha, or more samples."
            )
        self._changes, self._multipliers = changes, multipliers
        n = frame.n_samples
        self._rows = coordinates.row_block(0, n) if len(self._used) == n else coordinates.rows_at(self._used)
        self._constant = np.sqrt(frame.each_weight[self._used]) / frame.total_weight * frame.fit_intercept
        self._outside_multiplier = 0.0  # of directions whose eigenvalue rounding hides, as in `Rotated.outside_dual`
        if spectrum.is_kernel and not coordinates.is_complete and not isinstance(students, FilteredStudents):
            self._outside_multiplier = float(students.outside_multipliers(0, 1).ravel()[0])

    def _with_refitted_teachers(self, path: DistillationPath) -> tuple[np.ndarray, np.ndarray]:
        """c (k+1, n, m) of the samples of positive weight, and multipliers (k+1, r) of U_i at queries; sets R."""
        coordinates, frame, xi = path.spectrum.coordinates, path.spectrum.frame, path.family_weights
        lam, shape = path.family_penalties[:, 0], (xi.shape[1] + 1, frame.n_samples, path.targets.count)
        loo, y = np.empty(shape), np.empty(shape[1:])
        for _, rows, block in leave_one_out_blocks(coordinates, path.rotated, lam, xi):
            loo[:, rows.index], y[rows.index] = block, rows.y
        root = np.sqrt(frame.each_weight[self._used])[:, None]
        loo, y = loo[:, self._used], y[self._used]
        self._residuals = np.abs(y - loo[-1])
        first = path.spectral_multipliers(self._form(path), 0, 1)[0]
        filters = path.spectral_multipliers(FILTER, 0, 1)[0]
        powers = filters ** np.arange(xi.shape[1], -1, -1)[:, None]
        return target_changes(root * loo, root * y, xi[0])[-1], first * powers

    def _with_fixed_filter(self, students: FilteredStudents) -> tuple[np.ndarray, np.ndarray]:
        """As `_with_refitted_teachers`, of one step."""
        coordinates, rotated = students.spectrum.coordinates, students.rotated
        complement = students.spectral_multipliers(RESIDUAL, 1, 2)[0]
        errors = rotated.outside_part[self._used] + coordinates.rows_at(self._used) @ (complement.T * rotated.z)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors /= leverage_complements(coordinates, rotated, complement)[0, self._used, None]
        self._residuals = np.abs(errors) / np.sqrt(students.spectrum.frame.each_weight[self._used])[:, None]
        return -errors[None], students.spectral_multipliers(self._form(students), 1, 2)[0]

    def _form(self, students: DistillationPath | FilteredStudents) -> int:
        return DUAL if students.spectrum.is_kernel else PRIMAL

    def predictions(self, queries: Any) -> np.ndarray:
        """Predictions (q, m) of checked queries by the student of all samples."""
        students, last = self.students, self.students.n_students - 1
        return (students.query_map(queries)(last, last + 1)[0] + students.targets.mean) * students.targets.unit

    def intervals(self, queries: Any, level: float) -> np.ndarray:
        """Lower and upper ends (q, m, 2) of checked queries; infinite where n is too small for the level."""
        centre, unit = self.predictions(queries), self.students.targets.unit
        q, n, m = len(centre), len(self._used), centre.shape[1]
        rank = int(np.floor((1.0 - level) * (n + 1) + ROUNDING))
        out = np.empty((q, m, 2))
        out[...] = [-np.inf, np.inf]
        height = max(1, BLOCK_ENTRIES // (n * (len(self._changes) + 1)))
        for start in range(0, q if rank else 0, height):
            part = slice(start, min(start + height, q))
            products = self._products(queries[part])
            for j in range(m):
                moved = np.einsum("shn,sn->hn", products, self._changes[:, :, j])
                ends = moved - self._residuals[:, j], moved + self._residuals[:, j]
                for side, place in enumerate((rank - 1, n - rank)):
                    out[part, j, side] = centre[part, j] + unit * np.partition(ends[side], place, axis=1)[:, place]
        return out

    def _products(self, queries: Any) -> np.ndarray:
        """The predictions (k+1, q, n) of what moving the target of each sample by 1, at each step, adds."""
        coordinates = self.students.spectrum.coordinates
        projected = coordinates.project(queries)
        products = np.stack([(projected * row) @ self._rows.T for row in self._multipliers])
        if self._outside_multiplier and isinstance(coordinates.queries, KernelQueries):
            kernel = coordinates.queries.scaled(coordinates.queries.centred(queries)[0])
            outside = kernel[:, self._used] - projected @ self._rows.T
            products[-1] += self._outside_multiplier * outside
        return products + self._constant
