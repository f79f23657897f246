"""What a run records: loss, gradient norm, distance to a reference, and how student's and teacher's gradients agree.

::

    loss       (1/N) Σ_n w_n ℓ(z_n, b_n) + (l2 / 2) ‖x‖²         grad_norm   the norm of its gradient
    distance   ‖x − reference‖, the intercept counted
    kd_cosine  Σ_n w_n ⟨∇ℓ_n(x), ∇ℓ_n(θ)⟩ / (Σ_n w_n ‖∇ℓ_n(x)‖² Σ_n w_n ‖∇ℓ_n(θ)‖²)^½

The states of many records are kept and measured together, so that a trace costs two products with X for dozens of
records, not for each. Cost: O(N p) per record, O(N p) memory traffic per `AT_ONCE` of them.
"""

from __future__ import annotations

import numpy as np

from fastdistill.base.linear_losses import loss_values, residuals
from fastdistill.sgd.problem import Problem

AT_ONCE = 64  # states times outputs
NAMES = ("epoch", "loss", "grad_norm", "distance", "kd_cosine")


class Recorder:
    """Collects states (Q, C, p or p + 1) of Q configurations and measures them when enough are there."""

    def __init__(self, problem: Problem, reference: np.ndarray | None) -> None:
        self.problem, self.reference = problem, reference
        self._waiting: list[np.ndarray] = []
        self._teachers: list[np.ndarray] = []
        self._epochs: list[int] = []
        self._measured: list[dict[str, np.ndarray]] = []

    @property
    def is_empty(self) -> bool:
        return not self._epochs

    def add(self, epoch: int, coef: np.ndarray, teachers: list[np.ndarray]) -> None:
        """A state after so many epochs; teachers: outputs (n, C), one for all configurations, one each or none."""
        if teachers is not self._teachers:
            self.flush()
            self._teachers = teachers
        self._epochs.append(epoch)
        self._waiting.append(coef.astype(np.float64))
        if sum(len(states) for states in self._waiting) * self.problem.n_outputs >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Measure what is waiting."""
        if self._waiting:
            states = np.stack(self._waiting, axis=1)  # (Q, records, C, width)
            if len(self._teachers) > 1:
                parts = [self._measure(own[None], teacher) for own, teacher in zip(states, self._teachers, strict=True)]
            else:
                parts = [self._measure(states, self._teachers[0] if self._teachers else None)]
            self._measured.append(_joined(parts, axis=0))
            self._waiting = []

    def result(self) -> dict[str, np.ndarray]:
        """Arrays (Q, records)."""
        self.flush()
        out = _joined(self._measured, axis=1)
        epochs = np.empty(out["loss"].shape, dtype=np.intp)
        epochs[...] = self._epochs
        return {"epoch": epochs, **out}

    def _measure(self, states: np.ndarray, teacher: np.ndarray | None) -> dict[str, np.ndarray]:
        """Measures (Q, records) of states (Q, records, C, width)."""
        shape = states.shape[:2]
        flat = states.reshape(-1, *states.shape[2:])
        size = max(1, AT_ONCE // self.problem.n_outputs)
        with np.errstate(over="ignore", invalid="ignore"):  # of a state on its way to divergence
            parts = [self._measure_few(flat[i : i + size], teacher) for i in range(0, len(flat), size)]
        return {name: values.reshape(shape) for name, values in _joined(parts, axis=0).items()}

    def _measure_few(self, states: np.ndarray, teacher: np.ndarray | None) -> dict[str, np.ndarray]:
        problem = self.problem
        count, c, width = states.shape
        p = problem.p
        coef = states[:, :, :p].reshape(count * c, p).T
        intercept = states[:, :, p].ravel() if width > p else 0.0
        loss, gradient = np.zeros(count), np.zeros((count * c, width))
        own, cross, other = 0.0, 0.0, 0.0
        for rows, X in problem.blocks():
            z, weight = (X @ coef + intercept).reshape(-1, count, c), problem.weight[rows]
            b = problem.targets[rows, None]
            if problem.loss == "logistic":
                loss += weight @ loss_values(problem.loss, z[..., 0], b[..., 0])
            else:
                loss += weight @ loss_values(problem.loss, z, b)
            r = residuals(problem.loss, z, b)
            weighted = (weight[:, None, None] * r).reshape(-1, count * c)
            gradient[:, :p] += (X.T @ weighted).T
            if width > p:
                gradient[:, p] += weighted.sum(axis=0)
            if teacher is not None:
                share, theirs = weight * problem.squared_norms[rows], teacher[rows, None] - b
                own += share @ np.square(r).sum(axis=2)
                cross += share @ (r * theirs).sum(axis=2)
                other += share @ np.square(theirs[:, 0]).sum(axis=1)
        loss, gradient = loss / problem.n, gradient.reshape(states.shape) / problem.n
        if problem.l2 != 0.0:
            penalised = states.copy()
            penalised[:, :, p:] = 0.0
            gradient += problem.l2 * penalised
            loss += 0.5 * problem.l2 * np.square(penalised).sum(axis=(1, 2))
        unknown = np.full(count, np.nan)
        with np.errstate(divide="ignore"):
            cosine = unknown.copy() if teacher is None else cross / np.sqrt(own * other)
        distance = unknown if self.reference is None else _norms(states - self.reference)
        return {"loss": loss, "grad_norm": _norms(gradient), "distance": distance, "kd_cosine": cosine}


def _norms(arrays: np.ndarray) -> np.ndarray:
    flat = arrays.reshape(len(arrays), -1)
    return np.sqrt(np.einsum("ij,ij->i", flat, flat))


def _joined(parts: list[dict[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
    """Measures of several parts, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts], axis=axis) for name in parts[0]}
