"""Claims about labels: generations of synthetic ones, the best share of real ones, and wrong ones.

Each row compares a paper's claim with a simulation or with a formula of `fastdistill.theory` that the simulation
confirms; see `later_claims` for what counts as holding.

=====================================  ==========================================================
paper                                  here
=====================================  ==========================================================
Dohmatob et al. 2024                   `fastdistill.theory.generation_risk`
Garg et al. 2025                       `fastdistill.theory.best_real_fraction`
Das and Sanghavi 2023                  `fastdistill.theory.estimation_mixing`
Takanami et al. 2025                   `fastdistill.theory.mixture_error`, and a simulation
=====================================  ==========================================================

Cost: some seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import fastdistill as fd
from fastdistill.reproduce.later_claims import YES, Claim, agrees, always, better, population, ridge, spread

SEEDS = 20
DOHMATOB, GARG = "Dohmatob et al. 2024", "Garg et al. 2025"
GARG_FRESH = "(the same, other reading)"
DAS, TAKANAMI = "Das, Sanghavi 2023", "Takanami et al. 2025"
GOLDEN = (np.sqrt(5.0) - 1) / 2
SHARES = (0.0, 0.3, GOLDEN, 1.0)
NOISE, LAST = 0.6, 8  # standard deviation of the noise, and the last generation


class Generations(NamedTuple):
    """Risks of generations 0..LAST by share of real labels: `predicted` (shares, T), `simulated` (seeds, shares, T)."""

    predicted: np.ndarray
    simulated: np.ndarray


def generations() -> Generations:
    """Least squares with 60 features and 150 fresh samples in every generation."""
    s, theta = population(0, 60)
    predicted = fd.theory.generation_risk(s, theta, NOISE, 150, 0.0, LAST, SHARES)
    simulated = [
        [_simulated(s, theta, 150, [0.0] * (LAST + 1), share, np.random.default_rng(seed)) for share in SHARES]
        for seed in range(2 * SEEDS)
    ]
    return Generations(predicted, np.array(simulated))


def _simulated(
    s: np.ndarray, theta: np.ndarray, n: int, lam: Any, share: float, rng: Any, noise: float = NOISE
) -> list[float]:
    coef, risks = theta, []
    for t, penalty in enumerate(lam):
        X = rng.standard_normal((n, len(s))) * np.sqrt(s)
        real, own = (X @ b + noise * rng.standard_normal(n) for b in (theta, coef))
        coef = ridge(X, share * real + (1 - share) * own if t else real, float(penalty))
        risks.append(float(s @ (coef - theta) ** 2))
    return risks


def generation_claims(found: Generations) -> Iterator[Claim]:
    """[C] Linear growth, loss of the signal, and what penalties do about it."""
    growth = found.simulated[:, 0, -1] - found.simulated[:, 0, 0]
    expected = LAST * NOISE**2 * 60 / 90
    yield agrees(
        DOHMATOB, "least squares: every generation adds the same risk", "growth / predicted", growth / expected
    )
    s, theta = np.ones(200), np.full(200, 200**-0.5)
    lost = np.array([_signal_left(s, theta, 100, seed) for seed in range(SEEDS)])
    yield agrees(
        DOHMATOB,
        "more features than samples: the signal decays exponentially, even without noise",
        "share of the signal left in generation 4 / (n / p)⁵",
        lost / 0.5**5,
    )
    s, theta = population(1, 60)
    grid = np.logspace(-1, 4, 41)
    last, first = (
        np.array([fd.theory.generation_risk(s, theta, NOISE / 2, 120, float(x), 3)[t] for x in grid]) for t in (-1, 0)
    )
    lam = float(grid[first.argmin()]), float(grid[last.argmin()])
    ratios = []
    for seed in range(SEEDS):
        rngs = np.random.default_rng(seed), np.random.default_rng(seed)
        pairs = zip((0.0, lam[1]), rngs, strict=True)
        risks = [_simulated(s, theta, 120, [x] * 4, 0.0, rng, NOISE / 2)[-1] for x, rng in pairs]
        ratios.append(risks[0] / risks[1])
    claim = "a suitable penalty mitigates it: least squares against ridge in generation 3"
    yield better(DOHMATOB, claim, "risk ratio", ratios)
    yield Claim(
        DOHMATOB,
        "the penalty that is best for real labels is not best after generations",
        f"best penalties {lam[0]:.3g} (generation 0) and {lam[1]:.3g} (generation 3), by formula",
        YES[lam[0] != lam[1]],
    )


def _signal_left(s: np.ndarray, theta: np.ndarray, n: int, seed: int) -> float:
    rng, coef = np.random.default_rng(seed), theta
    for _ in range(5):
        X = rng.standard_normal((n, len(s)))
        coef = ridge(X, X @ coef, 0.0)
    return float(theta @ coef)


def real_fraction_claims(found: Generations) -> Iterator[Claim]:
    """[R] The best share of real labels."""
    best = [fd.theory.best_real_fraction(*population(seed, 40), NOISE, 100, 0.0).fraction for seed in range(SEEDS)]
    golden = f"(reciprocal of the golden ratio: {GOLDEN:.4f})"
    yield Claim(GARG, f"least squares: the best share {golden}", f"{spread(best)}, {SEEDS} problems", _is_golden(best))
    some, golden_share, only_real = found.simulated[:, 1:, -1].T
    for other, risks in (("0.3", some), ("1", only_real)):
        claim = f"least squares, simulated: 0.618 is better than {other}"
        yield better(GARG, claim, "risk ratio", risks / golden_share)
    same = []
    for seed in range(SEEDS):
        s, theta = population(seed, 40)
        same.append(fd.theory.best_real_fraction(np.r_[s[:20], np.zeros(20)], theta, NOISE, 20, 0.0, "same").fraction)
    what = "interpolation, more features than samples"
    yield Claim(GARG, f"{what}, the same inputs: the golden ratio", f"{spread(same)}", _is_golden(same))
    fresh = [fd.theory.best_real_fraction(*population(seed, 40), NOISE, 20, 0.0).fraction for seed in range(SEEDS)]
    yield Claim(
        GARG_FRESH,
        f"{what}, fresh inputs: the golden ratio",
        f"{spread(fresh)}, depends on the signal",
        _is_golden(fresh),
    )
    for covariates in ("same", "fresh"):
        found_shares = np.array([_share_of_problem(seed, covariates) for seed in range(60)])
        claim = f"ridge: the best share is at least 1/2 (isotropic, random and spiked), {covariates} inputs"
        what = f"least share {found_shares.min():.3f}; at least 1/2"
        yield always(GARG if covariates == "same" else GARG_FRESH, claim, what, found_shares >= 0.5)


def _is_golden(shares: list[float]) -> str:
    return YES[bool(np.abs(np.array(shares) - GOLDEN).max() < 1e-6)]


def _share_of_problem(seed: int, covariates: str) -> float:
    """Of isotropic inputs, of random effects, and of a spiked covariance whose spike carries the signal."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(20, 120)), 60
    s, theta = np.ones(p), rng.standard_normal(p) / np.sqrt(p)
    if seed % 3 == 1:
        s = np.exp(rng.standard_normal(p))
    elif seed % 3 == 2:
        s[0], theta = 20.0, np.r_[1.0, np.zeros(p - 1)]
    if covariates == "same":
        X = rng.standard_normal((n, p)) * np.sqrt(s)
        d, V = np.linalg.eigh(X.T @ X / n)
        s, theta = np.where(d > 1e-10, d, 0.0), V.T @ theta
    lam = float(10.0 ** rng.uniform(-1, 2.5))
    noise = float(10.0 ** rng.uniform(-1, 1.5))
    return fd.theory.best_real_fraction(s, theta, noise, n, lam, covariates).fraction


def imitation_claims() -> Iterator[Claim]:
    """[L] Weights beyond one."""
    rng = np.random.default_rng(0)
    problems = [(10.0 ** rng.uniform(-1.5, 1.5, 10), rng.standard_normal(10)) for _ in range(200)]
    large = [float(fd.theory.estimation_mixing(d, theta, 100.0, 1.0).xi) for d, theta in problems]
    claim = "with much noise the imitation weight that is best for the estimation error exceeds 1"
    yield always(DAS, claim, f"best weights {min(large):.2f} to {max(large):.2f}; above 1", np.array(large) > 1)
    grid, gains = np.logspace(-3, 5, 161), []
    for d, theta in problems:
        found = fd.theory.estimation_mixing(d, theta, 1.0, grid)
        gains.append(found.risk.min() / (found.risk - found.gain).min())
    better_than_all = int((np.array(gains) > 1.0001).sum())
    yield Claim(
        DAS,
        "the best student can be better than the best ridge (the paper says when)",
        f"by up to {max(gains) - 1:.1%}, by over 0.01 % in {better_than_all} of {len(gains)} problems of noise 1",
        YES[better_than_all > 0],
    )
    ratios = [_estimation_gain(seed) for seed in range(SEEDS)]
    yield better(DAS, "simulated with noise 3: that weight against the best weight in [0, 1]", "error ratio", ratios)


def _estimation_gain(seed: int) -> float:
    """Mean estimation error of the best weight up to one over that of the best weight, 200 draws of the noise."""
    rng = np.random.default_rng(seed)
    X, theta, lam = rng.standard_normal((40, 10)), rng.standard_normal(10), 20.0
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    xi = float(fd.theory.estimation_mixing(s**2, Vt @ theta, 3.0, lam).xi)
    y = X @ theta[:, None] + 3.0 * rng.standard_normal((40, 200))
    path = fd.Spectrum.from_design(X).path(y, lam, [[min(max(xi, 0.0), 1.0)], [xi]])
    errors = np.square(path.coef[:, 1] - theta[:, None]).sum(axis=1).mean(axis=1)
    return float(errors[0] / errors[1])


class Stages(NamedTuple):
    """Errors by n / p: `ratios` (A,), without distillation `plain` (A,), after two stages `hard` and `soft` (A,)."""

    ratios: np.ndarray
    plain: np.ndarray
    hard: np.ndarray
    soft: np.ndarray


def stages() -> Stages:
    """Tuned penalties, 200 features, a third of the labels wrong, fresh inputs at every stage."""
    ratios, p = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]), 200
    rows = []
    for ratio in ratios:
        n = int(ratio * p) + 1
        row = []
        for labels in ("hard", "soft"):
            chosen: list[float] = []
            for _ in range(3):  # each stage with the penalty that is best for it
                tried = [
                    (fd.theory.mixture_error(1.5, n, p, 0.33, [*chosen, x], len(chosen), labels)[-1], x)
                    for x in PENALTIES
                ]
                error, best = min(tried)
                chosen.append(best)
                if len(chosen) == 1:
                    plain = error
            row.append(error)
        rows.append([plain, *row])
    return Stages(ratios, *np.array(rows).T)


PENALTIES = [float(x) for x in np.logspace(-1, 5, 25)]


def mixture_claims(found: Stages) -> Iterator[Claim]:
    """[T] Hard labels denoise."""
    simulated = np.array([_same_inputs(seed) for seed in range(SEEDS)])
    plain, hard, soft = simulated.mean(axis=0)
    shown = [spread(errors) for errors in simulated.T]
    yield Claim(
        TAKANAMI,
        "hard labels are what helps, more than soft ones (squared loss, same inputs, best penalties, simulated)",
        f"errors {shown[0]} without, {shown[1]} hard, {shown[2]} soft, {SEEDS} seeds",
        YES[bool(plain - hard > 2 * max(plain - soft, 0.0) and hard < plain)],
    )
    gain_hard, gain_soft = found.plain - found.hard, found.plain - found.soft
    yield Claim(
        TAKANAMI,
        "the same with fresh inputs, two stages, by formula",
        f"largest falls of the error {gain_hard.max():.4f} (hard) and {gain_soft.max():.4f} (soft) over n / p",
        YES[bool(gain_hard.max() > 2 * gain_soft.max())],
    )
    peak = int(gain_hard.argmax())
    yield Claim(
        TAKANAMI,
        "the gain is largest for data sets of moderate size (fresh inputs, by formula)",
        f"gains {', '.join(f'{x:.3f}' for x in gain_hard)} at n / p = {', '.join(f'{x:g}' for x in found.ratios)}",
        YES[0 < peak < len(gain_hard) - 1],
    )


def _same_inputs(seed: int) -> tuple[float, float, float]:
    """Errors of ridge and of one stage of hard and of soft labels of the same inputs, each at its best penalties."""
    rng, n, p, size = np.random.default_rng(seed), 300, 150, 1.5
    truth = rng.choice([-1.0, 1.0], n)
    X = truth[:, None] * np.r_[size, np.zeros(p - 1)] + rng.standard_normal((n, p))
    y = truth * np.where(rng.random(n) < 0.33, -1.0, 1.0)
    grid = np.array(PENALTIES)
    first = fd.Spectrum.from_design(X).path(y, grid, []).coef[:, 0]  # (L, p)
    values = X @ first.T
    errors = [_errors(first, size)]
    for labels in (np.sign(values), values):
        again = fd.Spectrum.from_design(X).path(labels, grid, []).coef[:, 0]  # (L, p, L)
        errors.append(_errors(np.moveaxis(again, 1, 2), size))
    plain, hard, soft = (float(each.min()) for each in errors)
    return plain, hard, soft


def _errors(coef: np.ndarray, size: float) -> np.ndarray:
    """Test errors (...,) of coefficients (..., p), the mean along the first axis."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-size * coef[..., 0] / np.linalg.norm(coef, axis=-1)))
