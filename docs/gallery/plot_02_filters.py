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
for step, filters in enumerate(S.path(y, 1e4, xi=1.0, n_steps=3).filters):
    left.semilogx(S.d, filters, label="ridge" if step == 0 else f"{step} pure rounds")
for weight in (1.0, 0.5, 0.0, -1.0):
    right.semilogx(S.d, S.path(y, 1e4, [weight]).filters[1], label=f"ξ = {weight:g}")
left.set(xlabel="eigenvalue d", ylabel="filter", title="Rounds without labels")
right.set(xlabel="eigenvalue d", title="One step, different weights")
left.legend()
right.legend()

# %%
# Degrees of freedom, the sums of these filters:

path = S.path(y, 1e4, xi=1.0, n_steps=3)
print(np.round(path.dof, 1))
