"""Kernel regression on a million points, in the memory of a few thousand: features, sums, GCV, predictions.

A kernel matrix of a million points has 8 TB. Nystroem features φ(x), m of them, turn kernel ridge into ridge on φ(x),
whose students follow from sums of m × m numbers:

    G = Σ (φ − mean)(φ − mean)ᵀ,   c = Σ (φ − mean)(y − mean)

Points are made, turned into features and summed block by block; none is kept. Penalty and imitation weights are then
chosen by generalised cross-validation, which needs the sums alone.

    python docs/examples/million_points.py                  # a million points, 300 features: 25 s, 400 MiB
    python docs/examples/million_points.py --points 20000 --features 100

On a cluster, with X and y as dask arrays, the loop over blocks becomes one line:

    acc = fd.distributed.accumulate(X.map_blocks(features.transform, ...), y)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
from sklearn.kernel_approximation import Nystroem

import fastdistill as fd

BLOCK = 20_000  # points at once
COLUMNS, NOISE = 5, 0.3


def blocks(n_points: int, first_seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points (h, 5) and targets (h,), the same whenever they are asked for. Put a reader of your files here."""
    for start in range(0, n_points, BLOCK):
        rng = np.random.default_rng((first_seed, start))
        X = rng.uniform(-2.0, 2.0, (min(BLOCK, n_points - start), COLUMNS))
        y = np.sin(2.0 * X[:, 0]) * X[:, 1] + np.cos(X[:, 2] * X[:, 3]) + NOISE * rng.standard_normal(len(X))
        yield X, y


def peak_memory() -> str:
    """The most memory that this process has had."""
    try:
        import resource
    except ImportError:  # not on Windows
        return "unknown"
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Run it, and return the root mean squared errors on new points."""
    parser = argparse.ArgumentParser(description="Kernel regression on many points, block by block.")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=300)
    options = parser.parse_args(arguments)

    begin = start = perf_counter()
    sample, _ = next(blocks(min(options.points, BLOCK), 0))
    features = Nystroem(kernel="rbf", gamma=0.1, n_components=options.features, random_state=0).fit(sample)
    print(f"before the first sum: peak memory {peak_memory()}")

    acc = fd.GramAccumulator()
    for X, y in blocks(options.points, 0):
        acc.partial_fit(features.transform(X), y)
    print(f"{acc} in {perf_counter() - start:.1f} s, peak memory {peak_memory()}")

    errors = {}
    for name, options_of_model in (
        ("ridge", {"strategy": "ridge"}),
        ("two steps", {"strategy": "joint", "n_steps": 2}),
    ):
        start = perf_counter()
        model = fd.DistilledRidgeCV(np.logspace(-6, 4, 40), scoring="gcv", **options_of_model).fit_accumulated(acc)
        seconds = perf_counter() - start
        squares, count = 0.0, 0
        for X, y in blocks(min(options.points, 5 * BLOCK), 1):  # new points
            squares += float(np.square(y - model.predict(features.transform(X))).sum())
            count += len(y)
        errors[name] = (squares / count) ** 0.5
        print(
            f"{name}: penalty {model.alpha_:.3g}, chosen among 40 in {seconds:.2f} s; "
            f"error {errors[name]:.4f} on {count:,} new points (noise {NOISE})"
        )
    print(f"all of it in {perf_counter() - begin:.1f} s, peak memory {peak_memory()}")
    return errors


if __name__ == "__main__":
    main()
