"""
What if the teacher is biased?
==============================

Then a student that matches it inherits the bias, however small its own penalty. A teacher that predicts the *errors* of
the student instead keeps correcting it until nothing is left to correct. Here the teacher smooths too much, and the
inputs of interest (grey) lie where labels are few: covariate shift.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastdistill as fd

rng = np.random.default_rng(0)
X, U = rng.beta(1.5, 2, (200, 1)), rng.beta(5, 2, (300, 1))
y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(200)
wanted = np.sin(6 * U[:, 0])

teacher = fd.DistilledKernelRidge(alpha=15.0, gamma=20.0, n_steps=0)
penalties = np.logspace(-4, 2, 25)
colours = {"matching": "tab:orange", "residual": "tab:green"}
grid = np.linspace(0, 1, 200)[:, np.newaxis]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.plot(X, y, ".", color="0.75", markersize=4, label="labelled data")
left.plot(grid, np.sin(6 * grid[:, 0]), color="black", linewidth=1, label="truth")
left.plot(U[:, 0], np.full(300, -1.9), "|", color="0.5")
for method, colour in colours.items():
    students = [fd.DistilledKernelRidge(alpha, gamma=20.0, n_steps=0) for alpha in penalties]
    models = [fd.ResidualTeacherRidge(s, teacher, method).fit(X, y, X_unlabelled=U) for s in students]
    errors = [np.mean((model.predict(U) - wanted) ** 2) for model in models]
    best = int(np.argmin(errors))
    left.plot(grid, models[best].predict(grid), color=colour, label=method)
    right.loglog(penalties, errors, color=colour, label=method)
    print(f"{method}: least error {errors[best]:.4f} at penalty {penalties[best]:.2g}")
left.set(xlabel="x", title="Best students of both kinds")
left.legend(fontsize=8)
right.set(xlabel="penalty of the student", ylabel="error on unlabelled inputs", title="No penalty undoes the bias")
right.legend()
