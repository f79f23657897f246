"""How much single samples move a student: leverages, studentised residuals, Cook's distances, leave-one-out deviations.

With the smoother S_t = U f_t Uᵀ of student t in the scaled problem (an intercept adds its direction), leverages
h_i = [S_t]_ii, scaled residuals e = W^½ (y − ŷ), and σ² = ‖e‖² / (n − dof)::

    internally studentised     r_i = e_i / (σ (1 − h_i)^½)
    externally studentised     r_i ((n − dof − 1) / (n − dof − r_i²))^½
    Cook's distance            D_i = Σ_j w_j (ŷ_j − ŷ_j without i)² / (dof σ²) = ‖Σ_s δ_s G_{t,s} E_i‖² / (dof σ²)
    leave-one-out variance     noise / (w_i (1 − h_i)),  h of student 0

Dropping sample i moves its target at step s by δ_s (see `fastdistill.spectral.leave_one_out`), and the fit of step t by
Σ_s δ_s G_{t,s} E_i = Σ_s c_s S_0^(t−s+1) E_i, with c_s = δ_s Π_{s<r≤t} ξ_r. So Cook's distances are exact, teachers
refitted too, from the diagonals of S_0², …, S_0^(2t+2). Those of least squares are r_i² h_i / ((1 − h_i) p).

The leave-one-out variance is that of the Gaussian process for the target y_i given all other targets (Rasmussen and
Williams 2006, section 5.4.2), noise / [λ (K + λ W⁻¹)⁻¹]_ii; with the σ² of student 0 for the noise, (y_i − loo_i)
divided by the deviation is r_i of student 0.

Source: R. D. Cook, "Detection of influential observation in linear regression", Technometrics 19 (1977). For
distilled students none of the four papers has them.

Cost: O(n r) for each student; Cook's distances as much for each penalty and 2 k + 2 powers, and O(n k³).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.leave_one_out import leave_one_out_blocks


@dataclass(frozen=True, eq=False)
class Influence:
    """Influence of single samples on every student; see `DistillationPath.influence`.

    Attributes
    ----------
    leverages : ndarray (..., n)
        h_i, the derivative of a fit by its own target. Their sum is `dof`.
    noise : ndarray (...[, m])
        σ², the variance of the noise of y estimated from the residuals (that of sample i divided by its weight).
    internally_studentised, externally_studentised : ndarray (..., n[, m])
        Residuals divided by their standard deviation, σ² estimated with and without the sample.
    cooks_distances : ndarray (..., n[, m])
        D_i, squared distance by which all fits move without the sample, over dof σ².
    """

    leverages: np.ndarray
    noise: np.ndarray
    internally_studentised: np.ndarray
    externally_studentised: np.ndarray
    cooks_distances: np.ndarray


def studentised(
    residuals: np.ndarray, share: np.ndarray, noise: np.ndarray, degrees_left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Internally and externally studentised residuals (students, n, m).

    From scaled residuals (students, n, m), the `share` 1 − h (students, n), σ² (students, m) and n − dof (students, 1).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        internal = residuals / np.sqrt(share[:, :, None] * noise[:, None])
        left = degrees_left[:, None]
        return internal, internal * np.sqrt((left - 1.0) / (left - np.square(internal)))


def movements(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """Σ_j w_j (ŷ_j − ŷ_j without i)² (P, k+1, n, m) of families of students, of lam (P,) and xi (P, k)."""
    n, m, steps = coordinates.frame.n_samples, rotated.z.shape[1], xi.shape[1] + 1
    out = np.empty((len(lam), steps, n, m))
    kernels = compiled_kernels()
    powers = np.empty((2 * steps, coordinates.rank))
    for family, rows, loo in leave_one_out_blocks(coordinates, rotated, lam, xi):
        kernels.filter_powers(coordinates.d, lam[family], powers)
        # [S_0^(j+1)]_ii, also of the intercept's direction
        squared = np.square(coordinates.row_block(rows.index.start, rows.index.stop))
        diagonals = squared @ powers.T + coordinates.frame.intercept_share[rows.index, None]
        root = np.sqrt(rows.weight)[:, None]
        for step, changes in enumerate(target_changes(root * loo, root * rows.y, xi[family])):
            ages = step - np.arange(step + 1)
            pairs = diagonals[:, np.add.outer(ages, ages) + 1]
            out[family, step, rows.index] = np.einsum("aim,bim,iab->im", changes, changes, pairs)
    return out


def target_changes(loo: np.ndarray, y: np.ndarray, xi: np.ndarray) -> list[np.ndarray]:
    """c_s = δ_s Π_{s<r≤t} ξ_r (t+1, n, m), for every t = 0..k, from leave-one-out predictions (k+1, n, m) and y (n, m).

    The fit of step t without sample i is that of all samples plus Σ_s c_s S_0^(t−s+1) E_i.
    """
    changes = [(loo[0] - y)[None]]
    for step, weight in enumerate(xi, 1):
        change = loo[step] - (1.0 - weight) * y - weight * loo[step - 1]
        changes.append(np.concatenate([weight * changes[-1], change[None]]))
    return changes
