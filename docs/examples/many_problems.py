"""A simulation of a million ridge problems, chunk by chunk: does a second round of distillation help?

Each problem has its own coefficients and noise. One call of `fastdistill.batched_path` fits all students of a chunk; of
each chunk only the sums stay, so that memory does not grow with the number of problems. A million problems of 64 × 8
take about 20 s on one core, most of them for drawing the data.

Run me: ``python docs/examples/many_problems.py 1000000``.
"""

import sys

import numpy as np

import fastdistill as fd

N, P, NOISE, LAM = 64, 8, 2.0, 10.0
XI = [1.0, -0.5]  # two rounds: one that smooths, one that moves away from its teacher
CHUNK = 4096


def draw(rng, n_problems):
    """Designs (B, n, p), targets (B, n) and the coefficients behind them (B, p)."""
    X, truth = rng.standard_normal((n_problems, N, P)), rng.standard_normal((n_problems, P))
    y = np.einsum("bnp,bp->bn", X, truth) + NOISE * rng.standard_normal((n_problems, N))
    return X, y, truth


def simulate(n_problems, seed=0, chunk=CHUNK):
    """Mean squared errors of the coefficients (k+1,) of the students 0..k, and their standard errors (k+1,)."""
    rng, total, squares = np.random.default_rng(seed), np.zeros(len(XI) + 1), np.zeros(len(XI) + 1)
    for start in range(0, n_problems, chunk):
        X, y, truth = draw(rng, min(chunk, n_problems - start))
        coef = fd.batched_path(X, y, LAM, XI).coef  # (B, k+1, p)
        errors = np.square(coef - truth[:, None, :]).sum(axis=2)
        total += errors.sum(axis=0)
        squares += np.square(errors).sum(axis=0)
    mean = total / n_problems
    return mean, np.sqrt((squares / n_problems - mean**2) / n_problems)


if __name__ == "__main__":
    mean, error = simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    for step in range(len(mean)):
        print(f"student {step}: mean squared error {mean[step]:.4f} ± {error[step]:.4f}")
