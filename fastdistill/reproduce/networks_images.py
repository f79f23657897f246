"""Images for the networks: random training, held-out and test rows, and labels of which some are replaced.

The papers train on labels as they are. On easy images a network then has little to unlearn, so every experiment runs a
second time with a share of the training and held-out labels replaced by random classes; test labels stay true.

Cost: copies of the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastdistill.reproduce.data import Images

NOISE = (0.0, 0.3)  # shares of labels that are drawn anew
NAMES = ("as they are", "30 % replaced")


class Sample(NamedTuple):
    """Pixels (n, p) of training, held-out and test images, and their class numbers; test labels are true."""

    X: np.ndarray
    labels: np.ndarray
    held_X: np.ndarray
    held_labels: np.ndarray
    test_X: np.ndarray
    test_labels: np.ndarray
    n_classes: int

    @property
    def targets(self) -> np.ndarray:
        """Training labels as rows of an identity matrix (n, C)."""
        return np.eye(self.n_classes)[self.labels]

    @property
    def held_targets(self) -> np.ndarray:
        """The same of the held-out labels."""
        return np.eye(self.n_classes)[self.held_labels]


def sample_of(images: Images, n_train: int, n_held: int, n_test: int, noise: float, seed: int) -> Sample:
    """Rows drawn without replacement; no more test rows than there are left."""
    rng = np.random.default_rng(seed)
    X = images.pixels.reshape(len(images.labels), -1)
    rows = rng.permutation(len(X))
    train, held, test = np.split(rows[: n_train + n_held + n_test], [n_train, n_train + n_held])
    n_classes = int(images.labels.max()) + 1
    replaced = rng.random(len(X)) < noise
    labels = np.where(replaced, rng.integers(n_classes, size=len(X)), images.labels)
    return Sample(X[train], labels[train], X[held], labels[held], X[test], images.labels[test], n_classes)


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of rows (..., n, C) whose largest output is at the label."""
    return np.mean(outputs.argmax(axis=-1) == labels, axis=-1)


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over seeds, in percent."""
    return f"{values.mean():.1%} ± {values.std(ddof=1):.1%}"


def exceeds(gains: np.ndarray) -> bool:
    """Whether the mean over seeds is above zero by more than two standard errors."""
    return bool(gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains)))
