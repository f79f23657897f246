"""
Which directions of the data does a student keep?
=================================================

A fit multiplies the coordinates of the labels in the eigenbasis of the data by a filter. Ridge removes directions of
small variance. Each pure round (ξ = 1) removes more of them; a negative weight gives some back. With two weights or
more, students have filters that no ridge has.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastdistill as fd

X, y = load_digits(return_X_y=True)
S = fd.Spectrum.from_design(X, fit_intercept=True)
print(f"{S.rank} directions, eigenvalues from {S.d[0]:.3g} to {S.d[-1]:.3g}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
rounds = fd.plot.SpectrumDisplay.from_path(S.path(y, 1e4, xi=1.0, n_steps=3))
rounds.plot(left, kind="filters", against="eigenvalue")
weights = (1.0, 0.5, 0.0, -1.0)
filters = [S.path(y, 1e4, [weight]).filters[1] for weight in weights]
one_step = fd.plot.SpectrumDisplay(S.d, filters=filters, names=[f"ξ = {weight:g}" for weight in weights])
one_step.plot(right, kind="filters", against="eigenvalue")
left.set_title("Rounds without labels")
right.set(title="One step, different weights", ylabel="")

# %%
# Degrees of freedom, the sums of these filters:

path = S.path(y, 1e4, xi=1.0, n_steps=3)
print(np.round(path.dof, 1))
