"""
How much noise does a teacher take out of SGD?
==============================================

As much as its gradients explain. Logistic regression on the breast cancer data by SGD with a constant step, four
weights of the teacher in one pass over the data. With a good teacher (close to the minimiser) a weight near 1 is
best; with a poor one the bias soon outweighs the noise that it removes.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import fastdistill as fd

X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
l2 = 0.1
exact = LogisticRegression(C=1 / (l2 * len(y)), fit_intercept=False, tol=1e-10, max_iter=5000).fit(X, y)
best = exact.coef_[0]

rng = np.random.default_rng(0)
direction = rng.standard_normal(len(best))
direction *= np.linalg.norm(best) / np.linalg.norm(direction)
weights = [0.0, 0.4, 0.8, 1.0]

figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for axes, (name, size) in zip(panels, (("good teacher", 0.05), ("poor teacher", 0.5)), strict=True):
    teacher = best + size * direction
    run = fd.run_sgd(
        X, y, loss="logistic", l2=l2, teacher=teacher, kd_weight=weights, step_size=0.02, n_epochs=60,
        reference=best, random_state=0,
    )  # fmt: skip
    names = [f"weight {weight:g}" for weight in weights]
    fd.plot.TraceDisplay.from_run(run, names=names).plot(axes, quantity="distance", legend=axes is panels[0])
    noise = fd.theory.kd_neighbourhood(X, y, teacher, best, loss="logistic", l2=l2, step_size=0.02)
    axes.set(ylabel="", title=f"{name}: best weight {noise.best_weight:.2f}")
    print(f"{name}: the best weight leaves {noise.reduction:.1%} of the noise bound")
panels[0].set_ylabel("distance to the minimiser")
