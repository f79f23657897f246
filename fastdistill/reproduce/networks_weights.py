"""[B] Several steps of a network with and without ground truth; the weight from two fits beside a grid search.

Step t trains a network from new random weights on α y + (1 − α) ŷ_{t−1}. The weight is 0, or the best of a grid on
held-out images, or estimated from the two fits at α = 1 and α = 0,

    1 − α = ξ* = ⟨v − f(0), f(1) − f(0)⟩ / ‖f(1) − f(0)‖²,    f(ξ) on held-out images, v their labels,

clipped to [0, 1]; the student is then trained with it, a third fit.

==================================  ==================================================
paper [B]                           here
==================================  ==================================================
squared errors of softmax outputs   `softmax_network`, with PyTorch; else of plain outputs
penalty, the sum of ‖parameters‖    ``penalty``
estimate of α from two fits         `fastdistill.theory.best_step_weight`
==================================  ==================================================

Cost: for each step and seed 1, 3 and as many trainings of the network as the grid has weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Table, plain_table, stacked_data
from fastdistill.reproduce.data import Images
from fastdistill.reproduce.networks_images import NAMES, NOISE, Sample, accuracy, exceeds, sample_of, spread
from fastdistill.reproduce.networks_rounds import YES, mlp, trained

STEPS = 5
WAYS = ("α = 0", "estimated α", "grid search")
COLOURS = (figures.GREY, figures.BLUE, figures.ORANGE)
CLOSE = 0.01  # accuracies that count as the same
PENALTY = 1e-4  # the authors' coefficient of the sum of norms


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment."""

    n_train: int
    n_held: int
    n_test: int
    width: int
    epochs: int
    batch: int
    grid: tuple[float, ...]
    seeds: int


SMALL = Plan(300, 200, 1000, width=100, epochs=30, batch=100, grid=(0.0, 0.25, 0.5, 0.75, 1.0), seeds=3)
FULL = Plan(1000, 300, 5000, width=100, epochs=75, batch=16, grid=tuple(np.linspace(0, 1, 11).tolist()), seeds=5)


class Steps(NamedTuple):
    """One way of choosing α: accuracies (seeds, steps + 1), weights (seeds, steps), fits of a step, seconds."""

    labels: str
    way: str
    accuracy: np.ndarray
    weights: np.ndarray
    fits: int
    seconds: float


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return find_spec("torch") is not None


def softmax_network(p: int, n_classes: int, plan: Plan, seed: int) -> Any:
    """One hidden layer of ReLU trained on squared errors of its softmax outputs, as in the authors' script."""
    import torch

    def network() -> Any:
        layers = torch.nn.Linear(p, plan.width), torch.nn.ReLU(), torch.nn.Linear(plan.width, n_classes)
        return torch.nn.Sequential(*layers)

    return fd.TorchEstimator(
        network,
        loss=lambda outputs, targets: (torch.softmax(outputs, dim=1) - targets).square().mean(dim=1),
        penalty=lambda module: PENALTY * sum(torch.linalg.vector_norm(values) for values in module.parameters()),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3, fused=True),
        n_epochs=plan.epochs,
        batch_size=plan.batch,
        random_state=seed,
    )


def fitted(sample: Sample, targets: np.ndarray, plan: Plan, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Outputs of a network trained on the targets (n, C), as a function of images."""
    if has_torch():
        return softmax_network(sample.X.shape[1], sample.n_classes, plan, seed).fit(sample.X, targets).predict_proba
    return trained(mlp(plan, seed), sample.X, targets).predict


def step(
    way: str, sample: Sample, teacher: np.ndarray, plan: Plan, seed: int
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """The student of one step, and its weight on the ground truth."""

    def student(alpha: float) -> Callable[[np.ndarray], np.ndarray]:
        return fitted(sample, alpha * sample.targets + (1 - alpha) * teacher, plan, seed)

    def error(outputs: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.square(outputs(sample.held_X) - sample.held_targets).mean())

    if way == "α = 0":
        return student(0.0), 0.0
    if way == "estimated α":
        plain, pure = student(1.0)(sample.held_X), student(0.0)(sample.held_X)
        alpha = float(np.clip(1 - fd.theory.best_step_weight(plain, pure, sample.held_targets), 0.0, 1.0))
        return student(alpha), alpha
    students = [student(alpha) for alpha in plan.grid]
    best = int(np.argmin([error(each) for each in students]))
    return students[best], plan.grid[best]


def chain(way: str, sample: Sample, plan: Plan, seed: int) -> tuple[list[float], list[float]]:
    """Test accuracies of the plain network and of every step, and the weights."""
    outputs, weights = fitted(sample, sample.targets, plan, 1000 * seed), []
    found = [float(accuracy(outputs(sample.test_X), sample.test_labels))]
    for t in range(1, STEPS + 1):
        outputs, alpha = step(way, sample, outputs(sample.X), plan, 1000 * seed + t)
        found.append(float(accuracy(outputs(sample.test_X), sample.test_labels)))
        weights.append(alpha)
    return found, weights


def study(images: Images, plan: Plan, progress: Progress) -> list[Steps]:
    """The three ways on both labellings."""
    found = []
    fits = {"α = 0": 1, "estimated α": 3, "grid search": len(plan.grid)}
    for noise, labels in zip(NOISE, NAMES, strict=True):
        samples = [sample_of(images, plan.n_train, plan.n_held, plan.n_test, noise, seed) for seed in range(plan.seeds)]
        for way in WAYS:
            progress(f"networks: steps, labels {labels}, {way}")
            start = perf_counter()
            chains = [chain(way, sample, plan, seed) for seed, sample in enumerate(samples)]
            seconds = (perf_counter() - start) / plan.seeds
            accuracies, alphas = (np.array([each[k] for each in chains]) for k in (0, 1))
            found.append(Steps(labels, way, accuracies, alphas, fits[way], seconds))
    return found


def table(found: list[Steps], plan: Plan) -> Table:
    """Accuracy of the steps, and what the weights cost."""
    rows = [
        (
            each.labels,
            each.way,
            *(spread(each.accuracy[:, t]) for t in range(STEPS + 1)),
            ", ".join(f"{alpha:.2f}" for alpha in each.weights.mean(axis=0)),
            each.fits,
            each.seconds,
        )
        for each in found
    ]
    outputs = (
        "softmax outputs" if has_torch() else "plain outputs (of softmax outputs in the paper, which needs PyTorch)"
    )
    return plain_table(
        "steps",
        "[B] Test accuracy of five steps, and the cost of their weights",
        (
            "training labels",
            "weight",
            "plain",
            *(f"step {t}" for t in range(1, STEPS + 1)),
            "mean α",
            "fits",
            "seconds",
        ),
        rows,
        (
            f"Mean ± standard deviation over {plan.seeds} seeds. Fits: trainings of the network for each step; seconds "
            "are those of all steps of one seed. Estimated: the fits at α = 1 and α = 0, and the student. Grid: "
            f"{', '.join(f'{alpha:g}' for alpha in plan.grid)}, the least squared error on {plan.n_held} held-out "
            "images, which the estimate uses, too.",
            f"{plan.n_train} training images, {plan.width} hidden units, {plan.epochs} epochs of Adam in batches of "
            f"{plan.batch}, squared errors of {outputs}. The authors train residual networks on CIFAR-10, with batches "
            "of 16, 75 epochs, five steps, and 10⁻⁴ times the sum of the norms of all parameters as a penalty.",
        ),
    )


def claims(found: list[Steps]) -> Iterator[tuple[str, str, str]]:
    """What [B] claims of the steps, for each labelling."""
    for labels in NAMES:
        pure, estimated, grid = (each for each in found if each.labels == labels)
        name = f"[B] labels {labels}"
        gain = estimated.accuracy[:, -1] - pure.accuracy[:, -1]
        text = f"after {STEPS} steps, estimated α minus α = 0: {spread(gain)}"
        yield f"{name}: ground truth keeps later steps from falling", text, YES[exceeds(gain)]
        gain = estimated.accuracy[:, -1] - estimated.accuracy[:, 0]
        yield (
            f"{name}: distillation beats the plain network",
            f"after {STEPS} steps: {spread(gain)}",
            YES[exceeds(gain)],
        )
        gap = (estimated.accuracy - grid.accuracy)[:, 1:].mean(axis=1)
        text = f"mean of the steps, estimate minus grid: {spread(gap)}"
        yield f"{name}: the estimate is as good as the grid (within 1 %)", text, YES[bool(gap.mean() > -CLOSE)]
        text = f"{estimated.fits} fits a step instead of {grid.fits}"
        text += f", {estimated.seconds:.2g} s instead of {grid.seconds:.2g} s"
        yield f"{name}: with fewer fits", text, YES[estimated.fits < grid.fits]


def _ends(each: Steps) -> str:
    plain, last = each.accuracy.mean(axis=0)[[0, -1]]
    return f"{each.way}, labels {each.labels}, {plain:.1%} and {last:.1%}"


def picture(found: list[Steps]) -> Picture:
    """Test accuracy against the step, a line for each way."""
    figure, axes = figures.panels(1, 2, 10.0, 4.2)
    t = np.arange(STEPS + 1)
    for ax, labels in zip(axes, NAMES, strict=True):
        for each, colour, mark in zip((e for e in found if e.labels == labels), COLOURS, "sov", strict=True):
            mean, deviation = each.accuracy.mean(axis=0), each.accuracy.std(axis=0, ddof=1)
            ax.errorbar(t, mean, deviation, color=colour, marker=mark, markersize=5, capsize=3, label=each.way)
        figures.label(ax, f"labels {labels}", "step", "test accuracy")
    figures.legend_below(figure, axes[0], 3)
    return Picture(
        "steps",
        "[B] Test accuracy against steps; bars: one standard deviation over seeds",
        "steps without ground truth that end below those with it, and an estimated weight as good as a searched one.",
        f"plain network and step {STEPS}: {'; '.join(map(_ends, found))}.",
        figure,
        stacked_data(
            [
                {
                    "labels": np.full(len(t), each.labels),
                    "way": np.full(len(t), each.way),
                    "step": t,
                    "accuracy": each.accuracy.mean(axis=0),
                    "deviation": each.accuracy.std(axis=0, ddof=1),
                }
                for each in found
            ]
        ),
    )
