"""Evidence for a concentrated signal: when many distillation steps may be trusted to beat ridge, and their filter.

With as many steps as the rank r a student can have any filter (Pareek, Du and Oh 2024), so the question is which one
the data support. Two models of the rotated targets z_j = μ_j + noise, noise ~ N(0, g), with eigenvalues d_j: a signal
for which ridge is the best filter, and one that is concentrated in a few directions::

    ridge         μ_j ~ N(0, g d_j / λ)                                 posterior mean a_j z_j,  a_j = d_j / (d_j + λ)
    concentrated  μ_j ~ π N(0, g d_j / λ) + (1 − π) N(0, κ g d_j / λ)   posterior mean F_j z_j

The second is mixed over a fixed grid of (λ, π, κ) with equal weights, g at the maximum of each member's likelihood (the
residual outside the range counts as n − r free observations of it). Then, with L the likelihoods::

    evidence  E = mean L(member) / max_λ L(ridge λ)
    filter    F = Σ ω [W a + (1 − W) b],  ω ∝ L,  b = κ d / (κ d + λ)

with W the posterior probability of the wide component. If the signal is as ridge assumes, whatever its λ, the mean of
E is at most 1, so by Markov's inequality P(E ≥ 20) ≤ 5 % (universal inference; exact for a known g, approximate
here).

Evidence against ridge is not evidence for *this* filter: heavy tails, dummies of rare levels and near-collinear columns
refute ridge too. And a filter near 1 along a direction of tiny d has a huge dual multiplier F / d: predictions at new
points explode, which no error on the samples shows. So F is bounded, with a_j the filter of tuned ridge::

    F_j ≤ d_j max_i a_i / d_i = d_j / (d_min + λ)    where d_j ≥ d_max / 10: no larger multiplier than ridge itself has
    F_j ≤ a_j                                        elsewhere: no larger filter than that of ridge

and accepted only where all of these agree:

1. E > 20;
2. Stein's unbiased estimate of its risk (g and members held fixed) is no worse than ridge's;
3. exact leave-one-out, the filter held fixed, gains more than 1.5 standard errors of the paired difference;
4. refitted in five folds, penalty and filter chosen anew by 1 and 2 (rows that nearly repeat each other in one fold),
   it is worse by no more than one standard error. Where n − r is below 10 or n / 10, as for most kernels, so that the
   noise variance cannot be estimated from the residual outside the range, it must be better by more than one.

Otherwise the choice is tuned ridge. Folds are computed only where 1 to 3 accept; the gain reported is theirs. (It is
too small where the signal is aligned with the singular vectors of all samples but not of a part of them, as in a design
made to have given singular vectors.)

Measured against ridge tuned by leave-one-out: test error over 41 real tables × n = 40, 80, 160 (116 cells, 12 splits;
worst cell), linear and RBF, and the worst cell of other tables, RBF, on which the rule was chosen too; excess risk in
four spiked cells (r = 20 to 100 distinct d from n / 16 to n / 4, signal along the first direction, n = 300; mean
without and with an intercept):

============================================  ================  ================  ============  ====================
rule                                          linear            RBF               spiked        other tables, RBF
============================================  ================  ================  ============  ====================
1 and a loss in 2 allowed, F unbounded        1.043             1.027             0.06, 0.09    1.55, a split at 67
1 and a loss in 2 allowed, F ≤ a              1.003             1.027             0.24, 0.26    1.057
1 and 2, multipliers bounded everywhere       1.002             1.027             0.06, 0.09
1 to 3, no folds                              1.000             1.001             0.10, 0.12    1.039
**1 to 4**                                    1.0002            1.0004            0.16, 0.17    1.028 ± 0.028
============================================  ================  ================  ============  ====================

Geometric means of the last: 0.99999 linear, 0.9997 RBF. On 441 cells that were not used to choose it (6 splits):
linear 0.9997, worst 1.008 ± 0.008; RBF 0.9999, worst 1.001 ± 0.015. With one to three steps it is as safe and gains
less: 0.6, 0.8 and 0.5 in the spiked cells.

Freely tuned weights instead: one costs 2 % on ordinary data, three cost up to 36 %, weights in [0, 1] gain nothing
anywhere. The least possible excess risk of the spiked cells, for known signal and noise, is 0.03. Signals that are
weak, or spread over more than a few directions, gain little: the rule then mostly chooses ridge.

Cost: O(members r) for 272 members, no refit: 0.3 to 3 ms a target for r = 100 to 1000; where 1 to 3 accept, five times
the whole choice on four fifths of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdistill.selection.concentrated import Concentrated, Posterior

REQUIRED_EVIDENCE = 20.0  # by Markov's inequality a 5 % test of "the signal is as ridge assumes"
REQUIRED_LOO = 1.5  # standard errors by which leave-one-out must gain
LEADING = 0.1  # of d_max: directions with a larger d may have a larger filter than ridge


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the data say about a concentrated signal.

    Attributes
    ----------
    ratio : float
        E, the likelihood ratio of a concentrated signal against the best ridge; inf where it overflows.
    gain : float
        Stein's estimate of the risk ridge pays beyond the filter, in units of the noise variance.
    gain_error : float
        Its standard error.
    filter : ndarray (r,)
        The posterior-mean filter F, at most `bound`.
    bound : ndarray (r,)
        The largest filter allowed in each direction.
    lam : float
        Penalty λ of the likeliest member.
    noise_is_known : bool
        Whether n − r is large enough to estimate the noise variance from the residual outside the range.
    loo_gain : (float, float) or None
        Share of ridge's leave-one-out error that the student removes, its filter held fixed, and the standard error;
        None where conditions 1 or 2 fail, or no student of so few steps comes closer to the filter than ridge.
    held_out_gain : (float, float) or None
        The same in five folds, penalty and filter chosen anew in each; None where conditions 1 to 3 do not accept, or
        the samples are too few, or too much alike, for folds.
    """

    ratio: float
    gain: float
    gain_error: float
    filter: np.ndarray
    bound: np.ndarray
    lam: float
    noise_is_known: bool = False
    loo_gain: tuple[float, float] | None = None
    held_out_gain: tuple[float, float] | None = None

    @property
    def supports_filter(self) -> bool:
        """Whether conditions 1 and 2 hold: the likelihood ratio and Stein's estimate of the risk."""
        return self.ratio > REQUIRED_EVIDENCE and self.gain >= 0.0

    @property
    def passes_leave_one_out(self) -> bool:
        """Whether conditions 1 to 3 hold, so that folds are worth their cost."""
        return self.supports_filter and self.loo_gain is not None and clearly_gains(self.loo_gain, REQUIRED_LOO)

    @property
    def accepted(self) -> bool:
        """Whether all conditions hold, so that the filter is used instead of ridge."""
        if not self.passes_leave_one_out or self.held_out_gain is None:
            return False
        gain, error = self.held_out_gain
        return gain >= -error if self.noise_is_known else clearly_gains(self.held_out_gain, 1.0)


def clearly_gains(gain_and_error: tuple[float, float], errors: float) -> bool:
    """Whether a gain is above so many of its standard errors."""
    gain, error = gain_and_error
    return gain > errors * error


def weigh_evidence(
    d: np.ndarray, z: np.ndarray, outside: np.ndarray, n: int, ridge: float, penalties: np.ndarray
) -> Evidence:
    """Evidence for a concentrated signal: E, Stein's estimate and the bounded filter F, see the top of this file.

    Parameters
    ----------
    d : ndarray (r,)
        Positive eigenvalues, descending.
    z : ndarray (r, m)
        Rotated targets. Several targets share the filter and which directions carry signal; each has its own noise.
    outside : ndarray (m,)
        Squared norm of the targets outside the range.
    n : int
        Degrees of freedom of the centred targets: samples of positive weight, less one for an intercept.
    ridge : float
        The tuned penalty that the filter has to beat.
    penalties : ndarray (L,)
        All penalties that ridge was tuned over.
    """
    squares, informative = _informative(d, z, outside, n)
    if not informative.any():
        return _none(d, ridge)
    posterior = Concentrated(d, n, penalties).together(squares[:, informative], outside[informative])
    return _weighed(d, squares[:, informative], posterior, np.array([ridge]))[0]


def weigh_each(
    d: np.ndarray, z: np.ndarray, outside: np.ndarray, n: int, ridge: np.ndarray, penalties: np.ndarray
) -> list[Evidence]:
    """`weigh_evidence` of each target alone; ridge (m,) holds a penalty for each."""
    squares, informative = _informative(d, z, outside, n)
    found = [_none(d, float(ridge[j])) for j in np.flatnonzero(~informative)]
    if informative.any():
        posterior = Concentrated(d, n, penalties).each(squares[:, informative], outside[informative])
        weighed = iter(_weighed(d, squares[:, informative], posterior, ridge[informative]))
        without = iter(found)
        found = [next(weighed if has_signal else without) for has_signal in informative]
    return found


def _informative(d: np.ndarray, z: np.ndarray, outside: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """z², and which targets (m,) can be evidence: none of fewer than two directions, or of no samples."""
    squares = np.square(z)
    if len(d) < 2 or n < 1:
        return squares, np.zeros(z.shape[1], dtype=bool)
    return squares, squares.sum(axis=0) + outside > 0


def _none(d: np.ndarray, ridge: float) -> Evidence:
    plain = d / (d + ridge)
    return Evidence(0.0, 0.0, 0.0, plain, plain, ridge)


def _weighed(d: np.ndarray, squares: np.ndarray, posterior: Posterior, ridge: np.ndarray) -> list[Evidence]:
    """Evidence of each posterior beside ridge of its penalty (g,): of every target (g = m), or of all (g = 1)."""
    plain = d / (d + ridge[:, None])
    bound = np.where(d >= LEADING * d.max(), np.minimum(1.0, d / (d.min() + ridge[:, None])), plain)
    bounded = np.minimum(posterior.mean, bound)
    slope = np.where(posterior.mean < bound, posterior.slope, 0.0)
    gain, error = _stein(squares.T / posterior.noise[:, None], plain, bounded, slope)
    values = zip(posterior.ratio, gain, error, bounded, bound, posterior.lam, strict=True)
    return [
        Evidence(float(ratio), float(g), float(e), filter_, largest, float(lam), posterior.noise_is_known)
        for ratio, g, e, filter_, largest, lam in values
    ]


def _stein(
    ratio: np.ndarray, plain: np.ndarray, filter_: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Stein's estimate (g,) of the risk of ridge less that of the filter, and its standard error.

    ratio (m, r) = z² / g; filters (g, r), one for each target or one for all.
    """
    difference = np.square(1 - plain) - np.square(1 - filter_)
    gain = ((difference - 2 * slope) * ratio + 2 * (plain - filter_)).sum(axis=1)
    variance = 2 * np.maximum(2 * ratio - 1, 1)  # of z² / g, whose mean is estimated by itself
    square = (np.square(difference) * variance).sum(axis=1)
    if len(plain) < len(ratio):
        gain, square = gain.sum(keepdims=True), square.sum(keepdims=True)
    return gain, np.sqrt(square)
