"""
Is a pass over blocks as good as having all rows?
=================================================

Yes, to rounding. The rows of the digits arrive block by block; only sums of 64 × 64 numbers are kept. Coefficients
after each block approach those of all rows, and after the last block they are the same; the leave-one-out errors of a
second pass are exact.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastdistill as fd

X, y = load_digits(return_X_y=True)
pieces = np.array_split(np.arange(len(y)), 20)
whole = fd.Spectrum.from_design(X, fit_intercept=True).path(y, [1.0, 100.0], [0.5])

acc, distances = fd.GramAccumulator(), []
for rows in pieces:
    acc.partial_fit(X[rows], y[rows])
    coef = acc.path([1.0, 100.0], [0.5]).coef
    distances.append(np.linalg.norm(coef - whole.coef) / np.linalg.norm(whole.coef))

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.semilogy([rows[-1] + 1 for rows in pieces], distances, "o-")
axes.set(xlabel="rows seen", ylabel="relative distance to all rows", title="Coefficients from sums")

# %%

errors = acc.loo_mse(((X[rows], y[rows]) for rows in pieces), [1.0, 100.0], [0.5])
print("leave-one-out errors agree:", bool(np.allclose(errors, whole.loo_mse, rtol=1e-9)))
