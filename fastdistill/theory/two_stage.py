"""A student of another model's labels on new inputs: weak teachers, and the best labels there are.

Both models are ridge on random inputs with many features, as in `random_design`. The student sees n new inputs with the
labels of the teacher, a target whose coordinates have mean θ_j − e_j and variance c_j. With the student's a, g, v, Q::

    of the student      θ_j − E θ̂_j = g_j θ_j + a_j e_j,    variance  a_j² c_j + v_j τ²
                        τ² = (Σ s g² ((θ − e)² + c) + noise of the labels) / Q
    excess risk         Σ_j s_j ((θ_j − E θ̂_j)² + variance_j)

so that small risks are no differences of large numbers. For fixed labels b (e = θ − b, c = 0) this is a parabola in
every b_j; its vertex is the best surrogate, with Ω = 1 − Q

    b_j = θ_j a_j / (a_j² + g_j² Ω / (1 − Ω)),      above θ_j exactly where g_j < 1 − Ω

=====================================  ====================================================
paper                                  here
=====================================  ====================================================
Moniri and Hassani 2025: λ_t, λ_s      `lam`, `lam_student`, on the *sum* of squares
weighted ridge                         `weights`, `student_weights`
Ildiz et al. 2024: β_s, β_⋆            `OptimalSurrogate.surrogate`, `theta`
ζ_i, Ω                                 g, 1 − Q
=====================================  ====================================================

Cost: O(p) for each pair of penalties.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check
from fastdistill.theory.random_design import Stage, checked_population, stage


class WeakToStrong(NamedTuple):
    """Excess risks on new inputs: `teacher` (L,) and `student` (L,)(S,); each axis only if the input had it."""

    teacher: Any
    student: Any


class OptimalSurrogate(NamedTuple):
    """The labels that are best to learn from, and the excess risks of learning from them and from others.

    `surrogate` (p,) are their coefficients and `risk` is that of their student; `true_risk` of the student of the truth
    itself; `mask` (p,) says which coordinates to keep if each is either kept as it is or dropped, with `masked_risk`.
    """

    surrogate: np.ndarray
    risk: float
    true_risk: float
    mask: np.ndarray
    masked_risk: float


class Moments(NamedTuple):
    """What the means of the coordinates (p,) of coefficients miss of θ, and their variances (p,)."""

    missing: np.ndarray
    variance: np.ndarray


def known(theta: np.ndarray, labels: np.ndarray) -> Moments:
    """Of given coefficients, those of the labels."""
    return Moments(theta - labels, np.zeros_like(theta))


def learned(ridge: Stage, target: Moments, variances: np.ndarray, theta: np.ndarray, noise: float) -> Moments:
    """Of ridge fitted to a target and noise of this variance."""
    total = ridge.total_risk(variances, np.square(theta - target.missing) + target.variance, noise)
    missing = ridge.lost * theta + ridge.kept * target.missing
    return Moments(missing, np.square(ridge.kept) * target.variance + ridge.spread * total)


def excess_of(variances: np.ndarray, found: Moments) -> float:
    """Excess risk on new inputs."""
    return float(variances @ (np.square(found.missing) + found.variance))


def weak_to_strong_risk(
    variances: Any,
    theta: Any,
    gamma: float,
    n_samples: int,
    lam: Any,
    n_student: int,
    lam_student: Any,
    weights: Any = None,
    student_weights: Any = None,
) -> WeakToStrong:
    """Excess risk of a ridge teacher, and of a ridge student of its labels on new inputs.

    R_t = Σ s E (b − θ)²,    R_s = Σ s (E (a b − θ)² + v τ²),    τ² = Σ s g² E b² / Q

    with b the teacher's coefficients, and a, g, v, Q of the student

    Parameters
    ----------
    variances, theta, gamma
        As in `asymptotic_one_step`.
    n_samples : int
        Number of labelled samples, of the teacher.
    lam : float or array-like of shape (L,)
        Penalty of the teacher on the sum of squares, at least 0.
    n_student : int
        Number of new inputs, of the student.
    lam_student : float or array-like of shape (S,)
        Penalty of the student on the sum of squares, at least 0.
    weights, student_weights : array-like of shape (p,), optional
        Weighted ridge: the penalty is λ Σ_j weight_j θ_j², with positive weights in the eigenbasis of the covariance.

    Returns
    -------
    WeakToStrong
        `teacher` of shape (L,) and `student` of shape (L,)(S,).

    Raises
    ------
    ValueError
        If lengths differ, a variance, penalty or `gamma` is negative, a weight is not positive, or a risk is infinite:
        as many samples as features without a penalty.

    Notes
    -----
    Assumes inputs Σ^½ z with independent entries of z for both, a linear truth, noise in the teacher's labels only,
    inputs of the student independent of the teacher's, and numbers of samples that grow in proportion to p. Teacher and
    student that share their inputs are `excess_risk` of the filters of ``S.path(..., per_step=True)``.

    Setting and claims (a student makes up for a penalty of its teacher that is too small; a student whose weights suit
    the truth better surpasses it) from Moniri and Hassani 2025, arXiv:2505.18346. Only the abstract could be had; the
    formula is derived here (see the head of the module) and tested against simulation.

    Examples
    --------
    >>> from fastdistill.theory import weak_to_strong_risk
    >>> import numpy as np
    >>> s, theta = np.ones(100), np.full(100, 0.1)
    >>> risks = weak_to_strong_risk(s, theta, 1.0, 200, [1.0, 100.0], n_student=200, lam_student=[1e-9, 50.0])
    >>> risks.teacher.round(3), risks.student.round(3)
    (array([0.962, 0.414]), array([[0.962, 0.634],
           [0.414, 0.477]]))
    """
    s, coordinates, noise = checked_population(variances, theta, gamma)
    counts = [check.integer(n, name, minimum=1) for n, name in ((n_samples, "n_samples"), (n_student, "n_student"))]
    penalties = check.penalties(lam), check.penalties(lam_student, "lam_student")
    own = [
        _checked_weights(each, name, len(s))
        for each, name in ((weights, "weights"), (student_weights, "student_weights"))
    ]
    teachers = [
        learned(stage(s, counts[0], float(x), own[0]), known(coordinates, coordinates), s, coordinates, noise)
        for x in penalties[0].ravel()
    ]
    students = [stage(s, counts[1], float(x), own[1]) for x in penalties[1].ravel()]
    risks = np.array(
        [[excess_of(s, learned(ridge, taught, s, coordinates, 0.0)) for ridge in students] for taught in teachers]
    )
    of_teachers = np.array([excess_of(s, taught) for taught in teachers]).reshape(penalties[0].shape)
    return WeakToStrong(of_teachers[()], risks.reshape(penalties[0].shape + penalties[1].shape)[()])


def optimal_surrogate(variances: Any, theta: Any, gamma: float, n_samples: int, lam: float = 0.0) -> OptimalSurrogate:
    """The coefficients whose labels a ridge model learns the truth from best: better than from the truth itself.

    b_j = θ_j a_j / (a_j² + g_j² Ω / (1 − Ω)),    Ω = (1/n) Σ a²

    Parameters
    ----------
    variances, theta, gamma
        As in `asymptotic_one_step`; `gamma` is the noise of the labels, whichever coefficients they are made with.
    n_samples : int
        Number of samples that the model learns from.
    lam : float, default=0
        Penalty on the sum of squares; 0 is the least-norm interpolator where there are fewer samples than features.

    Returns
    -------
    OptimalSurrogate

    Raises
    ------
    ValueError
        If lengths differ, a variance, `lam` or `gamma` is negative, or the risk is infinite: as many samples as
        features without a penalty.

    Notes
    -----
    Assumes inputs Σ^½ z with independent entries of z, noise independent of them, and n and p that grow in proportion.
    Strong directions are amplified and weak ones shrunk: |b_j| > |θ_j| exactly where g_j < 1 − Ω. A coordinate is worth
    keeping as it is, rather than dropping, exactly where g_j² < 1 − Ω. It is an oracle: it knows θ. Without a penalty,
    at fewer features than samples, a = 1 and nothing can be gained.

    Setting and claims from Ildiz et al. 2024, arXiv:2410.18837, for λ = 0. Only the abstract could be had, and a
    summary that gives the best surrogate as their Corollary 1; the formula is derived here and tested against
    simulation.

    Examples
    --------
    >>> from fastdistill.theory import optimal_surrogate
    >>> found = optimal_surrogate([4.0, 1.0, 0.1, 0.1], [1.0, 1.0, 1.0, 1.0], gamma=0.0, n_samples=2)
    >>> found.surrogate.round(3), found.mask
    (array([1.077, 1.013, 0.126, 0.126]), array([ True,  True, False, False]))
    >>> round(found.risk, 3), round(found.masked_risk, 3), round(found.true_risk, 3)
    (0.577, 0.602, 0.831)
    """
    s, coordinates, noise = checked_population(variances, theta, gamma)
    n = check.integer(n_samples, "n_samples", minimum=1)
    ridge = stage(s, n, float(check.scalar(lam, "lam", minimum=0.0)))
    shrinkage = np.square(ridge.kept) + np.square(ridge.lost) * ridge.used / ridge.free
    factor = np.divide(ridge.kept, shrinkage, out=np.ones_like(s), where=s > 0)
    mask = ridge.used < ridge.kept * (1.0 + ridge.lost)  # g² < Q

    def risk(labels: np.ndarray) -> float:
        return excess_of(s, learned(ridge, known(coordinates, labels), s, coordinates, noise))

    best = coordinates * factor
    return OptimalSurrogate(best, risk(best), risk(coordinates), mask, risk(np.where(mask, coordinates, 0.0)))


def _checked_weights(weights: Any, name: str, count: int) -> np.ndarray | None:
    if weights is None:
        return None
    arr = check.sized(check.real_array(weights, name, ndim=1), name)
    if len(arr) != count or not arr.min(initial=1.0) > 0.0:
        raise ValueError(f"{name} must hold {count} positive numbers, one for each variance.")
    return arr
