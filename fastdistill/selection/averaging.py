"""Ridge averaged over the penalties among which the samples do not decide.

Leave-one-out chooses one penalty, and on some hundred samples that choice is little more than a draw: the best single
penalty in hindsight is 7 % better. So the filter is a mean of ridge filters a(λ) = d / (d + λ), each weighted by how
often its penalty would be chosen if the samples were drawn anew::

    E_li      squared leave-one-out residual of sample i under penalty λ_l, times its weight
    dev_l     ν log γ²_l + Σ_j log(1 + d_j / λ_l),  γ²_l = (Σ_j z_j² / (1 + d_j / λ_l) + outside) / ν
              twice the negative log marginal likelihood of a Gaussian signal, the noise variance γ² at its maximum
    g_bi      independent draws of Gamma(1/2) / (1/2), b = 1..200: mean 1, variance 2
    chosen_b  argmin_l  n log Σ_i g_bi E_li + (2 / √n) dev_l
    p_l       share of the draws with chosen_b = l
    F         ¼ a(λ_loo) + ¾ Σ_l p_l a(λ_l)

The draws are a Bayesian bootstrap (Rubin 1981) of the leave-one-out errors, which costs no refit; that their variance
is twice that of sampling was found by trying. The marginal likelihood, which is less noisy but wrong where its model
is, helps where the errors do not tell; it counts less the more samples there are. The quarter of λ_loo is insurance. F
is a filter that distillation reaches too, but what it gains comes from the penalty, not from distillation.

The draws are fixed numbers, one for each of 128 groups of samples: a sum over random groups varies as much as with a
draw for each sample. The group of a sample is a hash of its error at λ_loo, in units of the mean, to 16 binary digits:
so F depends on neither the order of the samples nor a random state, nor on the scale or sign of y. Targets that share a
penalty share p: E is summed over them, dev averaged.

Measured: test error / that of ridge at λ_loo, the 42 real tables × n = 40, 80, 160 and 90 tables not used to choose the
rule (24 and 12 splits linear, 12 and 8 RBF; geometric mean, worst cell less its standard error)::

    rule                                              linear, 116 cells   RBF            others, linear   others, RBF
    marginal likelihood alone                         0.994   1.53        1.000   1.14   0.997   1.24     1.001   2.45
    mean over penalties by marginal likelihood        0.993   1.49        1.002   1.13
    pseudo-likelihood E^(−n/2) instead                1.002   1.05        1.000   1.04
    n log E + dev, one penalty                        0.989   1.05        0.996   1.08
    half of the first mean, half a(λ_loo)             0.990   1.03        0.994   1.02
    draws, no dev                                     0.987   1.003       0.993   1.008
    draws with (1/4) dev, all of F                    0.986   1.008       0.991   1.011
    draws of normal vectors of the same covariance    0.989   1.007       0.993   1.013
    the geometric mean of the penalties chosen        0.989   1.05        0.996   1.02
    F, no further than half a standard error of E     0.992   1.002       0.994   1.006   0.992   1.015    0.990   1.004
    F with ½ instead of ¾                             0.992   1.004       0.994   1.004   0.992   1.011    0.990   1.009
    **F**                                             0.989   1.005       0.992   1.005   0.989   1.023    0.988   1.018

Other seeds move these by 0.0003. The best single penalty in hindsight: 0.927, 0.959, 0.923, 0.944. The worst cells are
panels, whose rows nearly repeat each other, so that leave-one-out is itself far off.

Cost: O(n L) for sums of the errors, and 200 · 128 L multiplications, a target or group of targets; 0.5 ms where n is
2000 and L is 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.coordinates import Rotated
from fastdistill.spectral.leave_one_out import WORTH_COMPILING, ridge_left_out
from fastdistill.spectral.path import DistillationPath

STORED = 2**22  # entries of leave-one-out residuals that are kept for a second use (32 MiB)
DRAWS = 200
SHAPE = 0.5  # of the Gamma draws; their variance is 1 / SHAPE
GROUP_BITS = 7  # 128 groups of samples
DIGITS = 2.0**16  # of an error, in units of the mean
HASH = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio (Knuth): spreads neighbouring integers
LIKELIHOOD = 2.0  # weight of the marginal likelihood times √n
LARGEST = 1e300  # of what dev adds: the rest of an infinite one is then infinite, and not undefined
SHARE_OF_DRAWS = 0.75  # the rest is ridge at the penalty that leave-one-out chooses


@dataclass(frozen=True, eq=False)
class Averages:
    """Means of ridges for g groups of targets: one of all targets, or one of each.

    Attributes
    ----------
    scores : ndarray (L, g)
        Mean squared leave-one-out error of ridge at each penalty, inf where it is not defined.
    shares : ndarray (g, L)
        The weight of each penalty in F; one of them is 1 where there is nothing to average.
    gain : ndarray (g, 2)
        Share of the leave-one-out error of the best single ridge that F removes, and its standard error. That ridge
        was chosen for this error: new samples see more of a gain.
    """

    scores: np.ndarray
    shares: np.ndarray
    gain: np.ndarray

    def mean(self, j: int) -> tuple[np.ndarray, tuple[float, float]] | tuple[()]:
        """The shares (L,) and the gain of group j; nothing where one penalty has all of the weight."""
        if self.shares[j].max() == 1.0:
            return ()
        gain, error = self.gain[j].tolist()
        return self.shares[j], (gain, error)


class LeftOut:
    """Leave-one-out of plain ridge at the penalties of a path, for all its targets together.

    Residuals are stored if they are few, and formed anew for each use otherwise.
    """

    def __init__(self, ridge: DistillationPath) -> None:
        self._ridge, self._merged = ridge, ridge.rotated.merged()
        entries = self._merged.z.shape[1] * len(ridge.lam) * ridge.spectrum.frame.n_samples
        self._stored = list(self._formed()) if entries <= STORED else None
        # of one target the residuals, squared where they are used; of more, squares are added up first
        self._single = self._stored[0] if self._stored is not None and self._merged.z.shape[1] == 1 else None

    def _formed(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """√w (y − loo) (t, L, n), some targets at a time, and the sums of squares (t, L)."""
        for _, residuals, sums in ridge_left_out(self._ridge.spectrum.coordinates, self._merged, self._ridge.lam):
            yield residuals, sums

    def _parts(self) -> Iterator[np.ndarray]:
        for residuals, _ in self._formed() if self._stored is None else self._stored:
            yield residuals

    @cached_property
    def errors(self) -> np.ndarray:
        """E (L, n), summed over targets."""
        return sum((np.einsum("tln,tln->ln", part, part) for part in self._parts()), start=np.zeros(()))

    @cached_property
    def sums(self) -> np.ndarray:
        """Σ_i E (L,)."""
        return self.errors.sum(axis=1) if self._single is None else self._single[1][0]

    @cached_property
    def scores(self) -> np.ndarray:
        """The score (L,) of each penalty: E averaged over targets and samples; inf where it is not defined."""
        return _defined(self.sums / (self._ridge.targets.count * self._ridge.spectrum.frame.total_weight))

    def averages(self) -> Averages:
        """The mean of ridges for all targets together."""
        dev = _deviance(self._ridge, self._ridge.rotated).mean(axis=0, keepdims=True)
        best = np.array([int(self.scores.argmin())])
        of_best = self.errors[best] if self._single is None else np.square(self._single[0][:, best[0]])
        shares = penalty_shares(self.sums[None], of_best, self._sums_of_groups, _samples(self._ridge), dev, best)
        used = np.flatnonzero(shares[0])  # others may be undefined
        means = (np.matmul(shares[0, used], part[:, used]) for part in self._parts())
        averaged = sum((np.einsum("tn,tn->n", mean, mean) for mean in means), start=np.zeros(()))
        return Averages(self.scores[:, None], shares, _gains(of_best, averaged[None], self._ridge))

    def _sums_of_groups(self, group: np.ndarray) -> np.ndarray:
        """Sums (1, L, groups) of E over the groups of samples (1, n)."""
        if self._single is not None and self._single[0].size >= WORTH_COMPILING:
            return _sums_of_groups(self._single[0], group)
        if self.errors.size >= WORTH_COMPILING:
            return _sums_of_groups(np.sqrt(self.errors)[None], group)
        rows = np.arange(len(self.errors))[:, None] << GROUP_BITS
        shape = (1, len(self.errors), 1 << GROUP_BITS)
        return np.bincount((rows + group).ravel(), self.errors.ravel(), math.prod(shape)).reshape(shape)


def averages_of_each(ridge: DistillationPath) -> Averages:
    """The mean of ridges for each target of a path without steps alone."""
    dev, frame = _deviance(ridge, ridge.rotated), ridge.spectrum.frame
    scores, shares, gain = np.empty((len(ridge.lam), ridge.targets.count)), np.empty_like(dev), []
    for targets, residuals, sums in ridge_left_out(ridge.spectrum.coordinates, ridge.rotated, ridge.lam):
        scores[:, targets] = _defined(sums.T / frame.total_weight)
        best = scores[:, targets].argmin(axis=0)
        of_best = np.square(residuals[np.arange(len(best)), best])
        sums_of_groups = partial(_sums_of_groups, residuals)
        shares[targets] = penalty_shares(sums, of_best, sums_of_groups, _samples(ridge), dev[targets], best)
        if not np.isfinite(sums).all():
            residuals[shares[targets] == 0.0] = 0.0
        averaged = np.square(np.einsum("tl,tln->tn", shares[targets], residuals))
        gain.append(_gains(of_best, averaged, ridge))
    return Averages(scores, shares, np.concatenate(gain))


def _defined(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(scores), scores, np.inf)


def _sums_of_groups(residuals: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sums (T, L, groups) of residuals² (T, L, n) over the groups of samples (T, n)."""
    sums = np.empty((*residuals.shape[:2], 1 << GROUP_BITS))
    compiled_kernels().sums_of_groups(residuals, group, sums)
    return sums


def _samples(ridge: DistillationPath) -> int:
    """Number of samples with a weight."""
    return ridge.spectrum.frame.n_effective


def _gains(plain: np.ndarray, averaged: np.ndarray, ridge: DistillationPath) -> np.ndarray:
    """Share of the weighted squared errors (T, n) that averaging removes, and its standard error (T, 2)."""
    frame = ridge.spectrum.frame
    n, difference, total = frame.n_effective, plain - averaged, plain.sum(axis=1)
    mean = difference.sum(axis=1) / frame.total_weight
    spread = np.linalg.norm(difference - mean[:, None] * frame.each_weight, axis=1) * np.sqrt(n / max(1, n - 1))
    sums = np.stack([difference.sum(axis=1), spread], axis=1)
    return np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0)


def _deviance(ridge: DistillationPath, targets: Rotated) -> np.ndarray:
    frame, d = ridge.spectrum.frame, ridge.spectrum.coordinates.d
    outside = np.where(frame.degrees > len(d), targets.outside, 0.0)
    return deviance(d, np.square(targets.z), outside, frame.degrees, ridge.lam)


def deviance(d: np.ndarray, squares: np.ndarray, outside: np.ndarray, n: int, penalties: np.ndarray) -> np.ndarray:
    """dev (m, L): of targets z² (r, m), `outside` (m,), n degrees of freedom; inf where the penalty is zero."""
    with np.errstate(divide="ignore", over="ignore"):
        ratio = 1.0 + d / penalties[:, None]  # (L, r)
        noise = ((squares.T @ (1.0 / ratio).T) + outside[:, None]) / n
        least = 1e-12 * (squares.sum(axis=0) + outside) / n
        noise = np.maximum(noise, np.where(least > 0, least, 1.0)[:, None])
        return n * np.log(noise) + np.log(ratio).sum(axis=1)


def penalty_shares(
    sums: np.ndarray,
    of_best: np.ndarray,
    sums_of_groups: Callable[[np.ndarray], np.ndarray],
    n: int,
    dev: np.ndarray,
    best: np.ndarray,
) -> np.ndarray:
    """The weight of each ridge filter in F, ¼ of `best` and ¾ p (T, L), for T targets or groups of targets.

    Parameters
    ----------
    sums : ndarray (T, L)
        Σ_i E of each target and penalty, not finite where the penalty cannot be used.
    of_best : ndarray (T, samples)
        E of each sample at the penalty that leave-one-out chooses.
    sums_of_groups : callable
        From the number (T, samples) of each sample's group, the sums (T, L, groups) of E over the groups.
    n : int
        Number of samples with a weight.
    dev : ndarray (T, L)
    best : ndarray of int (T,)
        The penalty that leave-one-out chooses.
    """
    n_targets, n_penalties = sums.shape
    each = np.arange(n_targets)
    shares = np.zeros((n_targets, n_penalties))
    shares[each, best] = 1.0
    usable = np.isfinite(sums) & (sums > 0)
    which = usable[each, best]  # an error of 0 needs no averaging
    if n < 2 or n_penalties < 2 or not which.any():
        return shares
    units = np.divide(n * DIGITS, sums[each, best], out=np.zeros(n_targets), where=which)
    digits = (np.where(which[:, None], of_best, 0.0) * units[:, None]).astype(np.uint64)
    grouped = sums_of_groups(((digits * HASH) >> np.uint64(64 - GROUP_BITS)).astype(np.intp))
    if not usable.all():
        grouped[~usable] = 1.0
        dev = np.where(usable, dev, np.inf)
    criterion = grouped @ _draws()  # (T, L, DRAWS); its logarithm plus what dev adds is least where this product is:
    added = LIKELIHOOD / n**1.5 * dev
    with np.errstate(over="ignore"):
        criterion *= np.exp(added - np.minimum(added.min(axis=1, keepdims=True), LARGEST))[:, :, None]
    chosen = criterion.argmin(axis=1) + n_penalties * each[:, None]
    counts = np.bincount(chosen.ravel(), minlength=shares.size).reshape(shares.shape)
    shares[which] = (1.0 - SHARE_OF_DRAWS) * shares[which] + SHARE_OF_DRAWS / DRAWS * counts[which]
    return shares


@lru_cache(maxsize=1)
def _draws() -> np.ndarray:
    """g (groups, DRAWS)."""
    return np.random.default_rng(0).gamma(SHAPE, size=(1 << GROUP_BITS, DRAWS)) / SHAPE
