"""Tasks with other libraries as implementations, where they are installed: himalaya, gpsd, the published torch loop.

Each is a chain of refits, ŷ_t = fit((1 − ξ_t) y + ξ_t ŷ_{t−1}), and has to agree with ours like any other twin.

====================  ==================================================================================================
task                  implementations beside fastdistill
====================  ==================================================================================================
kernel_targets        refits of scikit-learn's and himalaya's ``KernelRidge`` for many targets
ridge_targets         refits of scikit-learn's and himalaya's ``Ridge`` for many targets
gaussian_process      refits of scikit-learn's ``GaussianProcessRegressor``; ``gpsd`` of Borup and Andersen 2023
ntk_kernel            the recursion of arc-cosine kernels in NumPy, by cosines
softmax_steps         the training loop of Borup and Andersen 2021 (``self_distiller.py``) in plain PyTorch
====================  ==================================================================================================

gpsd is the package of github.com/Kennethborup/gaussian_process_self_distillation, not the one of that name on PyPI. Its
mode "naive" refits; "efficient", its closed form, decomposes K + alpha I where K is meant, and uses a method that
scikit-learn no longer has, so that it is no twin.

Cost of the twins: one fit for each step.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.problems import Answers, Setup, chain

SIZES = {"small": (60, 3), "medium": (500, 100), "full": (2000, 1000)}  # samples, targets
ALPHA, GAMMA, XI = 0.5, 0.1, (0.6, -0.4, 1.0)
PURE = (1.0, 1.0, 1.0)  # gpsd has no ground truth after the first fit


def installed(name: str) -> bool:
    """Whether a module is there, and with it its package."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def targets_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, targets (n, m), and half as many queries."""
    n, m = SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n + n // 2, 5))
    return X[:n], np.sin(X[:n, :1] + np.arange(m)) + 0.3 * rng.standard_normal((n, m)), X[n:]


def refits(model: Any, size: str, xi: tuple[float, ...] = XI) -> Callable[[], Answers]:
    """A chain of refits of any model with scikit-learn's interface."""
    X, y, queries = targets_problem(size)

    def answer() -> Answers:
        chain(lambda targets: np.asarray(model.fit(X, targets).predict(X)), y, np.array(xi))
        return {"predicted": np.asarray(model.predict(queries))}

    return answer


def kernel_targets_fastdistill(size: str) -> Callable[[], Answers]:
    from fastdistill import DistilledKernelRidge

    X, y, queries = targets_problem(size)
    model = DistilledKernelRidge(ALPHA, XI, None, gamma=GAMMA, fit_intercept=False)
    return lambda: {"predicted": model.fit(X, y).predict(queries)}


def kernel_targets_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.kernel_ridge import KernelRidge

    return refits(KernelRidge(alpha=ALPHA, kernel="rbf", gamma=GAMMA), size)


def kernel_targets_himalaya(size: str) -> Callable[[], Answers]:
    from himalaya.kernel_ridge import KernelRidge

    return refits(KernelRidge(alpha=ALPHA, kernel="rbf", kernel_params={"gamma": GAMMA}), size)


def ridge_targets_fastdistill(size: str) -> Callable[[], Answers]:
    from fastdistill import DistilledRidge

    X, y, queries = targets_problem(size)
    model = DistilledRidge(ALPHA, XI, None)
    return lambda: {"predicted": model.fit(X, y).predict(queries)}


def ridge_targets_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import Ridge

    return refits(Ridge(ALPHA), size)


def ridge_targets_himalaya(size: str) -> Callable[[], Answers]:
    from himalaya.ridge import Ridge

    return refits(Ridge(alpha=ALPHA, fit_intercept=True), size)


def process_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """Rows, a target (n,), queries, and the kernel as scikit-learn's Gaussian processes have it."""
    from sklearn.gaussian_process.kernels import RBF

    X, y, queries = targets_problem(size)
    return X, y[:, 0].copy(), queries, RBF(np.sqrt(0.5 / GAMMA))


def gaussian_process_fastdistill(size: str) -> Callable[[], Answers]:
    from fastdistill import DistilledKernelRidge

    X, y, queries, _ = process_problem(size)
    model = DistilledKernelRidge(ALPHA, PURE, None, gamma=GAMMA, fit_intercept=False)

    def answer() -> Answers:
        mean, std = model.fit(X, y).predict(queries, return_std=True)
        return {"mean": mean, "std": std}

    return answer


def gaussian_process_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.gaussian_process import GaussianProcessRegressor

    X, y, queries, kernel = process_problem(size)
    model = GaussianProcessRegressor(kernel, alpha=ALPHA, optimizer=None)

    def answer() -> Answers:
        chain(lambda targets: model.fit(X, targets).predict(X), y, np.array(PURE))
        mean, std = model.predict(queries, return_std=True)
        return {"mean": mean, "std": std}

    return answer


def gaussian_process_gpsd(size: str) -> Callable[[], Answers]:
    from gpsd.gpr.data_centric import DataCentricGPR

    X, y, queries, kernel = process_problem(size)

    def answer() -> Answers:
        model = DataCentricGPR(
            kernel, alphas=ALPHA, optimizer=None, num_distillations=len(PURE) + 1, fit_mode="naive"
        ).fit(X, y)
        mean, std = model.predict(queries, return_std=True)
        return {"mean": mean, "std": std}

    return answer


def ntk_kernel_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, _, queries = targets_problem(size)
    return lambda: {"K": fd.ntk_kernel(queries, X, depth=3)}


def ntk_kernel_numpy(size: str) -> Callable[[], Answers]:
    X, _, queries = targets_problem(size)

    def answer() -> Answers:
        x, z = np.linalg.norm(queries, axis=1)[:, None], np.linalg.norm(X, axis=1)
        kernel = covariance = queries @ X.T
        for _ in range(3):
            theta = np.arccos(np.clip(covariance / (x * z), -1.0, 1.0))
            covariance = x * z * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
            kernel = covariance + (1 - theta / np.pi) * kernel
        return {"K": kernel}

    return answer


EPOCHS, RATE, PENALTY = {"small": 20, "medium": 100, "full": 500}, 0.05, 1e-4


def softmax_problem(size: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Rows, one-hot labels (n, 3), and a function that makes the network."""
    import torch

    X, y, _ = targets_problem(size)

    def network() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
            return torch.nn.Sequential(*layers).double()

    return X, np.eye(3)[y[:, :3].argmax(axis=1)], network


def penalty(module: Any) -> Any:
    """Of the authors: the sum of the norms of all parameters, not of their squares."""
    return PENALTY * sum(values.norm() for values in module.parameters())


def softmax_steps_fastdistill(size: str) -> Callable[[], Answers]:
    """Students of mixtures: α L(y) + (1 − α) L(teacher) differs from L(α y + (1 − α) teacher) by a constant."""
    import torch

    from fastdistill import SelfDistiller, TorchEstimator

    X, onehot, network = softmax_problem(size)
    estimator = TorchEstimator(
        network,
        loss=lambda outputs, targets: (outputs.softmax(dim=1) - targets).square().mean(dim=1),
        penalty=penalty,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=RATE),
        n_epochs=EPOCHS[size],
        batch_size=len(X),
        random_state=0,
    )
    model = SelfDistiller(estimator, xi=0.4, n_steps=2)
    return lambda: {"probabilities": model.fit(X, onehot.argmax(axis=1)).predict_proba(X)}


def softmax_steps_torch(size: str) -> Callable[[], Answers]:
    import torch

    X, onehot, network = softmax_problem(size)
    data, target = torch.as_tensor(X), torch.as_tensor(onehot)

    def answer() -> Answers:
        teacher = None
        for _ in range(3):
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
            for _ in range(EPOCHS[size]):
                outputs = model(data).softmax(dim=1)
                loss = torch.nn.functional.mse_loss(outputs, target)
                if teacher is not None:
                    with torch.no_grad():
                        taught = teacher(data).softmax(dim=1)
                    loss = 0.6 * loss + 0.4 * torch.nn.functional.mse_loss(outputs, taught)
                loss = loss + penalty(model)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            teacher = model
        with torch.no_grad():
            return {"probabilities": teacher(data).softmax(dim=1).numpy()}

    return answer


def _those(tasks: dict[str, Setup], **optional: Setup) -> dict[str, Setup]:
    """The implementations, and those of libraries that are installed."""
    modules = {"himalaya": "himalaya", "gpsd": "gpsd.gpr.data_centric"}
    return tasks | {name: setup for name, setup in optional.items() if installed(modules[name])}


PEER_TASKS: dict[str, dict[str, Setup]] = {
    "kernel_targets": _those(
        {"fastdistill": kernel_targets_fastdistill, "sklearn": kernel_targets_sklearn},
        himalaya=kernel_targets_himalaya,
    ),
    "ridge_targets": _those(
        {"fastdistill": ridge_targets_fastdistill, "sklearn": ridge_targets_sklearn}, himalaya=ridge_targets_himalaya
    ),
    "gaussian_process": _those(
        {"fastdistill": gaussian_process_fastdistill, "sklearn": gaussian_process_sklearn},
        gpsd=gaussian_process_gpsd,
    ),
    "ntk_kernel": {"fastdistill": ntk_kernel_fastdistill, "numpy": ntk_kernel_numpy},
}
if installed("torch"):
    PEER_TASKS["softmax_steps"] = {"fastdistill": softmax_steps_fastdistill, "torch": softmax_steps_torch}
