"""Distillation as partial variance reduction [S]: constants, noise neighbourhoods, and bounds on convergence.

Stochastic gradient descent with a teacher θ and the weight λ, on f(x) = (1/N) Σ f_n(x) with minimiser x*, is

    x⁺ = x − γ (∇f_B(x) − λ ∇f_B(θ) [+ λ ∇f(θ)])        `kd`, with the bracket `kd_unbiased`

with independent batches B. It contracts at the rate 1 − γμ towards a neighbourhood of x* whose size is
proportional to

    N(λ) = E‖∇f_B(x*) − λ ∇f_B(θ)‖² + λ² ‖∇f(θ)‖² / (2γκ),      N(λ*) / N(0) = 1 − ρ² / (1 + β),
    ρ = E⟨∇f_B(x*), ∇f_B(θ)⟩ / √(E‖∇f_B(x*)‖² E‖∇f_B(θ)‖²),     β = ‖∇f(θ)‖² / (2γκ E‖∇f_B(θ)‖²),

with κ = μ in the bound on the distance and κ = L in the bound on the loss (`curvature` here): the bias of the step
costs less in the loss. For `kd_unbiased` all three gradients of the teacher are centred and there is no bias: β = 0.

The bounds are derived here, with constants that hold for every step up to the largest one stated, and with the same N
in front. With u = ∇f_B(x) − ∇f_B(x*), E‖u‖² ≤ 2ℒ (f(x) − f*), the rest v of the step and the split
‖u + v‖² ≤ (1 + α)‖u‖² + (1 + 1/α)‖v‖², the α that leaves the rate 1 − γμ and the factor 1/(2γκ) gives

    K(q) = 1 + 1/α = (3 + √(1 + 8q)) / (2 (1 − q)),    q = γℒ (distance) or γLℒ/μ (loss), below 1;

`kd_unbiased` has no bias to pay for, and K(q) = 1 / (1 − q).

| paper [S]                                | here                                                  |
|------------------------------------------|-------------------------------------------------------|
| x*, θ, λ, γ                              | `reference`, `teacher`, `kd_weight`, `step_size`      |
| L, μ, ℒ                                  | `Smoothness.lipschitz`, `strong_convexity`, `expected`|
| N(λ), N(0) = σ², ρ, β, λ*                | `KDNeighbourhood`                                     |
| ω of an unbiased compressor              | `omega`: E‖C(z) − z‖² ≤ ω ‖z‖²                        |

Losses, targets and penalty as in `fastdistill.base.linear_losses`: the penalty (l2/2)‖coef‖² belongs to every f_n, so
that ∇f_B(θ) carries l2 · θ; an intercept is the last row of the parameters and is not penalised.

Cost: O(N p²) + O(p³) for the constants, O(N p) for the moments, O(1) for a bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import linear_losses as losses
from fastdistill.base import validation as check
from fastdistill.base.linear_losses import GradientMoments

# Largest second derivative of each loss by its scores; for softmax the largest eigenvalue, reached at two classes of ½.
_CURVATURE = {"squared": 1.0, "logistic": 0.25, "softmax": 0.5}


class Smoothness(NamedTuple):
    """Constants of an objective f = mean of f_n; see `smoothness`."""

    lipschitz: float  # L of ∇f
    strong_convexity: float  # μ of f, 0.0 where there is none
    pl: float  # μ of the Polyak-Łojasiewicz inequality, 0.0 where none is known
    expected: float  # ℒ, expected smoothness of batches
    sample_lipschitz: np.ndarray  # (N,) L_n of ∇f_n


class KDNeighbourhood(NamedTuple):
    """N(λ) of one teacher, step and sampling; see `kd_neighbourhood`."""

    moments: GradientMoments
    step_size: float
    curvature: float

    def at(self, kd_weight: Any) -> Any:
        """N(λ) for weights of any shape."""
        lam, m = check.real_array(kd_weight, "kd_weight"), self.moments
        value = m.noise - 2.0 * lam * m.cross + lam**2 * m.teacher * (1.0 + self.beta)
        return np.maximum(value, 0.0)[()]  # rounding can take it below where the teacher is the minimiser

    @property
    def correlation(self) -> float:
        """ρ in [−1, 1]; 0.0 where one of the gradients vanishes."""
        scale = np.sqrt(self.moments.noise * self.moments.teacher)
        return float(np.clip(self.moments.cross / scale, -1.0, 1.0)) if scale > 0 else 0.0

    @property
    def beta(self) -> float:
        """β = ‖∇f(θ)‖² / (2γκ E‖∇f_B(θ)‖²), what the bias of the step costs."""
        bias, teacher = self.moments.bias, self.moments.teacher
        return bias / teacher / (2.0 * self.step_size * self.curvature) if bias > 0 and teacher > 0 else 0.0

    @property
    def best_weight(self) -> float:
        """λ*, the minimiser of N."""
        return self.moments.best_weight(self.step_size, self.curvature)

    @property
    def reduction(self) -> float:
        """N(λ*) / N(0) = 1 − ρ² / (1 + β), the share of the noise that the best weight leaves."""
        return 1.0 - self.correlation**2 / (1.0 + self.beta)


def smoothness(
    X: Any,
    *,
    loss: str = "squared",
    l2: float = 0.0,
    fit_intercept: bool = False,
    batch_size: int = 1,
    replace: bool = False,
) -> Smoothness:
    """Smoothness, strong convexity and expected smoothness of a loss on linear scores.

    L = s λ_max(XᵀX/N) + l2,    L_n = s ‖a_n‖² + l2,    s = 1 (squared), ¼ (logistic), ½ (softmax),
    ℒ(τ) = N(τ−1)/(τ(N−1)) L + (N−τ)/(τ(N−1)) max L_n

    Parameters
    ----------
    X : array-like or scipy.sparse (n, p)
    loss : {"squared", "logistic", "softmax"}
    l2 : float
        Penalty (l2/2)‖coef‖² on every f_n, at least zero.
    fit_intercept : bool
        Whether there is an unpenalised intercept, a constant feature of one.
    batch_size : int
        τ, samples averaged in a step.
    replace : bool
        Whether batches are drawn with replacement: then ℒ(τ) = (1 − 1/τ) L + max L_n / τ, which is larger.

    Returns
    -------
    Smoothness
        `lipschitz` L, `strong_convexity` μ, `pl`, `expected` ℒ, `sample_lipschitz` (n,). For ``squared`` μ is the
        smallest eigenvalue of the Hessian, and `pl` the smallest above rounding; otherwise both are l2, and 0.0
        with an intercept.

    Raises
    ------
    ValueError
        Bad arguments, or X with more than 4000 rows and columns both.

    Notes
    -----
    Exact for ``squared``; for ``logistic`` L is reached at x = 0; for ``softmax`` L is an upper bound, approached
    where all samples hesitate between the same two classes. ℒ is such that E‖∇f_B(x) − ∇f_B(x*)‖² ≤ 2ℒ (f(x) − f*)
    for convex f_n, the assumption of the theorems of [S]. O(N p²) + O(p³).

    Examples
    --------
    >>> from fastdistill.theory import smoothness
    >>> c = smoothness([[1.0, 0.0], [0.0, 2.0]], batch_size=2)
    >>> float(c.lipschitz), float(c.strong_convexity), float(c.expected), c.sample_lipschitz
    (2.0, 0.5, 2.0, array([1., 4.]))
    """
    scale = _CURVATURE[check.choice(loss, "loss", losses.LOSSES)]
    X = check.design(X)
    l2 = check.scalar(l2, "l2", minimum=0.0)
    intercept = check.boolean(fit_intercept, "fit_intercept")
    share = losses.checked_share(X.shape[0], batch_size, replace)
    each = _sample_constants(scale * losses.squared_norms(X), scale if intercept else 0.0, l2)
    eigenvalues = _hessian_eigenvalues(X, scale, l2, intercept)
    largest = float(eigenvalues[-1])
    if loss == "squared":
        pl = losses.smallest_above_rounding(eigenvalues)
        mu = pl if eigenvalues[0] >= pl else 0.0
    else:
        mu = pl = 0.0 if intercept else l2
    return Smoothness(largest, mu, pl, float(share * each.max() + (1.0 - share) * largest), each)


def _sample_constants(squares: np.ndarray, constant: float, l2: float) -> np.ndarray:
    """Largest eigenvalues of s (a, 1)(a, 1)ᵀ + l2 diag(1, .., 1, 0), from s‖a‖² and s (0 without an intercept)."""
    if constant == 0.0:
        return squares + l2
    top, product = squares + l2, np.sqrt(squares * constant)  # of the 2 × 2 block of a/‖a‖ and the intercept
    return 0.5 * (top + constant) + np.hypot(0.5 * (top - constant), product)


def _hessian_eigenvalues(X: Any, scale: float, l2: float, fit_intercept: bool) -> np.ndarray:
    """Ascending eigenvalues of scale (X 1)ᵀ(X 1)/N + l2 diag(1, .., 1, 0), of which zeros may be left out but one."""
    n, p = X.shape
    width, from_rows = p + fit_intercept, n < p and not (fit_intercept and l2 > 0)
    if (n if from_rows else width) > losses.LARGEST_HESSIAN:
        raise ValueError(
            f"X has shape {X.shape}: eigenvalues are computed for up to {losses.LARGEST_HESSIAN} features (or samples, "
            f"if these are fewer); use a subsample of the rows, or fewer features."
        )
    if from_rows:
        gram = X @ X.T
        gram = (gram if isinstance(gram, np.ndarray) else gram.toarray()) + float(fit_intercept)
        return np.append(l2, l2 + scale * np.maximum(np.linalg.eigvalsh(gram), 0.0) / n)
    gram = X.T @ X
    out = np.zeros((width, width))
    out[:p, :p] = gram if isinstance(gram, np.ndarray) else gram.toarray()
    if fit_intercept:
        out[p, :p] = out[:p, p] = np.asarray(X.sum(axis=0)).ravel()
        out[p, p] = n
    out *= scale / n
    out[np.arange(p), np.arange(p)] += l2
    return np.linalg.eigvalsh(out)


def kd_neighbourhood(
    X: Any,
    y: Any,
    teacher: Any,
    reference: Any,
    *,
    step_size: float,
    loss: str = "squared",
    l2: float = 0.0,
    batch_size: int = 1,
    fit_intercept: bool = False,
    variant: str = "kd",
    curvature: float | None = None,
    replace: bool = True,
) -> KDNeighbourhood:
    """The noise neighbourhood N(λ) of distillation: correlation, β, best weight, reduction.

    N(λ) = E‖∇f_B(x*) − λ ∇f_B(θ)‖² + λ² ‖∇f(θ)‖² / (2γκ),    N(λ*) / N(0) = 1 − ρ² / (1 + β)

    Parameters
    ----------
    X, y, teacher, reference, step_size, loss, l2, batch_size, fit_intercept, variant, replace
        As in `fastdistill.optimal_kd_weight`, which returns `best_weight` alone.
    curvature : float, optional
        κ. μ, by default the smallest eigenvalue of the Hessian at the reference: that of the bound on the distance
        for ``squared``. For the bounds on other losses pass `smoothness(...).strong_convexity` (distance) or
        `.lipschitz` (loss).

    Returns
    -------
    KDNeighbourhood
        `at(kd_weight)` N(λ), `correlation` ρ, `beta` β, `best_weight` λ*, `reduction` N(λ*)/N(0), and the `moments`
        they are made of (`moments.noise` is σ² = N(0)).

    Raises
    ------
    ValueError
        As `fastdistill.optimal_kd_weight`.

    Notes
    -----
    N(λ) of [S], whose factor inside β differs between derivations: here 2γκ, with κ = μ for the bound on the distance
    and κ = L for that on the loss.
    O(N p), and O(N p² + p³) for κ unless it is given.

    Examples
    --------
    >>> from fastdistill.theory import kd_neighbourhood
    >>> X, y = [[1.0], [1.0], [2.0]], [0.0, 2.0, 2.0]
    >>> around = kd_neighbourhood(X, y, teacher=[1.5], reference=[1.0], step_size=0.1)
    >>> round(around.correlation, 4), round(around.beta, 4), round(around.reduction, 4)
    (0.5547, 1.1538, 0.8571)
    >>> round(float(around.at(around.best_weight) / around.at(0.0)), 4)
    0.8571
    """
    points = {"teacher": teacher, "reference": reference}
    problem, (theta, best) = losses.checked_problem(X, y, points, loss=loss, l2=l2, fit_intercept=fit_intercept)
    gamma = check.scalar(step_size, "step_size", minimum=0.0, strict=True, largest=check.LARGEST)
    moments = problem.moments(best, theta, losses.checked_share(problem.X.shape[0], batch_size, replace))
    if check.choice(variant, "variant", losses.VARIANTS) == "kd_unbiased":
        return KDNeighbourhood(moments.centred(), gamma, 1.0)
    return KDNeighbourhood(moments, gamma, losses.checked_curvature(problem, best, curvature))


def kd_distance_bound(
    neighbourhood: Any,
    constants: Smoothness,
    *,
    step_size: float,
    n_steps: Any,
    initial: float,
    variant: str = "kd",
) -> Any:
    """Bound on the distance to the minimiser, for strongly convex objectives.

    E‖x_t − x*‖² ≤ (1 − γμ)^t ‖x_0 − x*‖² + (1 − (1 − γμ)^t) K(γℒ) (γ/μ) N(λ)

    Parameters
    ----------
    neighbourhood : float or array-like
        N(λ), of `kd_neighbourhood` with ``curvature=constants.strong_convexity``, the same step, batches and variant.
    constants : Smoothness
        Of the same objective and batches.
    step_size : float
        γ, above zero and below 1/ℒ.
    n_steps : int or array-like of int
        t; broadcasts against `neighbourhood`.
    initial : float
        ‖x_0 − x*‖².
    variant : {"kd", "kd_unbiased"}

    Returns
    -------
    float or ndarray

    Raises
    ------
    ValueError
        A step of 1/ℒ or more (the message names the largest allowed), no strong convexity, or negative arguments.

    Notes
    -----
    Assumes strong convexity, convex f_n (only through expected smoothness), ∇f(x*) = 0 and independent batches.
    The strongly convex theorem of [S], for `kd` and without its bias, with constants derived here: K(q) =
    (3 + √(1 + 8q)) / (2(1 − q)), between 2 and 2.53 for γ ≤ 1/(8ℒ), or 1/(1 − q) for `kd_unbiased`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill.theory import Smoothness, kd_distance_bound
    >>> c = Smoothness(1.0, 0.5, 0.5, 2.0, np.array([1.0, 2.0]))
    >>> float(kd_distance_bound(0.0, c, step_size=0.25, n_steps=2, initial=1.0))
    0.765625
    """
    gamma, noise, t, start, variant = _bound_arguments(neighbourhood, step_size, n_steps, initial, variant)
    spread = _spread(gamma, 1.0 / constants.expected, "1/ℒ", variant)
    mu = _positive(constants.strong_convexity, "strong convexity")
    return _towards(1.0 - gamma * mu, t, start, spread * gamma / mu * noise)


def kd_loss_bound(
    neighbourhood: Any,
    constants: Smoothness,
    *,
    step_size: float,
    n_steps: Any,
    initial: float,
    variant: str = "kd",
) -> Any:
    """Bound on the loss, under the Polyak-Łojasiewicz inequality ‖∇f(x)‖² ≥ 2μ (f(x) − f*).

    E f(x_t) − f* ≤ (1 − γμ)^t (f(x_0) − f*) + (1 − (1 − γμ)^t) K(γLℒ/μ) (γL/2μ) N(λ)

    Parameters
    ----------
    neighbourhood : float or array-like
        N(λ), of `kd_neighbourhood` with ``curvature=constants.lipschitz``, the same step, batches and variant.
    constants : Smoothness
        Of the same objective and batches; μ is its `pl`.
    step_size : float
        γ, above zero and below μ/(Lℒ).
    n_steps, variant
        As in `kd_distance_bound`.
    initial : float
        f(x_0) − f*.

    Returns
    -------
    float or ndarray

    Raises
    ------
    ValueError
        A step of μ/(Lℒ) or more (the message names the largest allowed), or no such μ.

    Notes
    -----
    Needs no unique minimiser: least squares with fewer samples than features has a μ, the smallest positive
    eigenvalue. The theorem of [S] under this inequality, for both variants, with K as in `kd_distance_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill.theory import Smoothness, kd_loss_bound
    >>> c = Smoothness(1.0, 0.0, 0.5, 2.0, np.array([1.0, 2.0]))
    >>> float(kd_loss_bound(0.0, c, step_size=0.125, n_steps=1, initial=1.0))
    0.9375
    """
    gamma, noise, t, start, variant = _bound_arguments(neighbourhood, step_size, n_steps, initial, variant)
    mu, smooth = _positive(constants.pl, "Polyak-Łojasiewicz constant"), constants.lipschitz
    spread = _spread(gamma, mu / (smooth * constants.expected), "μ/(Lℒ)", variant)
    return _towards(1.0 - gamma * mu, t, start, spread * gamma * smooth / (2.0 * mu) * noise)


def compressed_distance_bound(
    neighbourhood: Any,
    constants: Smoothness,
    *,
    step_size: float,
    n_steps: Any,
    initial: float,
    omega: float,
    reference_norm: float,
    variant: str = "kd",
) -> Any:
    """Bound on the distance to the minimiser when every iterate is compressed, x⁺ = C(x − γ g).

    E‖x_t − x*‖² ≤ r^t ‖x_0 − x*‖² + (1 − r^t) [(1 + ω + aω) γ² K(γℒ) N(λ) + ω (1 + 1/a) ‖x*‖²] / (1 − r),
    r = (1 + ω + aω)(1 − γμ), with the a > 0 that makes the last fraction smallest

    Parameters
    ----------
    neighbourhood, constants, step_size, n_steps, initial, variant
        As in `kd_distance_bound`.
    omega : float
        ω of an unbiased compressor, E C(z) = z and E‖C(z) − z‖² ≤ ω ‖z‖²: p/k − 1 for k random coordinates of p,
        1/q − 1 for coordinates kept with probability q. At least zero and below γμ/(1 − γμ).
    reference_norm : float
        ‖x*‖², the square of the norm.

    Returns
    -------
    float or ndarray

    Raises
    ------
    ValueError
        As `kd_distance_bound`, or an ω so large that nothing contracts; the message names the largest allowed.

    Notes
    -----
    The theorem of [S] on compressed iterates: compression adds noise in proportion to the minimiser itself, which no
    teacher removes. ω = 0 is `kd_distance_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill.theory import Smoothness, compressed_distance_bound
    >>> c = Smoothness(1.0, 0.5, 0.5, 2.0, np.array([1.0, 2.0]))
    >>> b = compressed_distance_bound(0.0, c, step_size=0.4, n_steps=10**6, initial=1.0, omega=0.01, reference_norm=1.0)
    >>> round(float(b), 4)
    0.0781
    """
    gamma, noise, t, start, variant = _bound_arguments(neighbourhood, step_size, n_steps, initial, variant)
    omega = check.scalar(omega, "omega", minimum=0.0)
    norm = check.scalar(reference_norm, "reference_norm", minimum=0.0, largest=check.LARGEST)
    spread = _spread(gamma, 1.0 / constants.expected, "1/ℒ", variant)
    mu = _positive(constants.strong_convexity, "strong convexity")
    rate = 1.0 - gamma * mu
    slack = 1.0 - (1.0 + omega) * rate
    if slack <= 0.0:
        raise ValueError(
            f"omega={omega:.6g} is too large: compressed iterates contract for omega below γμ/(1 − γμ) = "
            f"{(1.0 - rate) / rate:.6g}. Compress less, or take a step above ω/((1 + ω)μ) = "
            f"{omega / ((1.0 + omega) * mu):.6g} (and below 1/ℒ = {1.0 / constants.expected:.6g})."
        )
    fresh = gamma**2 * spread * noise
    # the minimiser over a of the last fraction: the positive root of A a² + 2 B a = C
    A = fresh * slack + rate * ((1.0 + omega) * fresh + omega * norm)
    B, C = omega * norm * rate, norm * slack
    root = B + np.sqrt(B**2 + A * C)
    a = np.divide(C, root, out=np.zeros_like(root), where=root > 0.0)
    growth = 1.0 + omega + a * omega
    pull = omega * norm * (1.0 + np.divide(1.0, a, out=np.zeros_like(a), where=a > 0.0))
    return _towards(growth * rate, t, start, (growth * fresh + pull) / (1.0 - growth * rate))


def _bound_arguments(
    neighbourhood: Any, step_size: Any, n_steps: Any, initial: Any, variant: str
) -> tuple[float, np.ndarray, np.ndarray, float, str]:
    noise, t = check.real_array(neighbourhood, "neighbourhood"), check.real_array(n_steps, "n_steps")
    for arr, name in ((noise, "neighbourhood"), (t, "n_steps")):
        if arr.min(initial=0.0) < 0:
            raise ValueError(f"{name} must be at least 0, got {arr.min():.6g}.")
    check.sized(noise, "neighbourhood")
    return (
        check.scalar(step_size, "step_size", minimum=0.0, strict=True, largest=check.LARGEST),
        noise,
        t,
        check.scalar(initial, "initial", minimum=0.0, largest=check.LARGEST_LINEAR),
        check.choice(variant, "variant", losses.VARIANTS),
    )


def _spread(step_size: float, largest: float, formula: str, variant: str) -> float:
    """K(q) at q = step_size / largest."""
    q = step_size / largest
    if q >= 1.0:
        raise ValueError(f"step_size={step_size:.6g} is too large: the bound holds below {formula} = {largest:.6g}.")
    return 1.0 / (1.0 - q) if variant == "kd_unbiased" else (3.0 + np.sqrt(1.0 + 8.0 * q)) / (2.0 * (1.0 - q))


def _positive(constant: float, name: str) -> float:
    if constant <= 0.0:
        raise ValueError(f"The {name} is {constant:g}, but this bound needs a positive one; add a penalty l2.")
    return constant


def _towards(rate: Any, t: np.ndarray, start: float, plateau: Any) -> Any:
    """rate^t start + (1 − rate^t) plateau."""
    left = rate**t
    with np.errstate(over="ignore", invalid="ignore"):
        bound = left * start + (1.0 - left) * plateau
    if not np.isfinite(bound).all():
        raise ValueError("The bound overflows in float64: the noise or the constants are too large; rescale X and y.")
    return bound[()]
