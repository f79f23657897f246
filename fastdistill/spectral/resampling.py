"""Students without some of their samples: folds left out, and the influence of each sample.

What `path.cv`, `path.cv_mse`, `path.loo_std` and `path.influence` compute is in `fastdistill.spectral.folds` and
`fastdistill.spectral.influence`; here are their axes, units and refusals.

Cost: that of these two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.folds import LeftOut, checked_splits
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.influence import Influence, movements, studentised
from fastdistill.spectral.leave_one_out import complements, leverage_complements, leverages
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.refits import part_of
from fastdistill.spectral.students import BLOCK_ENTRIES, Students


class Resampled(Students):
    """Students of P families, each of one penalty and one schedule.

    Attributes
    ----------
    family_penalties : ndarray (P, k+1)
        The penalty of each student; one value per family.
    family_weights : ndarray (P, k)
        Imitation weights.
    """

    family_penalties: np.ndarray
    family_weights: np.ndarray

    def _of_part(self, part: Decomposed, targets: Targets, families_used: np.ndarray) -> Students:
        """The same students of another problem, of some families (P,)."""
        raise TypeError("Resampled is a base class; use Spectrum.path or .limit.")

    def loo_std(self, noise: Any = None) -> np.ndarray:
        """Leave-one-out predictive standard deviations (..., n[, m]): sqrt(noise / (w_i (1 − h_i))).

        The deviation of the target y_i, noise included, given all other samples, under the Gaussian process of
        `predict_std`; h_i are the leverages of plain ridge. As in `predict_std` it is the same at every step, for every
        ξ. (y − loo) / loo_std are standardised residuals: those of plain ridge are near a standard normal
        distribution where the model is right.

        Parameters
        ----------
        noise : float or array-like (m,), optional
            Variance of the noise of y (for each target), that of sample i divided by its weight. None estimates it by
            that of plain ridge of each penalty, Σ w residual² / (n − dof).

        Returns
        -------
        ndarray (..., n[, m])
            Infinite at zero weight, and without a penalty where only the sample itself reaches a direction.

        Raises
        ------
        ValueError
            `noise` negative, not finite, or of a wrong length; a solver without eigenvectors was named.

        Notes
        -----
        ``loo_std(noise=lam)`` is what ``predict_std`` of a model without the sample gives at the sample, with λ / w_i
        added to its square. See `fastdistill.spectral.influence`. Cost: O(n r) per penalty.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_kernel([[1.0, 0.5], [0.5, 1.0]])
        >>> S.path([1.0, 2.0], lam=0.25, xi=[]).loo_std(noise=0.25)
        array([[1.02469508, 1.02469508]])
        """
        frame, penalties = self.spectrum.frame, self.family_penalties[:, 0]
        remainders = complements(self.spectrum.coordinates.d, penalties)
        remainders[penalties == 0.0] = 0.0
        share = leverage_complements(self.spectrum.coordinates, self.rotated, remainders)
        steps = self.family_penalties.shape[1]
        given = self._noise()[::steps] if noise is None else self._noise_variance(noise) / self.targets.unit**2
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = given[..., None, :] / (frame.each_weight * share)[:, :, None]
        return self._result(np.repeat(np.sqrt(variance), steps, axis=0), "standard deviations", power=1)

    def influence(self) -> Influence:
        """How much every sample moves every student: leverages, studentised residuals, Cook's distances.

        With the smoother S of a student, h_i = S_ii, residuals e = W^½ (y − ŷ) and σ² = ‖e‖² / (n − dof)::

            r_i = e_i / (σ (1 − h_i)^½)                                          internally studentised
            t_i = r_i ((n − dof − 1) / (n − dof − r_i²))^½                        externally studentised
            D_i = Σ_j w_j (ŷ_j − ŷ_j without i)² / (dof σ²)                      Cook's distance

        Returns
        -------
        Influence
            `leverages` (..., n), `noise` (...[, m]); `internally_studentised`, `externally_studentised` and
            `cooks_distances` (..., n[, m]). NaN where h_i exceeds 1, as it can for ξ outside [0, 1], or nothing is
            left of n − dof.

        Raises
        ------
        ValueError
            A solver without eigenvectors was named.

        Notes
        -----
        For least squares (λ → 0) these are the textbook's. For other students D_i is exact too: student and teachers
        are refitted without the sample, by the formula of leave-one-out. r_i and t_i take σ² (1 − h_i) for the variance
        of a residual, as usual for smoothers; r_i of plain ridge is (y_i − loo_i) / loo_std_i. A sample of zero weight
        has influence 0. See `fastdistill.spectral.influence` (Cook 1977).

        Cost: O(n r) per student, and for 2 k + 2 powers of the smoother of each penalty.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[0.0], [1.0], [2.0], [9.0]], fit_intercept=True)
        >>> S.path([0.0, 1.0, 2.0, 5.0], lam=1e-9, xi=[]).influence().cooks_distances.round(2)
        array([[ 0.53,  0.  ,  0.29, 32.33]])
        """
        coordinates, frame, kernels = self.spectrum.coordinates, self.spectrum.frame, compiled_kernels()
        filters = self.spectral_multipliers(kernels.FILTER, 0, self.n_students)[:, 0]
        residual_filters, degrees_left = self.complements(0, self.n_students)
        share = leverage_complements(coordinates, self.rotated, residual_filters[:, 0])
        noise = self._noise()
        residuals = np.stack([self._scaled_residuals(f) for f in residual_filters[:, 0]])
        internal, external = studentised(residuals, share, noise, degrees_left)
        moved = movements(coordinates, self.rotated, self.family_penalties[:, 0], self.family_weights)
        dof = filters.sum(axis=1) + frame.fit_intercept
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = moved.reshape(internal.shape) / (dof[:, None] * noise)[:, None]
        own = np.stack([leverages(coordinates, f) for f in filters])
        return Influence(
            self._result(own[:, :, None], "leverages", per_target=False),
            self._result(noise, "variances", power=2),
            self._result(internal, "studentised residuals"),
            self._result(external, "studentised residuals"),
            self._result(distances, "Cook's distances"),
        )

    def _scaled_residuals(self, residual_filter: np.ndarray) -> np.ndarray:
        """W^½ (y − ŷ) (n, m) of the student with this 1 − f, without a subtraction."""
        coordinates, n = self.spectrum.coordinates, self.spectrum.frame.n_samples
        out, filtered = self.rotated.outside_part.copy(), residual_filter[:, None] * self.rotated.z
        height = max(1, BLOCK_ENTRIES // max(1, coordinates.rank))
        for start in range(0, n, height):
            out[start : start + height] += coordinates.row_block(start, min(start + height, n)) @ filtered
        return out

    def _noise(self) -> np.ndarray:
        """Σ w residual² / (n − dof) (students, m), in the units of the targets here; NaN where nothing is left."""
        root, left = self._residuals
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.square(root) * self.spectrum.frame.total_weight / np.where(left > 0, left, np.nan)

    def cv(self, splits: Any) -> np.ndarray:
        """Exact predictions (..., n[, m]) for each fold by students, teachers too, that are refitted without it.

        Parameters
        ----------
        splits : int, splitter or iterable
            A number of folds of neighbouring samples; an object with ``split(X, y)`` as scikit-learn's, which is given
            columns of zeros for X; or pairs (train, test) of index arrays or masks, as of ``GroupKFold().split(X, y,
            groups)``, for splitters that need X, groups or classes.

        Returns
        -------
        ndarray (..., n[, m])
            NaN for samples in no test part, and where nothing is left to fit. Axes as of `loo`.

        Raises
        ------
        ValueError
            A sample is in several test parts (repeated folds: use `cv_mse`), an index is out of range, no folds, or a
            solver without eigenvectors was named.
        TypeError
            `splits` is nothing of this kind.

        Notes
        -----
        For the samples B that a fold leaves out δ = (I − H_BB)⁻¹ ([H u]_B − u_B) at each step, with the smoother H of
        all samples and the step's targets u; the prediction is u_B + δ. See `fastdistill.spectral.folds`. B need not
        be the test part: it is every sample outside `train`, as for time-ordered splits. Nothing is refitted, except
        for folds for which that is cheaper (B most of the samples), or the only exact way (without B a direction is not
        seen at all, and the penalty is next to nothing); samples in both parts of a split, and samples that are several
        times in `train`, are refitted too.

        Cost: about 20 |B|² r + L |B|³ / 3 for each fold and L penalties, or O(|B| r² + L r³) if that is less.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[1.0], [1.0], [2.0], [2.0]])
        >>> S.path([1.0, 2.0, 3.0, 4.0], lam=1.0, xi=1.0, n_steps=1).cv(2)
        array([[1.55555556, 1.55555556, 2.        , 2.        ],
               [1.38271605, 1.38271605, 1.33333333, 1.33333333]])
        """
        n, m = self.spectrum.frame.n_samples, self.targets.count
        predictions = np.full((self.n_students, n, m), np.nan)
        pairs = self._splits(splits)
        tested = np.bincount(np.concatenate([test for _, test in pairs]), minlength=n)
        if tested.max() > 1:
            raise ValueError(
                f"splits holds sample {int(tested.argmax())} in several test parts, so that it has no single "
                f"prediction: use folds that do not overlap, or cv_mse, which pools repeated folds."
            )
        for test, block in self.held_out(pairs):
            predictions[:, test] = block.reshape(self.n_students, len(test), m) + self.targets.mean
        return self._result(predictions, "held-out predictions", power=1)

    def cv_mse(self, splits: Any) -> np.ndarray:
        """Cross-validated error Σ w (y − cv)² / Σ w, (...[, m]), over the samples of all test parts; as `cv`.

        Test parts may overlap, as those of repeated folds: their errors are pooled.
        """
        frame, y = self.spectrum.frame, self.spectrum.frame.unscaled(self.targets.scaled)
        squares, total = np.zeros((self.n_students, self.targets.count)), 0.0
        for test, block in self.held_out(splits):
            weight = frame.each_weight[test]
            used = weight > 0  # targets of zero weight are not kept
            error = block.reshape(self.n_students, len(test), -1)[:, used] - y[test[used]]
            squares += np.einsum("sqm,sqm,q->sm", error, error, weight[used])
            total += float(weight.sum())
        if not total:
            raise ValueError("splits gives no held-out sample of positive weight; use other splits.")
        return self._result(squares / total, "mean squared errors", power=2)

    def _splits(self, splits: Any, name: str = "splits") -> list[tuple[np.ndarray, np.ndarray]]:
        """Checked pairs of index arrays."""
        y = self.spectrum.frame.unscaled(self.targets.scaled) + self.targets.mean
        return checked_splits(splits, y[:, 0] if self.targets.is_single else y, name)

    def held_out(self, splits: Any, name: str = "splits") -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each test part of `splits` and the predictions (P, k+1, q, m) for it without the fold, centred.

        They are what `cv` returns, less `targets.mean` and divided by `targets.unit`; test parts may overlap. `name` is
        that of `splits` in errors.
        """
        left_out = LeftOut(self.spectrum.coordinates, self.rotated, self.family_penalties[:, 0], self.family_weights)
        for train, test in self._splits(splits, name):
            predictions, trusted = left_out.predictions(train, test)
            if not trusted.all():
                predictions[~trusted] = self._refitted(train, test, ~trusted)
            yield test, predictions

    def _refitted(self, train: np.ndarray, test: np.ndarray, families_used: np.ndarray) -> np.ndarray | float:
        """Centred predictions (families, k+1, q, m) by refits on `train`; NaN where nothing is left to fit."""
        found = part_of(self.spectrum, train, test)
        if found is None:
            return np.nan
        part, queries = found
        targets = part.frame.targets(self.spectrum.frame.unscaled(self.targets.scaled)[train])
        students = self._of_part(part, targets, families_used)
        predictions = (students.query_map(queries)(0, students.n_students) + targets.mean) * targets.unit
        return predictions.reshape(np.count_nonzero(families_used), -1, *predictions.shape[1:])

    def _noise_variance(self, noise: Any) -> np.ndarray:
        """A variance for each target (m,)."""
        variance = validation.real_array(noise, "noise", ndim=(0, 1))
        if variance.ndim == 1 and len(variance) != self.targets.count:
            raise ValueError(f"noise has {len(variance)} entries, but there are {self.targets.count} targets.")
        if variance.min(initial=0.0) < 0:
            raise ValueError(f"noise must be at least 0, the variance of the targets' noise, got {variance.min():.6g}.")
        return np.broadcast_to(variance, self.targets.count)
