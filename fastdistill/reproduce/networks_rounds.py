"""[M] Rounds of self-distillation of a network on images, and of its neural tangent kernel.

Round 0 learns one-hot labels by squared errors, round t the outputs of round t − 1 on the training images; every round
starts from new random weights. With the neural tangent kernel of the same network at infinite width the rounds are
exact: kernel ridge of one penalty, filters a^(t+1).

==================================  ==========================================
paper [M]                           here
==================================  ==========================================
rounds of self-distillation         `network_rounds`, ``xi=1`` in `kernel_rounds`
network, squared errors             ``MLPRegressor`` of scikit-learn
neural tangent kernel               `fastdistill.ntk_kernel`
==================================  ==========================================

Cost: one training of the network for each round, labelling and seed; for all rounds of the kernel one n × n
decomposition.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Table, plain_table, stacked_data
from fastdistill.reproduce.data import Images
from fastdistill.reproduce.networks_images import NAMES, NOISE, Sample, accuracy, exceeds, sample_of, spread

YES = {True: "yes", False: "NO"}
MODELS = ("network", "its tangent kernel")
PENALTY = 1.0  # of the kernel, against the sum of squares
SHOWN = (0, 1, 2, 3, 5, 8, 12, 20, 40, 60)  # rounds of the kernel in the table


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment."""

    n_train: int
    n_test: int
    width: int
    epochs: int
    batch: int
    rounds: int
    seeds: int


SMALL = Plan(n_train=400, n_test=1000, width=100, epochs=40, batch=50, rounds=9, seeds=3)
FULL = Plan(n_train=1000, n_test=5000, width=100, epochs=75, batch=16, rounds=10, seeds=5)


class Rounds(NamedTuple):
    """Accuracies (seeds, rounds + 1) on the training labels, replaced ones included, and on test labels."""

    model: str
    labels: str
    train: np.ndarray
    test: np.ndarray

    @property
    def best(self) -> int:
        """The round of the best mean test accuracy."""
        return int(self.test.mean(axis=0).argmax())


def mlp(plan: Any, seed: int) -> MLPRegressor:
    """One hidden layer of ReLU trained on squared errors by Adam."""
    return MLPRegressor(
        hidden_layer_sizes=(plan.width,),
        batch_size=plan.batch,
        max_iter=plan.epochs,
        learning_rate_init=3e-3,
        tol=0.0,
        n_iter_no_change=plan.epochs,
        random_state=seed,
    )


def trained(model: Any, X: np.ndarray, targets: np.ndarray) -> Any:
    """The model fitted; that it stops after a given number of epochs is the protocol, not a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, targets)


def network_rounds(sample: Sample, plan: Plan, seed: int) -> tuple[list[float], list[float]]:
    """Training and test accuracy of every round."""
    targets, train, test = sample.targets, [], []
    for step in range(plan.rounds + 1):
        model = trained(mlp(plan, 1000 * seed + step), sample.X, targets)
        targets = model.predict(sample.X)
        train.append(float(accuracy(targets, sample.labels)))
        test.append(float(accuracy(model.predict(sample.test_X), sample.test_labels)))
    return train, test


def kernel_rounds(sample: Sample, n_rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of kernel ridge with the tangent kernel of one hidden layer, from one decomposition."""
    spectrum = fd.Spectrum.from_kernel(fd.ntk_kernel(sample.X, depth=1), fit_intercept=True)
    path = spectrum.path(sample.targets, PENALTY, 1.0, n_rounds)
    outputs = path.predict(fd.ntk_kernel(sample.test_X, sample.X, depth=1))
    return accuracy(path.fitted, sample.labels), accuracy(outputs, sample.test_labels)


def study(images: Images, plan: Plan, progress: Progress) -> list[Rounds]:
    """Both models on both labellings."""
    found = []
    for noise, labels in zip(NOISE, NAMES, strict=True):
        accuracies: tuple[list[Any], list[Any]] = ([], [])
        for seed in range(plan.seeds):
            progress(f"networks: rounds, labels {labels}, seed {seed + 1} of {plan.seeds}")
            sample = sample_of(images, plan.n_train, 0, plan.n_test, noise, seed)
            accuracies[0].append(network_rounds(sample, plan, seed))
            accuracies[1].append(kernel_rounds(sample, SHOWN[-1]))
        for model, of_seeds in zip(MODELS, accuracies, strict=True):
            train, test = (np.array([each[k] for each in of_seeds]) for k in (0, 1))
            found.append(Rounds(model, labels, train, test))
    return found


def table(found: list[Rounds], plan: Plan) -> Table:
    """Accuracies of the rounds."""
    rows = [
        (each.model, each.labels, t, spread(each.train[:, t]), spread(each.test[:, t]))
        for each in found
        for t in (range(plan.rounds + 1) if each.model == MODELS[0] else SHOWN)
    ]
    return plain_table(
        "rounds",
        "[M] Accuracy against rounds of self-distillation without ground truth",
        ("model", "training labels", "round", "training accuracy", "test accuracy"),
        rows,
        (
            f"Mean ± standard deviation over {plan.seeds} seeds, each with its own split and first weights. "
            f"{plan.n_train} training images; {plan.width} hidden units; {plan.epochs} epochs of Adam in batches of "
            f"{plan.batch}; squared errors of the outputs. Training accuracy is agreement with the labels that were "
            "given, replaced ones included.",
            f"Kernel: the tangent kernel of one hidden layer, ridge of the penalty {PENALTY:g}; its rounds are exact, "
            "from one decomposition.",
        ),
    )


def claims(found: list[Rounds]) -> Iterator[tuple[str, str, str]]:
    """What [M] claims of the rounds, for each model and labelling."""
    for each in found:
        name = f"[M] {each.model}, labels {each.labels}"
        best, last = each.best, each.test.shape[1] - 1
        rise = each.test[:, max(best, 1)] - each.test[:, 0]
        text = f"round {max(best, 1)} minus round 0: {spread(rise)}"
        yield f"{name}: test accuracy first rises", text, YES[best > 0 and exceeds(rise)]
        fall = each.test[:, best] - each.test[:, last]
        yield f"{name}: then falls", f"round {best} minus round {last}: {spread(fall)}", YES[exceeds(fall)]
        drop = each.train[:, 0] - each.train[:, last]
        yield f"{name}: training accuracy falls", f"round 0 minus round {last}: {spread(drop)}", YES[exceeds(drop)]


def picture(found: list[Rounds]) -> Picture:
    """Training and test accuracy against the round."""
    figure, axes = figures.panels(2, 2, 10.0, 6.4, sharey=True)
    for ax, each in zip(axes, found, strict=True):
        t = np.arange(each.test.shape[1])
        for name, values, colour, mark in (
            ("training", each.train, figures.GREY, "s"),
            ("test", each.test, figures.BLUE, "o"),
        ):
            mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
            every = max(1, len(t) // 10)
            ax.plot(t, mean, color=colour, marker=mark, markersize=4, markevery=every, label=name)
            ax.fill_between(t, mean - deviation, mean + deviation, color=colour, alpha=0.2)
        figures.label(ax, f"{each.model}, labels {each.labels}", "round", "accuracy")
    figures.legend_below(figure, axes[0], 2)
    falls = [f"{each.model}, labels {each.labels}: best in round {each.best}" for each in found]
    return Picture(
        "rounds",
        "[M] Accuracy against rounds; bands: one standard deviation over seeds",
        "training accuracy that falls with every round, and test accuracy that rises first and falls later.",
        "; ".join(falls) + ".",
        figure,
        stacked_data(
            [
                {
                    "model": np.full(each.test.shape[1], each.model),
                    "labels": np.full(each.test.shape[1], each.labels),
                    "round": np.arange(each.test.shape[1]),
                    "train": each.train.mean(axis=0),
                    "test": each.test.mean(axis=0),
                    "test_deviation": each.test.std(axis=0, ddof=1),
                }
                for each in found
            ]
        ),
    )
