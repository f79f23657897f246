"""The model of a concentrated signal: the likelihoods of its members, and the posterior mean of the signal.

The members (κ, π, λ) of `fastdistill.selection.evidence` have squared coordinates q_j, noise g and signals
s_j = d_j / λ. With W_j the posterior probability of the wide component::

    z_j ~ π N(0, g (1 + s_j)) + (1 − π) N(0, g (1 + κ s_j)),     W_j = 1 / (1 + e^x_j)
    x_j = log((1 − π) / π) − ½ log((1 + κ s_j) / (1 + s_j)) − q_j c_j / (2 g),   c_j = 1 / (1 + κ s_j) − 1 / (1 + s_j)

The noise is updated a fixed number of times (EM)::

    g ← (Σ_j q_j (W_j / (1 + s_j) + (1 − W_j) / (1 + κ s_j)) + outside) / n

Targets that are weighed together share W, and each has a noise of its own: every sum over targets, and over directions,
is then a matrix product of all members. Targets that are weighed alone need 272 r exponentials an update, in a kernel.

Cost: together 4 · 272 r m an update (25 ms for r = 100, m = 1000, and 2 s member by member); alone 0.3 ms a target of
r = 100 (3 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastdistill.spectral.compiled import compiled_kernels

SIGNAL_SHARES = np.array([0.9, 0.7, 0.5, 0.3, 0.15, 0.07, 0.03, 0.01])  # π
NARROW = np.array([0.0, 0.03])  # κ: the other directions have no signal, or a little
SIGNAL_TO_NOISE = 10.0 ** np.arange(-1, 7.01, 0.5)  # d_max / λ
NOISE_UPDATES = 5  # EM steps for g
TIE = 1e-8  # of d_max: closer eigenvalues are one direction, of which F must be a function
LARGEST_EXPONENT = 600.0  # of the odds against the wide component
OF_NO_DIRECTION = -1e4  # odds that are surely for it
FEW_DIRECTIONS = 50  # of one target: it takes NumPy at most 1 ms, and compiling the kernel some seconds
VECTORS = 16  # directions in the four vectors of one turn of the compiled loops


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the members say of g groups of targets, weighted by their likelihoods.

    Attributes
    ----------
    ratio : ndarray (g,)
        Mean likelihood of the members over that of the best ridge; inf where it overflows.
    mean, slope : ndarray (g, r)
        The filter F of the posterior mean, and F' with ∂(F z) / ∂z = F + F' z² / noise (Tweedie's formula).
    noise : ndarray (m,)
        Mean noise variance of each target.
    lam : ndarray (g,)
        Penalty of the likeliest member.
    noise_is_known : bool
        Whether n − r is large enough to estimate the noise from the residual outside the range.
    """

    ratio: np.ndarray
    mean: np.ndarray
    slope: np.ndarray
    noise: np.ndarray
    lam: np.ndarray
    noise_is_known: bool


class Concentrated:
    """All members for directions of eigenvalues d (r,), n degrees of freedom, and ridge of the `penalties` (L,)."""

    def __init__(self, d: np.ndarray, n: int, penalties: np.ndarray) -> None:
        self.d, self.n, self.penalties = d, n, penalties
        self.lam = d.max() / SIGNAL_TO_NOISE
        self.signal = d / self.lam[:, None]  # (L, r)
        apart = d[:-1] - d[1:] > TIE * d[0]
        self.first = np.arange(len(d)) if apart.all() else np.append(0, np.flatnonzero(apart) + 1)
        self.sizes = np.append(self.first[1:], len(d)) - self.first
        self.noise_is_known = n - len(d) >= max(10, n / 10)

    @cached_property
    def wide(self) -> np.ndarray:
        """1 / (1 + s) (L, r)."""
        return 1.0 / (1.0 + self.signal)

    @cached_property
    def thin(self) -> np.ndarray:
        """1 / (1 + κ s) (C, L, r)."""
        return 1.0 / (1.0 + NARROW[:, None, None] * self.signal)

    @cached_property
    def log_wide(self) -> np.ndarray:
        """Σ log(1 + s) (L,)."""
        return np.log1p(self.signal).sum(axis=1)

    @cached_property
    def tilt(self) -> np.ndarray:
        """−½ Σ log((1 + κ s) / (1 + s)) (C, L, B) over directions of equal eigenvalues, which have one W together."""
        return self._block(0.5 * (np.log1p(self.signal) - np.log1p(NARROW[:, None, None] * self.signal)))

    @property
    def filters(self) -> tuple[np.ndarray, np.ndarray]:
        """s / (1 + s) (L, r) and κ s / (1 + κ s) (C, L, r)."""
        return self.signal * self.wide, NARROW[:, None, None] * self.signal * self.thin

    def _block(self, values: np.ndarray) -> np.ndarray:
        """Sums (..., B) over directions of equal eigenvalues."""
        return values if len(self.first) == len(self.d) else np.add.reduceat(values, self.first, axis=-1)

    def _each(self, values: np.ndarray) -> np.ndarray:
        """Values (..., r) of each direction from those (..., B) of directions of equal eigenvalues."""
        return values if len(self.first) == len(self.d) else np.repeat(values, self.sizes, axis=-1)

    def _usable(self, outside: np.ndarray) -> np.ndarray:
        """Squared norms outside the range, where there is anything."""
        return np.where(self.n > len(self.d), outside, 0.0)

    def _floor(self, squares: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """The least noise (m,)."""
        return 1e-12 * (squares.sum(axis=0) + outside) / self.n

    def _ridge(self, signal: np.ndarray, squares: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log likelihood (L, m) of ridge's prior at its best noise, and that noise (L, m); signal (L, r) = d / λ."""
        noise = np.maximum(((1 / (1 + signal)) @ squares + outside) / self.n, self._floor(squares, outside))
        return -0.5 * (self.n * np.log(noise) + np.log1p(signal).sum(axis=1)[:, None] + self.n), noise

    def _start(self, squares: np.ndarray, outside: np.ndarray, together: bool) -> tuple[np.ndarray, np.ndarray]:
        """Log likelihood of the best ridge, of each target (m,) or of all (1,), and the first noise (L, m)."""
        penalties = np.concatenate([self.lam, self.penalties[self.penalties > 0]])
        likelihoods, noise = self._ridge(self.d / penalties[:, None], squares, outside)
        noise = noise[: len(self.lam)]
        if together:
            likelihoods = likelihoods.sum(axis=1, keepdims=True)
        if self.noise_is_known:
            noise = np.broadcast_to(outside / (self.n - len(self.d)), noise.shape)
        return likelihoods.max(axis=0), noise

    def _posterior(
        self,
        log_mean: np.ndarray,
        best_ridge: np.ndarray,
        likeliest: np.ndarray,
        mean: np.ndarray,
        slope: np.ndarray,
        noise: np.ndarray,
    ) -> Posterior:
        with np.errstate(over="ignore"):
            ratio = np.exp(log_mean - best_ridge)
        return Posterior(ratio, mean, slope, noise, self.lam[likeliest], self.noise_is_known)

    def each(self, squares: np.ndarray, outside: np.ndarray) -> Posterior:
        """The posterior of each target alone: squares (r, m), none of them all zero, and outside (m,)."""
        outside = self._usable(outside)
        best_ridge, start = self._start(squares, outside, together=False)
        block = np.repeat(np.arange(len(self.first)), self.sizes)
        numbers, curves = np.empty((3, squares.shape[1])), np.empty((2, *squares.T.shape))
        compiled_kernels().concentrated_signals(
            np.ascontiguousarray(squares.T),
            outside,
            np.ascontiguousarray(start.T),
            self._floor(squares, outside),
            self.n,
            NOISE_UPDATES,
            (self.wide, self.thin, self.log_wide, SIGNAL_SHARES, block, self._filled(self.tilt)),
            self.filters,
            numbers,
            curves,
        )
        log_mean, likeliest, noise = numbers
        return self._posterior(log_mean, best_ridge, likeliest.astype(np.intp), curves[0], curves[1], noise)

    @staticmethod
    def _filled(tilt: np.ndarray) -> np.ndarray:
        """With groups of no direction added, so that no vector is filled in part: 0.3 and not 0.4 ms for r = 100."""
        filled = np.full((*tilt.shape[:2], tilt.shape[2] + -tilt.shape[2] % VECTORS), OF_NO_DIRECTION)
        filled[..., : tilt.shape[2]] = tilt
        return filled

    def together(self, squares: np.ndarray, outside: np.ndarray) -> Posterior:
        """The posterior of all targets (r, m), which share W."""
        if squares.shape[1] == 1 and len(self.d) > FEW_DIRECTIONS:
            return self.each(squares, outside)
        outside = self._usable(outside)
        best_ridge, start = self._start(squares, outside, together=True)
        log_likelihood, belongs, noises = self._members(squares, outside, start)
        weight = np.exp(log_likelihood - log_likelihood.max())
        log_mean = log_likelihood.max() + np.log(weight.mean())
        weight /= weight.sum()
        signal_filter, thin_filter = self.filters
        change = signal_filter - thin_filter[:, None]
        filters = thin_filter[:, None] + belongs * change
        mean = weight.ravel() @ filters.reshape(weight.size, -1)
        slopes = belongs * (1 - belongs) * np.square(change) + np.square(filters - mean)
        slope = weight.ravel() @ slopes.reshape(weight.size, -1)
        likeliest = np.array([log_likelihood.argmax() % len(self.lam)])
        noise = weight.ravel() @ noises
        return self._posterior(np.array([log_mean]), best_ridge, likeliest, mean[None], slope[None], noise)

    def _members(
        self, squares: np.ndarray, outside: np.ndarray, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log likelihoods (C, S, L), W (C, S, L, r), and noises (C S L, m); all members in each product."""
        shape = (len(NARROW), len(SIGNAL_SHARES), len(self.lam))
        (r, m), floor = squares.shape, self._floor(squares, outside)
        thin, log_odds = self.thin[:, None], np.log((1 - SIGNAL_SHARES) / SIGNAL_SHARES)[:, None, None]
        offset, contrast = log_odds + m * self.tilt[:, None], thin - self.wide
        half_contrast = 0.5 * contrast
        first = np.empty((*shape, m))
        first[...] = np.maximum(start, floor)
        noise = first.reshape(-1, m)
        for update in range(NOISE_UPDATES):
            of_noise = ((1 / noise) @ squares.T if m > 1 else squares[:, 0] / noise).reshape(*shape, r)  # Σ q / g
            odds = self._block(of_noise * half_contrast)
            np.subtract(offset, odds, out=odds)
            np.exp(np.minimum(odds, LARGEST_EXPONENT, out=odds), out=odds)
            belongs = self._each(1.0 / (1.0 + odds))
            if update < NOISE_UPDATES - 1:
                explained = (thin - belongs * contrast).reshape(-1, r) @ squares
                noise = np.maximum((explained + outside) / self.n, floor)
        against = np.log1p(odds).sum(axis=-1)
        spread = m * self.log_wide + (of_noise * self.wide).sum(axis=-1)
        of_targets = (self.n * np.log(noise) + outside / noise).sum(axis=1).reshape(shape)
        priors = len(self.first) * np.log(SIGNAL_SHARES)[:, None]
        return priors + against - 0.5 * (spread + of_targets), belongs, noise
