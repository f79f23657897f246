"""What a claim is, and how the spread over seeds decides whether it holds.

A claim that one thing is better than another is a ratio r above 1: it holds where mean(r) − 2 sd(r) / √seeds > 1. A
claim that a formula gives a simulated mean is a ratio near 1: it holds where |mean(r) − 1| ≤ 3 sd(r) / √seeds + 2 %,
the last for the finite size. A claim about every case holds where it does in every case.

Cost: nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FINITE_SIZE = 0.02
YES = {True: "yes", False: "NO"}


class Claim(NamedTuple):
    """A paper's claim beside what is found."""

    paper: str
    claim: str
    ours: str
    holds: str


def error_of(values: Any) -> float:
    """Standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def spread(values: Any) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}"


def better(paper: str, claim: str, what: str, ratios: Any) -> Claim:
    """A claim that ratios (seeds,) are above one."""
    ratios = np.asarray(ratios)
    holds = bool(ratios.mean() - 2 * error_of(ratios) > 1)
    above = int((ratios > 1).sum())
    return Claim(paper, claim, f"{what} {spread(ratios)}, above 1 in {above} of {len(ratios)} seeds", YES[holds])


def agrees(paper: str, claim: str, what: str, ratios: Any) -> Claim:
    """A claim that simulated means are as a formula says: ratios (seeds,) or (seeds, cases) near one."""
    ratios = np.asarray(ratios).reshape(len(ratios), -1)
    beyond = [abs(each.mean() - 1) - 3 * error_of(each) - FINITE_SIZE for each in ratios.T]
    of_worst, holds = ratios[:, int(np.argmax(beyond))], max(beyond) <= 0.0
    which = f", the worst of {ratios.shape[1]} cases" if ratios.shape[1] > 1 else ""
    return Claim(paper, claim, f"{what} {spread(of_worst)} over {len(ratios)} seeds{which}", YES[holds])


def always(paper: str, claim: str, what: str, hits: Any) -> Claim:
    """A claim about every case."""
    hits = np.asarray(hits)
    return Claim(paper, claim, f"{what} in {int(hits.sum())} of {hits.size} cases", YES[bool(hits.all())])


def population(seed: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances over a decade, and a signal of norm about one along all of them."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.standard_normal(p)), rng.standard_normal(p) / np.sqrt(p)


def ridge(X: np.ndarray, y: np.ndarray, lam: float, weights: Any = 1.0) -> np.ndarray:
    """Coefficients of (weighted) ridge; of the least norm without a penalty."""
    if lam == 0.0:
        return np.asarray(np.linalg.lstsq(X, y, rcond=None)[0])
    return np.asarray(np.linalg.solve(X.T @ X + lam * np.diag(np.broadcast_to(weights, X.shape[1])), X.T @ y))
