"""How often labels are flipped, and which: a model of the given labels from scores of samples held out.

With scores s_i (K,) of a sample by a model that has not seen it, its true class c and its given label y::

    P(c | s_i) = softmax(a s_i + b)_c         P(y | c) = T_cy = (1 − ρ) if y = c, else ρ / (K − 1)
    P(y | s_i) = Σ_c P(c | s_i) T_cy          q_i(c) = P(c | s_i, y_i) = P(c | s_i) T_cy / P(y | s_i)

Slope a > 0, offsets b and flip rate ρ maximise Σ_i w_i log P(y_i | s_i) − ‖b‖² / 4, with T given as well where it is
known. Softmax alone cannot say that *every* sample is uncertain, however sure the scores: that is what ρ explains, and
the evidence for flips is what the log-likelihood loses with ρ = 0. (The prior of b keeps it finite for classes that
the scores separate.)

=======  ================================
symbol   here
=======  ================================
a, b     ``slope``, ``offsets``
T        ``transition``
ρ        ``1 - transition[0, 0]``
q        ``posterior``
=======  ================================

Cost: O(n K) for each of some dozens of steps of L-BFGS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

LARGEST_SHARE = 0.95  # of the rate (K − 1) / K at which labels tell nothing
PRIOR = 0.5  # precision of the offsets
STARTS = (0.02, 0.3)  # flip rates, as shares of the largest: the likelihood can have two maxima
LOG_SLOPES = (-4.0, 5.0)  # of scores with a standard deviation of 1
OFFSETS = (-6.0, 6.0)
LEAST_PROBABILITY = np.finfo(float).eps ** 2  # of a given label: without flips the sure and wrong come near 0


@dataclass(frozen=True)
class FlipModel:
    """The model fitted to scores of held-out samples and their given labels.

    Attributes
    ----------
    slope : float
        a.
    offsets : ndarray of shape (n_classes,)
        b, the first is 0.
    transition : ndarray of shape (n_classes, n_classes)
        T: probability of each given label (columns) for each true class (rows).
    log_likelihood : float
        What is maximised: that of the given labels, weighted, less ‖b‖² / 4.
    """

    slope: float
    offsets: np.ndarray
    transition: np.ndarray
    log_likelihood: float

    def true_classes(self, scores: np.ndarray) -> np.ndarray:
        """P(c | s), (n, K): the true class, before the given label is seen."""
        return softmax(self.slope * scores + self.offsets, axis=1)

    def given_labels(self, scores: np.ndarray) -> np.ndarray:
        """P(y | s), (n, K): the given label, before it is seen."""
        return self.true_classes(scores) @ self.transition

    def posterior(self, scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """q, (n, K): the true class, the given labels `codes` seen."""
        with np.errstate(divide="ignore"):  # log 0 of labels that are never given to a class
            given = np.log(self.transition[:, codes].T)
        return softmax(log_softmax(self.slope * scores + self.offsets, axis=1) + given, axis=1)


def symmetric_flips(rate: float, n_classes: int) -> np.ndarray:
    """T where each other class is as likely."""
    each = rate / (n_classes - 1)
    return np.full((n_classes, n_classes), each) + (1 - rate - each) * np.eye(n_classes)


def fit_flips(
    scores: np.ndarray, codes: np.ndarray, weight: np.ndarray, transition: np.ndarray | None = None
) -> FlipModel:
    """The model of the given labels `codes` (n,), by maximum likelihood.

    Without a `transition` flips to all other classes are as likely, at a rate that is estimated.
    """
    n_classes = scores.shape[1]
    unit = float(scores.std()) or 1.0
    largest = LARGEST_SHARE * (n_classes - 1) / n_classes
    chosen = np.eye(n_classes)[codes]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.exp(theta[0])
        T = symmetric_flips(theta[1], n_classes) if transition is None else transition
        p = softmax(slope * scores / unit + np.append(0.0, theta[2:]), axis=1)
        joint = p * T[:, codes].T
        total = np.maximum(joint.sum(axis=1), LEAST_PROBABILITY)
        by_logit = weight[:, np.newaxis] * (joint / total[:, np.newaxis] - p)
        agree = (p * chosen).sum(axis=1)
        by_rate = weight @ (((1 - agree) / (n_classes - 1) - agree) / total) if transition is None else 0.0
        by_slope = slope * (by_logit * scores).sum() / unit
        value = weight @ np.log(total) - PRIOR / 2 * theta[2:] @ theta[2:]
        return -value, -np.concatenate([[by_slope, by_rate], by_logit.sum(axis=0)[1:] - PRIOR * theta[2:]])

    bounds = [LOG_SLOPES, (0.0, largest), *[OFFSETS] * (n_classes - 1)]
    best = min(
        (
            minimize(objective, np.r_[0.5, share * largest, np.zeros(n_classes - 1)], jac=True, bounds=bounds)
            for share in (STARTS if transition is None else STARTS[:1])
        ),
        key=lambda found: found.fun,
    )
    slope, offsets = np.exp(best.x[0]) / unit, np.append(0.0, best.x[2:])
    T = symmetric_flips(best.x[1], n_classes) if transition is None else transition
    return FlipModel(slope, offsets, T, -best.fun)
