"""Distillation of deep linear students: the true gradient, the one the theory uses, and the angle between them.

A student f(a) = W_L ⋯ W_1 a is trained on the distillation loss (1 − λ) ℓ(f(a); b) + λ ℓ(f(a); prediction of θ), with
a teacher θ = (V_1, …, V_L) of the same shape. With the residuals r and r^θ of student and teacher against the targets
(`fastdistill.base.linear_losses`), the gradient of layer l over a batch is::

    student's Jacobian (true)      J_l(W)ᵀ [G − λ G^θ],              G = mean r aᵀ,    G^θ = mean r^θ aᵀ
    teacher's Jacobian (paper)     J_l(W)ᵀ [G] − λ J_l(V)ᵀ [G^θ]     = ∇f_B(W) − λ ∇f_B(θ)
    J_l(W)ᵀ [G] = (W_L ⋯ W_{l+1})ᵀ G (W_{l−1} ⋯ W_1)ᵀ

The second is the gradient whose noise the teacher reduces (`fastdistill.theory.kd_neighbourhood`); for one layer the
two are equal. How far the theory reaches beyond that is read off their cosine along training.

===========================================  ===========================
S (Safaryan, Peste, Alistarh 2023)           here
===========================================  ===========================
student x, teacher θ, weight λ, step γ       weights, ``teacher_weights``, ``kd_weight``, ``step_size``
distillation gradient                        ``jacobian="student"``
∇f_ξ(x) − λ ∇f_ξ(θ)                          ``jacobian="teacher"``
===========================================  ===========================

Cost: two products with the batch per step, O(τ p C), and products of the layers' sizes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import linear_losses as losses
from fastdistill.base import validation as check

JACOBIANS = ("student", "teacher")


class DeepLinearRun(NamedTuple):
    """A trained deep linear student; see `deep_linear_distillation`."""

    weights: list[np.ndarray]
    trace: dict[str, np.ndarray]

    @property
    def coef(self) -> np.ndarray:
        """The student as one linear map, (p, C): scores are X @ coef."""
        return end_to_end(self.weights).T


def end_to_end(weights: list[np.ndarray]) -> np.ndarray:
    """W_L ⋯ W_1, (C, p)."""
    product = weights[0]
    for layer in weights[1:]:
        product = layer @ product
    return product


def pulled_back(weights: list[np.ndarray], G: np.ndarray) -> list[np.ndarray]:
    """(W_L ⋯ W_{l+1})ᵀ G (W_{l−1} ⋯ W_1)ᵀ of every layer l, from a gradient G (C, p) by the end-to-end map."""
    out, right = [], [G]
    for layer in weights[:-1]:
        right.append(right[-1] @ layer.T)
    left = None
    for layer, after in zip(reversed(weights), reversed(right), strict=True):
        out.append(after if left is None else left @ after)
        left = layer.T if left is None else layer.T @ left
    # `right[l]` is G (W_l ⋯ W_1)ᵀ, and `left` the transposed product of the layers above
    return out[::-1]


def gradients(
    weights: list[np.ndarray], teacher: list[np.ndarray], G: np.ndarray, G_teacher: np.ndarray, kd_weight: float
) -> dict[str, list[np.ndarray]]:
    """Both forms of the distillation gradient by layers, from the gradients by the end-to-end maps."""
    plain, noise = pulled_back(weights, G), pulled_back(teacher, G_teacher)
    return {
        "student": pulled_back(weights, G - kd_weight * G_teacher),
        "teacher": [g - kd_weight * h for g, h in zip(plain, noise, strict=True)],
    }


def cosine(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    """Cosine of the angle between two gradients, all layers together; NaN where one vanishes."""
    a, b = (np.concatenate([layer.ravel() for layer in side]) for side in (first, second))
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norm, -1.0, 1.0)) if norm > 0 else float("nan")


def deep_linear_distillation(
    X: Any,
    y: Any,
    teacher_weights: Any,
    *,
    kd_weight: float,
    step_size: float,
    n_epochs: int,
    loss: str = "squared",
    jacobian: str = "student",
    batch_size: int | None = None,
    weights_init: Any = None,
    init_scale: float = 1.0,
    record_every: int = 1,
    random_state: Any = None,
) -> DeepLinearRun:
    """Train a deep linear student with a teacher of its own shape, and follow the angle between two gradients.

    W_l ← W_l − γ J_l(W)ᵀ[G − λ G^θ]    (`jacobian="student"`), or  W_l − γ (J_l(W)ᵀ[G] − λ J_l(V)ᵀ[G^θ])  ("teacher")

    Parameters
    ----------
    X : array-like or scipy.sparse (n, p)
    y : array-like (n,) or (n, C)
        Numbers for ``squared``; labels 0/1 or −1/1 for ``logistic``; class numbers (n,) or probabilities (n, C) for
        ``softmax``.
    teacher_weights : sequence of L arrays
        V_1 (h_1, p), V_2 (h_2, h_1), …, V_L (C, h_{L−1}); C = 1 for a single output and for ``logistic``. The student
        has the same shapes.
    kd_weight : float
        λ, any real number; 0.0 trains without the teacher.
    step_size : float
        γ, above zero.
    n_epochs : int
        Passes over the data.
    loss : {"squared", "logistic", "softmax"}
    jacobian : {"student", "teacher"}
        Which gradient trains the student: the true one, or the paper's. The trace compares both in either case.
    batch_size : int, optional
        Samples in a step; all of them by default. Batches are consecutive pieces of a fresh permutation per epoch (the
        last may be smaller).
    weights_init : sequence of L arrays, optional
        The student at the start; by default normal with standard deviation `init_scale` / √(columns).
    init_scale : float
    record_every : int
        Epochs between records; the start and the last epoch are always recorded.
    random_state : int, numpy.random.Generator or None
        Draws the start, then the permutations.

    Returns
    -------
    DeepLinearRun
        `weights` (as `teacher_weights`), `coef` (p, C), and `trace`, a dict of arrays (n_records,): ``epoch``;
        ``loss``, f of the student on the true targets; ``kd_loss``, the distillation loss; ``grad_norm`` of the true
        gradient; ``distance`` ‖W_L ⋯ W_1 − V_L ⋯ V_1‖ (Frobenius); ``prediction_error``, mean ‖·‖² between the
        predictions of student and teacher; ``kd_cosine``, of the two gradients on all data; ``step_cosine`` and
        ``step_cosine_min``, mean and minimum over the steps since the last record (NaN at the start).

    Raises
    ------
    ValueError
        Shapes that do not chain, bad labels, NaN or inf, or a diverging run (the message says at which epoch).

    Notes
    -----
    Section on deep linear networks of Safaryan, Peste and Alistarh 2023. Cosines are NaN where a gradient vanishes,
    and near a minimum without residuals they compare rounding errors. O(n p C) per epoch and the layers' products.

    Examples
    --------
    >>> import fastdistill as fd
    >>> X, y = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, -1.0, 0.5]
    >>> teacher = [[[1.0, 0.0], [0.0, 1.0]], [[1.0, -0.5]]]
    >>> run = fd.deep_linear_distillation(X, y, teacher, kd_weight=0.5, step_size=0.1, n_epochs=200, random_state=0)
    >>> run.coef.ravel().round(3)
    array([ 1.083, -0.667])
    >>> bool(run.trace["kd_cosine"][0] < 1.0)
    True
    """
    loss = check.choice(loss, "loss", losses.LOSSES)
    jacobian = check.choice(jacobian, "jacobian", JACOBIANS)
    X = check.design(X, largest=check.LARGEST_FACTOR)
    n = X.shape[0]
    teacher = _layers(teacher_weights, "teacher_weights", X.shape[1])
    targets = _targets(loss, y, n, teacher[-1].shape[0])
    rng = np.random.default_rng(random_state)
    if weights_init is None:
        scale = check.scalar(init_scale, "init_scale", minimum=0.0)
        weights = [scale / np.sqrt(V.shape[1]) * rng.standard_normal(V.shape) for V in teacher]
    else:
        weights = _layers(weights_init, "weights_init", X.shape[1])
        if [W.shape for W in weights] != [V.shape for V in teacher]:
            raise ValueError(
                f"weights_init has layers {[W.shape for W in weights]}, but the teacher {[V.shape for V in teacher]}; "
                f"student and teacher need the same shapes."
            )
    size = n if batch_size is None else min(check.integer(batch_size, "batch_size", minimum=1), n)
    training = _Training(loss, X, targets, teacher, check.scalar(kd_weight, "kd_weight"), jacobian)
    gamma = check.scalar(step_size, "step_size", minimum=0.0, strict=True)
    n_epochs = check.integer(n_epochs, "n_epochs", minimum=0)
    every = check.integer(record_every, "record_every", minimum=1)

    records, cosines = [training.record(0, weights, [])], []
    for epoch in range(1, n_epochs + 1):
        order = rng.permutation(n) if size < n else None
        for start in range(0, n, size):
            batch = slice(None) if order is None else order[start : start + size]
            weights, similarity = training.step(weights, batch, gamma)
            cosines.append(similarity)
        recorded = epoch % every == 0 or epoch == n_epochs
        if recorded:
            records.append(training.record(epoch, weights, cosines))
            cosines = []
        if not all(np.isfinite(W).all() for W in weights) or (recorded and not np.isfinite(records[-1]["loss"])):
            raise ValueError(
                f"The run diverged in epoch {epoch} with step_size={gamma:.6g}: lower the step size, or scale the "
                f"features to unit variance."
            )
    return DeepLinearRun(weights, {key: np.array([record[key] for record in records]) for key in records[0]})


class _Training:
    """The data, the teacher's part of them, and one step."""

    def __init__(
        self, loss: str, X: Any, targets: np.ndarray, teacher: list[np.ndarray], kd_weight: float, jacobian: str
    ) -> None:
        self.loss, self.X, self.targets, self.teacher = loss, X, targets, teacher
        self.kd_weight, self.jacobian = kd_weight, jacobian
        self.teacher_map = end_to_end(teacher)
        self.teacher_outputs = losses.predictions(loss, self._scores(X, self.teacher_map))
        self.teacher_residuals = self.teacher_outputs - targets

    def _scores(self, X: Any, product: np.ndarray) -> np.ndarray:
        """(n,) for the logistic loss, (n, C) otherwise."""
        z = X @ product.T
        return z[:, 0] if self.loss == "logistic" else z

    def both(self, weights: list[np.ndarray], batch: Any) -> dict[str, list[np.ndarray]]:
        """Both forms of the gradient on a batch."""
        X, product = self.X[batch], end_to_end(weights)
        r = losses.residuals(self.loss, self._scores(X, product), self.targets[batch])
        n, outputs = len(r), len(product)
        G, G_teacher = ((X.T @ side.reshape(n, outputs) / n).T for side in (r, self.teacher_residuals[batch]))
        return gradients(weights, self.teacher, G, G_teacher, self.kd_weight)

    def step(self, weights: list[np.ndarray], batch: Any, gamma: float) -> tuple[list[np.ndarray], float]:
        """The next weights, and the cosine of the two gradients at the present ones."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run is reported at the end of its epoch
            both = self.both(weights, batch)
            moved = [W - gamma * g for W, g in zip(weights, both[self.jacobian], strict=True)]
            return moved, cosine(both["student"], both["teacher"])

    def record(self, epoch: int, weights: list[np.ndarray], cosines: list[float]) -> dict[str, float]:
        with np.errstate(over="ignore", invalid="ignore"):
            product = end_to_end(weights)
            z = self._scores(self.X, product)
            values = [losses.loss_values(self.loss, z, b).mean() for b in (self.targets, self.teacher_outputs)]
            both = self.both(weights, slice(None))
            finite = [value for value in cosines if value == value]
            return {
                "epoch": epoch,
                "loss": values[0],
                "kd_loss": (1.0 - self.kd_weight) * values[0] + self.kd_weight * values[1],
                "grad_norm": float(np.sqrt(sum(np.vdot(g, g) for g in both["student"]))),
                "distance": float(np.linalg.norm(product - self.teacher_map)),
                "prediction_error": np.square(losses.predictions(self.loss, z) - self.teacher_outputs).sum() / len(z),
                "kd_cosine": cosine(both["student"], both["teacher"]),
                "step_cosine": float(np.mean(finite)) if finite else float("nan"),
                "step_cosine_min": min(finite, default=float("nan")),
            }


def _layers(weights: Any, name: str, n_features: int) -> list[np.ndarray]:
    """Checked copies of layers that chain from `n_features` upwards."""
    if isinstance(weights, np.ndarray) and weights.ndim == 2:
        raise ValueError(f"{name} must be a sequence of layers; for a single one pass [W] with W of shape (C, p).")
    layers = [
        np.array(
            check.sized(check.filled_matrix(W, f"{name}[{i}]"), f"{name}[{i}]", check.LARGEST_FACTOR, smallest=0.0)
        )
        for i, W in enumerate(weights)
    ]
    if not layers:
        raise ValueError(f"{name} is empty; at least one layer is needed.")
    width = n_features
    for i, W in enumerate(layers):
        if W.shape[1] != width:
            raise ValueError(f"{name}[{i}] has shape {W.shape}, but its input has {width} entries: columns must match.")
        width = W.shape[0]
    return layers


def _targets(loss: str, y: Any, n_samples: int, n_outputs: int) -> np.ndarray:
    """Checked targets, (n,) for the logistic loss and (n, C) otherwise."""
    targets = losses.encode_targets(loss, y, n_samples, n_outputs if loss == "softmax" else None)
    if loss == "squared" and targets.ndim == 1:
        targets = targets[:, None]
    wanted = 1 if loss == "logistic" else targets.shape[1]
    if n_outputs != wanted:
        raise ValueError(f"The last layer has {n_outputs} rows, but the targets ask for {wanted} (the {loss} loss).")
    return targets
