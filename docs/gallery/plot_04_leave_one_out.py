"""
Can I trust leave-one-out?
==========================

For choosing a penalty: yes. Exact leave-one-out errors of ridge and of one step, without a refit, beside the error on
held-out samples: the curves have the same shape (their level is that of 80 samples). As an estimate of the error of
*tuned weights*: no. Every further weight that is tuned makes the leave-one-out error smaller, and the error on new
samples does not follow.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import fastdistill as fd

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=80, random_state=1)
penalties = np.logspace(-4, 1, 40)
S = fd.Spectrum.from_design(X_train, fit_intercept=True)
path = S.path(y_train, penalties, xi=[1.0])

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
left_out, new = fd.plot.PathDisplay.from_path(path), fd.plot.PathDisplay.from_path(path, X_test, y_test)
for display, line, what in ((left_out, "-", "leave-one-out"), (new, "--", "new samples")):
    styles = [{"linestyle": line, "label": f"{name}, {what}"} for name in display.names]
    display.plot(left, dots=False, styles=styles)
left.set(ylabel="mean squared error", title="Given weights")

promised, real = [], []
for n_steps in range(5):
    tuned = fd.tune(S, y_train, penalties, n_steps=n_steps, strategy="joint")
    promised.append(tuned.score)
    real.append(tuned.path.mse(X_test, y_test)[-1])
right.plot(range(5), promised, "o-", label="leave-one-out")
right.plot(range(5), real, "o--", label="new samples")
right.set(xlabel="tuned weights", title="Tuned weights", xticks=range(5))
right.legend()

# %%
# The promise and what came of it:

for n_steps, (score, error) in enumerate(zip(promised, real, strict=True)):
    print(f"{n_steps} weights: leave-one-out {score:.0f}, new samples {error:.0f}")
