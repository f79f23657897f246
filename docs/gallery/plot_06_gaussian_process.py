"""
How sure is a kernel model away from the data?
==============================================

Every student is the posterior mean of a Gaussian process, whose standard deviation comes with it. Disease progression
against the body mass index (diabetes data), by kernel ridge with an intercept, tuned by leave-one-out.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

import fastdistill as fd

data = load_diabetes(scaled=False)
bmi, y = data.data[:, [2]], data.target

model = fd.DistilledKernelRidgeCV(kernel="rbf", gamma=[0.003, 0.01, 0.03, 0.1], strategy="ridge").fit(bmi, y)
print(model.kernel_params_["gamma"], f"penalty {model.alpha_:.3g}, {model.dof_:.1f} degrees of freedom")

grid = np.linspace(10.0, 55.0, 300)[:, None]
gamma = model.kernel_params_["gamma"]
fitted = fd.DistilledKernelRidge(alpha=model.alpha_, kernel="rbf", gamma=gamma, n_steps=0).fit(bmi, y)
mean, deviation = fitted.predict(grid, return_std=True)
noise = np.sqrt(-model.best_score_)  # the posterior is in units of sqrt(penalty); the noise gives it those of y
deviation *= noise / np.sqrt(model.alpha_)

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
axes.plot(bmi, y, ".", color="0.6", markersize=3)
axes.plot(grid, mean)
axes.fill_between(grid[:, 0], mean - 2 * deviation, mean + 2 * deviation, alpha=0.2)
axes.set(xlabel="body mass index", ylabel="disease progression", title="Mean ± two standard deviations")
