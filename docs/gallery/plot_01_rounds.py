"""
What does a round of distillation do to ridge regression?
=========================================================

It acts like a larger penalty. Ridge regression on the diabetes data, and three rounds in which each model is trained
on the predictions of the one before: the curves of the test error move to the left. The best error stays the same.

All 240 models come from one decomposition.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import fastdistill as fd

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)

penalties = np.logspace(-4, 2, 60)
S = fd.Spectrum.from_design(X_train, fit_intercept=True)
path = S.path(y_train, penalties, xi=1.0, n_steps=3)
display = fd.plot.PathDisplay.from_path(path, X_test, y_test)

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
display.plot(axes, band="ridge")
axes.set_title("A round moves the curve to the left")

# %%
# The best errors, at the dots; the band is one standard error of ridge's:

for name in display.names:
    penalty, error = display.best(name)
    print(f"{name}: error {error:.0f} at the penalty {penalty:.3g}")
