"""Losses that see the features through linear scores: values, residuals, gradients, and the moments distillation needs.

Sample n has features a_n, scores z_n = coefᵀ a_n + intercept and targets b_n. The objective is the mean over samples
plus a penalty, and the penalty is part of every f_n (the intercept is not penalised)::

    f(x) = (1/N) Σ_n f_n(x),    f_n(x) = ℓ(z_n, b_n) + (l2 / 2) ‖coef‖²,    ∇f_n(x) = r_n ⊗ (a_n, 1) + l2 · (coef, 0)

==============  ===============================  =======================  ======================================
loss            ℓ(z, b)                          residual r = ∂ℓ/∂z       targets b
==============  ===============================  =======================  ======================================
``squared``     ½ ‖z − b‖²                       z − b                    numbers (n,) or (n, m)
``logistic``    log(1 + eᶻ) − b z                σ(z) − b                 0, 1 or a probability (n,)
``softmax``     log Σ_c e^{z_c} − ⟨b, z⟩         softmax(z) − b           one-hot or probabilities (n, C)
==============  ===============================  =======================  ======================================

Distillation replaces ∇f_n(x) by ∇f_n(x) − λ ∇f_n(θ): a teacher θ enters through its residuals, one number per sample
and class, and through l2 · θ. Batches of size τ average τ gradients; their second moments are a weighted mean of
those of one sample and of all, with the weight c = 1/τ of one sample when drawn with replacement and
c = (N − τ) / (τ (N − 1)) without.

===========================================  ======================================================
S (Safaryan, Peste, Alistarh 2023)           here
===========================================  ======================================================
x*, θ, λ, γ                                  ``reference``, ``teacher``, ``kd_weight``, ``step_size``
E‖∇f_ξ(x*)‖², E‖∇f_ξ(θ)‖², E⟨·,·⟩, ‖∇f(θ)‖²  ``GradientMoments``
===========================================  ======================================================

Cost: one product with X per set of scores and one per gradient, O(N) besides. The smallest eigenvalue of a Hessian is
O(N p² + p³), for softmax O(N p² C² + (p C)³).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation as check

LOSSES = ("squared", "logistic", "softmax")
VARIANTS = ("kd", "kd_unbiased")
# Hessians beyond this many rows are not formed: the eigenvalues of 4000 rows take 7 s on one core.
LARGEST_HESSIAN = 4000

EPS = float(np.finfo(np.float64).eps)


# --- on trusted arrays ---------------------------------------------------------------------------


def scores(X: Any, coef: np.ndarray, intercept: Any = 0.0) -> np.ndarray:
    """z = X coef + intercept, (n,) or (n, C), for dense or CSR X."""
    return X @ coef + intercept


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ᶻ), accurate at both ends and without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))


def softmax(z: np.ndarray) -> np.ndarray:
    """e^{z_c} / Σ e^{z_k} along the last axis, without overflow."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def predictions(loss: str, z: np.ndarray) -> np.ndarray:
    """What the scores predict of the targets: z, σ(z) or softmax(z)."""
    if loss == "squared":
        return z
    return sigmoid(z) if loss == "logistic" else softmax(z)


def residuals(loss: str, z: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """∂ℓ/∂z, of the shape of the scores: prediction minus target."""
    return predictions(loss, z) - targets


def loss_values(loss: str, z: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """ℓ(z_n, b_n), (n,): summed over outputs."""
    if loss == "squared":
        squares = z - targets
        squares *= squares
        squares *= 0.5
        if squares.ndim == 1:
            return squares
        return squares[..., 0] if squares.shape[-1] == 1 else squares.sum(axis=-1)
    if loss == "logistic":
        # log(1 + eᶻ) − b z for b in {0, 1} is log(1 + e^{∓z}); the difference would cancel for large z
        return (1.0 - targets) * np.logaddexp(0.0, z) + targets * np.logaddexp(0.0, -z)
    shifted = z - z.max(axis=-1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return (targets * (log_normaliser - shifted)).sum(axis=-1)


def objective(loss: str, X: Any, targets: np.ndarray, coef: np.ndarray, intercept: Any = 0.0, l2: float = 0.0) -> float:
    """f(x) = (1/N) Σ ℓ(z_n, b_n) + (l2 / 2) ‖coef‖²."""
    return float(loss_values(loss, scores(X, coef, intercept), targets).mean() + 0.5 * l2 * np.vdot(coef, coef))


def full_gradient(
    loss: str, X: Any, targets: np.ndarray, coef: np.ndarray, intercept: Any = 0.0, l2: float = 0.0
) -> tuple[np.ndarray, Any]:
    """∇f(x) = (Xᵀ r / N + l2 coef, mean r): by coefficients (p,) or (p, C) and by intercept, () or (C,)."""
    r = residuals(loss, scores(X, coef, intercept), targets)
    return X.T @ r / len(r) + l2 * coef, r.mean(axis=0)


def squared_norms(X: Any, *, fit_intercept: bool = False) -> np.ndarray:
    """‖a_n‖² (n,), plus one for the constant feature of an intercept."""
    if isinstance(X, np.ndarray):
        norms = np.einsum("np,np->n", X, X)
    else:
        norms = np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return norms + float(fit_intercept)


def single_share(n_samples: int, batch_size: int, *, replace: bool) -> float:
    """c in E‖g_B‖² = c · mean‖g_n‖² + (1 − c) ‖mean g_n‖², the share of a single sample in a batch."""
    if replace or n_samples == 1:
        return 1.0 / batch_size
    return (n_samples - batch_size) / (batch_size * (n_samples - 1))


class GradientMoments(NamedTuple):
    """Second moments of the batch gradients at the reference x* and at the teacher θ."""

    noise: float  # σ² = E‖∇f_B(x*)‖²
    teacher: float  # E‖∇f_B(θ)‖²
    cross: float  # E⟨∇f_B(x*), ∇f_B(θ)⟩
    bias: float  # ‖∇f(θ)‖²
    mean_cross: float  # ⟨∇f(x*), ∇f(θ)⟩, zero where x* is the minimiser

    def centred(self) -> GradientMoments:
        """The same of ∇f_B(θ) − ∇f(θ), which is what the unbiased variant subtracts."""
        spread = self.teacher - self.bias
        if spread <= 16 * EPS * self.bias:  # rounding: all samples have the same gradient
            return GradientMoments(self.noise, 0.0, 0.0, 0.0, 0.0)
        return GradientMoments(self.noise, spread, self.cross - self.mean_cross, 0.0, 0.0)

    def best_weight(self, step_size: float, curvature: float) -> float:
        """λ* = cross / (teacher + bias / (2 γ curvature)), and 0 where the teacher's gradients all vanish."""
        tilt = self.bias / (2.0 * step_size * curvature) if self.bias > 0 else 0.0
        total = self.teacher + tilt
        return self.cross / total if total > 0 else 0.0


class LinearProblem(NamedTuple):
    """Checked data of a loss on linear scores; parameters are stacked, the intercept as the last row."""

    loss: str
    X: Any
    targets: np.ndarray
    l2: float
    fit_intercept: bool

    def split(self, stacked: np.ndarray) -> tuple[np.ndarray, Any]:
        return (stacked[:-1], stacked[-1]) if self.fit_intercept else (stacked, 0.0)

    def residuals(self, stacked: np.ndarray) -> np.ndarray:
        return residuals(self.loss, scores(self.X, *self.split(stacked)), self.targets)

    def penalised(self, stacked: np.ndarray) -> np.ndarray:
        """l2 · (coef, 0), the gradient of the penalty."""
        out = self.l2 * stacked
        if self.fit_intercept:
            out[-1] = 0.0
        return out

    def pulled_back(self, r: np.ndarray) -> np.ndarray:
        """Σ r_n ⊗ (a_n, 1) / N."""
        g = self.X.T @ r / len(r)
        return np.concatenate([g, r.mean(axis=0)[None]]) if self.fit_intercept else g

    def moments(self, reference: np.ndarray, teacher: np.ndarray, share: float) -> GradientMoments:
        """Second moments over batches in which a single sample has the given share; O(N) after two products with X."""
        norms = squared_norms(self.X, fit_intercept=self.fit_intercept)
        points = [(reference, self.residuals(reference)), (teacher, self.residuals(teacher))]
        data = [self.pulled_back(r) for _, r in points]
        pull = [self.penalised(x) for x, _ in points]

        def second_moment(i: int, j: int) -> float:
            rows = (points[i][1] * points[j][1]).reshape(len(norms), -1).sum(axis=1)
            single = rows @ norms / len(norms) + np.vdot(data[i], pull[j]) + np.vdot(pull[i], data[j])
            single += np.vdot(pull[i], pull[j])
            return float(share * single + (1.0 - share) * full(i, j))

        def full(i: int, j: int) -> float:
            return float(np.vdot(data[i] + pull[i], data[j] + pull[j]))

        found = (second_moment(0, 0), second_moment(1, 1), second_moment(0, 1), full(1, 1), full(0, 1))
        if not np.isfinite(found).all():
            raise ValueError(
                "The squares of the gradients overflow: the teacher or the reference is too large; rescale."
            )
        return GradientMoments(*found)

    def hessian(self, stacked: np.ndarray) -> np.ndarray:
        """∇²f at a point, (P, P) over the raveled parameters (classes of one feature side by side)."""
        z = scores(self.X, *self.split(stacked))
        dense = self.X if isinstance(self.X, np.ndarray) else self.X.toarray()
        rows = np.column_stack([dense, np.ones(len(dense))]) if self.fit_intercept else dense
        n, width = rows.shape
        n_outputs = 1 if stacked.ndim == 1 else stacked.shape[1]
        out = np.zeros((width, n_outputs, width, n_outputs))
        predicted = predictions(self.loss, z).reshape(n, n_outputs)
        for i in range(n_outputs):
            for j in range(i + 1) if self.loss == "softmax" else [i]:
                block = (rows * (_curvatures(self.loss, predicted, i, j) / n)[:, None]).T @ rows
                out[:, i, :, j] = out[:, j, :, i] = (block + block.T) / 2
        penalty = np.full((width, n_outputs), self.l2)
        if self.fit_intercept:
            penalty[-1] = 0.0
        hessian = out.reshape(width * n_outputs, -1)
        hessian[np.diag_indices_from(hessian)] += penalty.ravel()
        return hessian

    def local_curvature(self, stacked: np.ndarray) -> float:
        """The smallest eigenvalue of the Hessian above rounding, 0.0 where it has none."""
        if self.loss == "squared" and stacked.ndim == 2:
            stacked = stacked[:, :1]  # every output has the same Hessian
        size = np.size(stacked)
        if size > LARGEST_HESSIAN:
            raise ValueError(
                f"The Hessian has {size} rows, beyond the {LARGEST_HESSIAN} for which its smallest eigenvalue is "
                f"computed; pass curvature=, for example l2 where it is positive."
            )
        eigenvalues = np.linalg.eigvalsh(self.hessian(stacked))
        return smallest_above_rounding(eigenvalues)


def _curvatures(loss: str, predicted: np.ndarray, i: int, j: int) -> np.ndarray:
    """∂²ℓ/∂z_i∂z_j (n,) at the predictions (n, C)."""
    if loss == "squared":
        return np.ones(len(predicted))
    p = predicted[:, i]
    return p * (1.0 - p) if i == j else -p * predicted[:, j]


def smallest_above_rounding(eigenvalues: np.ndarray) -> float:
    """The smallest of the ascending eigenvalues that rounding cannot have made of a zero; 0.0 where there is none."""
    above = eigenvalues[eigenvalues > len(eigenvalues) * EPS * eigenvalues[-1]]
    return float(above[0]) if above.size else 0.0


# --- at the door ---------------------------------------------------------------------------------


def encode_targets(loss: str, y: Any, n_samples: int, n_classes: int | None = None) -> np.ndarray:
    """Checked targets in the form of the table above: labels {−1, +1} become {0, 1}, class numbers one-hot rows."""
    arr = check.real_array(y, "y", ndim=1 if loss == "logistic" else (1, 2))
    if len(arr) != n_samples:
        raise ValueError(f"y has {len(arr)} rows, but there are {n_samples} samples.")
    if loss == "squared":
        return check.sized(arr, "y", check.LARGEST_FACTOR)
    if loss == "logistic":
        return _binary(arr)
    targets = _one_hot(arr, n_classes) if arr.ndim == 1 else _probabilities(arr, n_classes)
    if targets.shape[1] < 2:
        raise ValueError(f"The softmax loss needs two classes or more, but there are {targets.shape[1]}.")
    return targets


def _binary(y: np.ndarray) -> np.ndarray:
    found = np.unique(y)
    if np.all(np.isin(found, [-1.0, 1.0])) and found[0] == -1.0:
        return (y > 0).astype(np.float64)
    if np.all(np.isin(found, [0.0, 1.0])):
        return y
    raise ValueError(
        f"y must hold the labels 0 and 1, or -1 and 1, for the logistic loss; found {found[:3].tolist()}"
        f"{' and more' if len(found) > 3 else ''}."
    )


def _one_hot(y: np.ndarray, n_classes: int | None) -> np.ndarray:
    wrong = np.flatnonzero((np.floor(y) != y) | (y < 0) | (y > np.iinfo(np.int32).max))
    if wrong.size:
        raise ValueError(
            f"y must hold class numbers 0, 1, 2, ... for the softmax loss, got {y[wrong[0]]:g} at index {wrong[0]}."
        )
    labels = y.astype(np.intp)
    largest = int(labels.max(initial=0))
    if n_classes is None and largest > len(y):
        raise ValueError(f"y holds the class {largest}, but {len(y)} samples: number the classes 0, 1, ..., C - 1.")
    n_classes = max(largest + 1, 2) if n_classes is None else n_classes
    if largest >= n_classes:
        raise ValueError(f"y holds the class {largest}, but the coefficients are for {n_classes} classes (0 to C − 1).")
    return np.eye(n_classes)[labels]


def _probabilities(y: np.ndarray, n_classes: int | None) -> np.ndarray:
    if n_classes is not None and y.shape[1] != n_classes:
        raise ValueError(f"y has {y.shape[1]} columns, but the coefficients are for {n_classes} classes.")
    off = np.abs(y.sum(axis=1) - 1.0)
    if y.min(initial=0.0) < 0 or off.max(initial=0.0) > 1e-6:
        raise ValueError(
            f"A 2-D y must hold class probabilities: no entry below 0 (got {y.min():.6g}), rows summing to 1 (one is "
            f"off by {off.max():.3g})."
        )
    return y


def checked_problem(
    X: Any, y: Any, points: dict[str, Any], *, loss: str, l2: Any, fit_intercept: Any
) -> tuple[LinearProblem, list[np.ndarray]]:
    """The problem, and the parameters named in `points`, all of the shape that X, y and the loss ask for."""
    loss = check.choice(loss, "loss", LOSSES)
    X = check.design(X, largest=check.LARGEST_FACTOR)
    l2 = check.scalar(l2, "l2", minimum=0.0)
    fit_intercept = check.boolean(fit_intercept, "fit_intercept")
    arrays = {
        name: check.sized(check.real_array(value, name, ndim=(1, 2)), name, smallest=0.0)
        for name, value in points.items()
    }
    first = next(iter(arrays.values()))
    n_classes = first.shape[1] if loss == "softmax" and first.ndim == 2 else None
    targets = encode_targets(loss, y, X.shape[0], n_classes)
    shape = (X.shape[1] + fit_intercept, *targets.shape[1:])
    for name, arr in arrays.items():
        if arr.shape != shape:
            raise ValueError(
                f"{name} has shape {arr.shape}, but {shape} is needed: a row per feature"
                f"{', the intercept as the last row' if fit_intercept else ''}"
                f"{', a column per class or output' if len(shape) == 2 else ''}."
            )
    return LinearProblem(loss, X, targets, l2, fit_intercept), list(arrays.values())


def checked_share(n_samples: int, batch_size: Any, replace: Any) -> float:
    """`single_share` of checked arguments."""
    batch_size, replace = check.integer(batch_size, "batch_size", minimum=1), check.boolean(replace, "replace")
    if not replace and batch_size > n_samples:
        raise ValueError(f"batch_size={batch_size} without replacement needs as many samples; there are {n_samples}.")
    return single_share(n_samples, batch_size, replace=replace)


def checked_curvature(problem: LinearProblem, reference: np.ndarray, curvature: Any) -> float:
    """The caller's curvature, or the smallest one of the objective at the reference."""
    if curvature is not None:
        return check.scalar(curvature, "curvature", minimum=0.0, strict=True)
    found = problem.local_curvature(reference)
    if found == 0.0:
        raise ValueError("The objective is flat at the reference: its Hessian vanishes; pass curvature= or l2 > 0.")
    return found


def optimal_kd_weight(
    X: Any,
    y: Any,
    teacher: Any,
    reference: Any,
    *,
    loss: str = "squared",
    step_size: float,
    l2: float = 0.0,
    batch_size: int = 1,
    fit_intercept: bool = False,
    variant: str = "kd",
    curvature: float | None = None,
    replace: bool = True,
) -> float:
    """The distillation weight with the smallest bound on the noise of stochastic gradient descent.

    λ* = E⟨∇f_B(x*), ∇f_B(θ)⟩ / (E‖∇f_B(θ)‖² + ‖∇f(θ)‖² / (2 γ μ))

    minimises N(λ) = E‖∇f_B(x*) − λ ∇f_B(θ)‖² + λ² ‖∇f(θ)‖² / (2 γ μ), and for ``kd_unbiased``, whose steps have no
    bias, λ* = E⟨∇f_B(x*), ∇f_B(θ)⟩ / (E‖∇f_B(θ)‖² − ‖∇f(θ)‖²).

    Parameters
    ----------
    X : array-like or scipy.sparse (n, p)
    y : array-like (n,) or (n, m)
        Targets; labels 0/1 or −1/1 for ``logistic``; class numbers (n,) or probabilities (n, C) for ``softmax``.
    teacher : array-like (p,) or (p, C)
        θ. With an intercept, it is the last row: (p + 1,) or (p + 1, C).
    reference : array-like, of the teacher's shape
        x*, the minimiser of f, or a good guess of it.
    loss : {"squared", "logistic", "softmax"}
        ½ ‖z − b‖², log(1 + eᶻ) − b z, or the cross-entropy, of scores z; f is the mean over samples plus
        (l2 / 2) ‖coef‖².
    step_size : float
        γ, above zero.
    l2 : float
        Penalty, at least zero. It belongs to every f_n, so that teacher gradients carry it too.
    batch_size : int
        τ, samples averaged in a step.
    fit_intercept : bool
        Whether parameters end with an unpenalised intercept.
    variant : {"kd", "kd_unbiased"}
    curvature : float, optional
        μ. By default the smallest eigenvalue (above rounding) of the Hessian at the reference: the constant of strong
        convexity for ``squared``; a local one, larger than the global one, for the other losses.
    replace : bool
        Whether the samples of a batch are drawn with replacement.

    Returns
    -------
    float
        Any real number; 0.0 where the teacher's gradients all vanish.

    Raises
    ------
    ValueError
        Wrong shapes or labels, NaN or inf, a step that is not positive, no curvature, or a Hessian of more than
        4000 rows to find it in.

    Notes
    -----
    The weight of the theorems of Safaryan, Peste and Alistarh 2023, with β = ‖∇f(θ)‖² / (2 γ μ E‖∇f_B(θ)‖²) (the
    factor inside β depends on the derivation; `fastdistill.theory.kd_neighbourhood` has the one used here). O(N p) for
    the moments; O(N p² + p³) for μ unless it is given.

    Examples
    --------
    >>> import fastdistill as fd
    >>> X, y = [[1.0], [1.0], [2.0]], [0.0, 2.0, 2.0]
    >>> fd.optimal_kd_weight(X, y, teacher=[1.0], reference=[1.0], step_size=0.1)
    1.0
    >>> round(fd.optimal_kd_weight(X, y, teacher=[1.5], reference=[1.0], step_size=0.1), 4)
    0.1429
    """
    points = {"teacher": teacher, "reference": reference}
    problem, (theta, best) = checked_problem(X, y, points, loss=loss, l2=l2, fit_intercept=fit_intercept)
    gamma = check.scalar(step_size, "step_size", minimum=0.0, strict=True, largest=check.LARGEST)
    moments = problem.moments(best, theta, checked_share(problem.X.shape[0], batch_size, replace))
    if check.choice(variant, "variant", VARIANTS) == "kd_unbiased":
        return moments.centred().best_weight(gamma, 1.0)
    mu = 1.0 if moments.bias == 0.0 else checked_curvature(problem, best, curvature)
    return moments.best_weight(gamma, mu)
