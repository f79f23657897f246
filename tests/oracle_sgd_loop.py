"""Distillation SGD as a loop over its definition, x ← C(x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g)), one gradient at a time."""

from __future__ import annotations

import numpy as np

from tests.oracle_sgd import predictions


def draw_orders(kind, n, seed, n_epochs, *, compressed=False):
    """The rows of every epoch as the driver draws them, and the seeds of the compressor's draws."""
    rng = np.random.default_rng(seed)
    orders, seeds = [], []
    for _ in range(n_epochs):
        orders.append(
            {"shuffle": rng.permutation, "replace": lambda n: rng.integers(0, n, n), "sequential": np.arange}[kind](n)
        )
        seeds.append(int(rng.integers(2**63)) if compressed else 0)
    return orders, seeds


class NaiveSGD:
    """Samples (a_n, b_n), one row each; parameters (P, C), with the intercept as last row where there is one."""

    def __init__(self, X, targets, loss, *, fit_intercept=False, l2=0.0, temperature=1.0, sample_weight=None):
        n = len(X)
        self.rows = np.column_stack([X, np.ones(n)]) if fit_intercept else np.asarray(X, dtype=float)
        self.targets = np.asarray(targets, dtype=float).reshape(n, -1)
        self.loss, self.temperature = loss, temperature
        weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        self.weight = weight / weight.mean()
        self.penalty = np.full((self.rows.shape[1], 1), float(l2))
        if fit_intercept:
            self.penalty[-1] = 0.0

    def predict(self, n, x, temperature=1.0):
        z = self.rows[n] @ x
        return predictions(self.loss, z / temperature)

    def gradient(self, n, x):
        """∇f_n(x)."""
        return self.weight[n] * np.outer(self.rows[n], self.predict(n, x) - self.targets[n]) + self.penalty * x

    def full_gradient(self, x):
        return np.mean([self.gradient(n, x) for n in range(len(self.rows))], axis=0)

    def soft_gradient(self, n, x, theta, kappa):
        """Of (1 − κ) ℓ(z, b) + κ T² KL(teacher ‖ student) plus (l2 / 2)(‖x‖² − 2 κ ⟨θ, x⟩)."""
        T = self.temperature
        hard = self.predict(n, x) - self.targets[n]
        soft = T * (self.predict(n, x, T) - self.predict(n, theta, T))
        mixed = np.outer(self.rows[n], (1 - kappa) * hard + kappa * soft)
        return self.weight[n] * mixed + self.penalty * (x - kappa * theta)

    def step_gradient(self, batch, x, theta, kappa, variant):
        """The gradient of a step, by its definition."""
        if theta is None:
            return np.mean([self.gradient(n, x) for n in batch], axis=0)
        if variant == "soft_labels":
            return np.mean([self.soft_gradient(n, x, theta, kappa) for n in batch], axis=0)
        return np.mean([self.gradient(n, x) - kappa * self.gradient(n, theta) for n in batch], axis=0)

    def run(
        self,
        start,
        orders,
        *,
        step_size,
        teacher=None,
        kd_weight=0.0,
        variant="kd",
        batch_size=1,
        momentum=0.0,
        teacher_every=1,
        step_factor=lambda t: 1.0,
        weight_factor=lambda t: 1.0,
        compress=lambda x, epoch, step: x,
    ):
        """Iterates (epochs + 1, P, C), the means of all iterates up to each, and the teachers of each epoch."""
        n = len(self.rows)
        x, theta = np.array(start, dtype=float), teacher
        velocity, total, count = np.zeros_like(x), np.zeros_like(x), 0
        iterates, means, teachers = [x.copy()], [x.copy()], []
        for epoch, order in enumerate(orders):
            if epoch % teacher_every == 0 and (
                (variant == "svrg" and not (epoch == 0 and teacher is not None)) or (variant == "repeated" and epoch)
            ):
                theta = x.copy()
            teachers.append(theta)
            kappa = kd_weight * weight_factor(epoch)
            g = self.full_gradient(theta) if theta is not None and variant in ("kd_unbiased", "svrg") else 0.0
            n_steps = -(-n // batch_size)
            for step in range(n_steps):
                batch = order[step * batch_size : (step + 1) * batch_size]
                gradient = self.step_gradient(batch, x, theta, kappa, variant) + kappa * g
                velocity = momentum * velocity + gradient
                x = x - step_size * step_factor(epoch + step / n_steps) * velocity
                x = compress(x, epoch, step)
                total, count = total + x, count + 1
            iterates.append(x.copy())
            means.append(total / count)
        return np.array(iterates), np.array(means), teachers
