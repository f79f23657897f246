"""Statistical worth: errors of the default `DistilledRidgeCV` / errors of ridge with the same penalties.

A change that costs accuracy shows up here as one that costs time does elsewhere. All figures are ratios, lower is
better, and 1 is scikit-learn's `RidgeCV`, which chooses among the same penalties by the same leave-one-out error.

==============================  ======================================================================================
track_ratio_*                   what it is
==============================  ======================================================================================
Ordinary.…_geometric_mean       test MSE ratio on ordinary data, geometric mean over sets and splits; at most 0.995
Ordinary.…_worst                that of the worst set; at most 1.005
RealTables.…_geometric_mean     the same on 37 real tables (`real_tables`), linear and RBF kernel; at most 0.990, 0.993
RealTables.…_worst              that of the worst table, less its standard error over the splits; at most 1.010
Spiked.…_excess_risk            mean excess risk ratio where theory promises a gain; at most 0.8 each
==============================  ======================================================================================

Ordinary: n i.i.d. rows train and the others test, inputs standardised with the training mean and standard deviation;
diabetes, breast cancer and digits as scikit-learn bundles them, and a generated nonlinear set (Friedman's first).
Spiked: y = Xθ + γη with d_j = s_j² from n/16 to n/4, equally spaced, θ = v_1, ‖θ‖ = 1, n = 300, columns of mean zero,
so that an intercept only costs γ²/n; the excess risk is the mean of (ŷ − Xθ)², averaged over draws of η and of the left
singular vectors.
RBF kernel: exp(−‖x − x'‖² / 2p) of standardised inputs, with an intercept; ridge is then our own without distillation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED, real_tables
from fastdistill.estimators import DistilledKernelRidgeCV, DistilledRidgeCV

PENALTIES = np.logspace(-4, 5, 40)
KERNEL_PENALTIES = np.logspace(-6, 3, 40)
SPLITS = 2 if REDUCED else 20
TRAINING_ROWS = (50,) if REDUCED else (50, 100, 300)
TABLE_SPLITS = 2 if REDUCED else 12
TABLE_ROWS = (40,) if REDUCED else (40, 80, 160)
LEAST_TEST_ROWS = 20
N_SPIKED = 300
SPIKED = {"r=20, γ=0.3": (20, 0.3), "r=50, γ=0.3": (50, 0.3), "r=50, γ=1": (50, 1.0), "r=100, γ=0.3": (100, 0.3)}


def ordinary_sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """X (N, p) and y (N,) of each set, N above 400."""
    diabetes, cancer, digits = datasets.load_diabetes(), datasets.load_breast_cancer(), datasets.load_digits()
    return {
        "diabetes": (diabetes.data, diabetes.target),
        "breast cancer": (cancer.data[:, :-1], cancer.data[:, -1]),  # the last measurement from all the others
        "digits": (digits.data, digits.target.astype(float)),
        "friedman": datasets.make_friedman1(1000, 10, noise=1.0, random_state=0),
    }


def models(**options: Any) -> tuple[Any, Any]:
    """Ours with its defaults, and ridge, on the same penalties."""
    return DistilledRidgeCV(PENALTIES, **options), RidgeCV(PENALTIES, **options)


def kernel_models(p: int) -> tuple[Any, Any]:
    """Ours with an RBF kernel as wide as p standardised columns are apart, and the same without distillation."""
    options: dict[str, Any] = {"kernel": "rbf", "gamma": 0.5 / p, "fit_intercept": True}
    plain = DistilledKernelRidgeCV(KERNEL_PENALTIES, n_steps=0, strategy="joint", **options)
    return DistilledKernelRidgeCV(KERNEL_PENALTIES, **options), plain


def split_ratio(X: np.ndarray, y: np.ndarray, n: int, seed: int, kernel: bool = False) -> float:
    """Test MSE of ours / that of ridge; n random rows train."""
    train, test = np.split(np.random.default_rng(seed).permutation(len(y)), [n])
    scale = X[train].std(axis=0)
    Z = (X - X[train].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    pair = kernel_models(X.shape[1]) if kernel else models()
    ours, ridge = (np.mean((m.fit(Z[train], y[train]).predict(Z[test]) - y[test]) ** 2) for m in pair)
    return float(ours / ridge)


def ordinary_ratios(n: int, splits: int) -> dict[str, float]:
    """Geometric mean over splits of the test MSE ratio of each set."""
    return {
        name: float(np.exp(np.mean([np.log(split_ratio(X, y, n, seed)) for seed in range(splits)])))
        for name, (X, y) in ordinary_sets().items()
    }


def table_ratios(n: int, kernel: bool, splits: int) -> dict[str, tuple[float, float]]:
    """Mean over splits of the log test MSE ratio of each real table that is large enough, and its standard error."""
    ratios = {}
    for name, X, y in real_tables.real_tables():
        if len(y) >= n + LEAST_TEST_ROWS:
            logs = np.log([split_ratio(X, y, n, seed, kernel) for seed in range(splits)])
            ratios[name] = float(logs.mean()), float(logs.std(ddof=1) / np.sqrt(splits))
    return ratios


def spiked_draws(r: int, gamma: float, draws: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """X (n, r), y (n,) and what y is without the noise."""
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        columns = rng.standard_normal((N_SPIKED, r))
        left = np.linalg.qr(columns - columns.mean(axis=0))[0]
        X = left * np.sqrt(np.linspace(4.0, 1.0, r) * N_SPIKED / 16)  # right singular vectors: the axes
        yield X, X[:, 0] + gamma * rng.standard_normal(N_SPIKED), X[:, 0]


def spiked_ratio(r: int, gamma: float, draws: int, fit_intercept: bool = False) -> float:
    """Mean excess risk of ours / that of ridge."""
    risks = [
        [np.mean((model.fit(X, y).predict(X) - truth) ** 2) for model in models(fit_intercept=fit_intercept)]
        for X, y, truth in spiked_draws(r, gamma, draws)
    ]
    ours, ridge = np.mean(risks, axis=0)
    return float(ours / ridge)


class Ordinary:
    """Where distillation has nothing to gain, the penalty has a little, and nothing may be lost."""

    timeout = 900
    params = (list(TRAINING_ROWS),)
    param_names = ("training rows",)

    def setup(self, n: int) -> None:
        with threadpool_limits(1):
            self.ratios = list(ordinary_ratios(n, SPLITS).values())

    def track_ratio_geometric_mean(self, n: int) -> float:
        return float(np.exp(np.mean(np.log(self.ratios))))

    def track_ratio_worst(self, n: int) -> float:
        return max(self.ratios)

    UNIT = "test MSE of RidgeCV"
    track_ratio_geometric_mean.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function
    track_ratio_worst.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function


class RealTables:
    """The same on real tables, a good deal rougher: heavy tails, rare levels, columns that nearly repeat each other."""

    timeout = 3600
    params = (list(TABLE_ROWS), ["linear", "RBF"])
    param_names = ("training rows", "model")

    def setup(self, n: int, model: str) -> None:
        if real_tables.missing():
            raise NotImplementedError(real_tables.missing())  # by this asv knows that a benchmark is to be skipped
        with threadpool_limits(1):
            self.ratios = np.array(list(table_ratios(n, model == "RBF", TABLE_SPLITS).values()))

    def track_ratio_geometric_mean(self, n: int, model: str) -> float:
        return float(np.exp(self.ratios[:, 0].mean()))

    def track_ratio_worst(self, n: int, model: str) -> float:
        return float(np.exp((self.ratios[:, 0] - self.ratios[:, 1]).max()))

    UNIT = "test MSE of ridge"
    track_ratio_geometric_mean.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function
    track_ratio_worst.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function


class Spiked:
    """Where theory promises a gain, it must be found."""

    timeout = 900
    params = (list(SPIKED), [False, True])
    param_names = ("cell", "fit_intercept")

    def track_ratio_excess_risk(self, cell: str, fit_intercept: bool) -> float:
        with threadpool_limits(1):
            return spiked_ratio(*SPIKED[cell], SPLITS, fit_intercept)

    track_ratio_excess_risk.unit = "excess risk of RidgeCV"  # type: ignore[attr-defined]  # asv reads it from the function
