"""
When do rounds of distillation collapse?
========================================

Mobahi et al. give each round a tolerance on its mean squared residual instead of a penalty. The fits get simpler,
round by round, until the targets are within the tolerance of zero: then the next fit is flat. Width against length of
iris petals; the larger the tolerance, the fewer the rounds.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.metrics.pairwise import rbf_kernel

import fastdistill as fd

length, width = load_iris().data[:, [2]], load_iris().data[:, 3]
S = fd.Spectrum.from_kernel(rbf_kernel(length, gamma=2.0), fit_intercept=True)
grid = np.linspace(0.5, 7.5, 300)[:, None]

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for axis, eps in zip(axes, (0.05, 0.12), strict=True):
    rounds = S.tolerance_path(width, eps)
    fits = rounds.predict(rbf_kernel(grid, length, gamma=2.0))
    axis.plot(length, width, ".", color="0.7")
    for i in range(rounds.n_rounds):
        axis.plot(grid, fits[i], label=f"round {i}")
    axis.axhline(width.mean(), color="black", linewidth=0.8, label="collapsed")
    axis.set(xlabel="petal length [cm]", title=f"tolerance {eps}: {rounds.n_rounds} rounds")
    axis.legend()
    print(f"tolerance {eps}: penalties {np.round(150 * rounds.multipliers, 2)}")
axes[0].set_ylabel("petal width [cm]")
