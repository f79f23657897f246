"""
Does distillation help on ordinary data?
========================================

No. On 40 random splits of the diabetes data with 60 training samples: the test error of each strategy, divided by
that of ridge tuned by leave-one-out. Weights that are tuned freely ("joint", two steps) scatter widely and lose on
average. The default averages ridge over the penalties that the samples cannot tell apart, and distils on evidence
only, of which there is none here.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

import fastdistill as fd

X, y = load_diabetes(return_X_y=True)
models = {
    "default": fd.DistilledRidgeCV(),
    "two weights, joint": fd.DistilledRidgeCV(strategy="joint", n_steps=2),
    "two weights in [0, 1]": fd.DistilledRidgeCV(strategy="joint", n_steps=2, bounds=(0.0, 1.0)),
}


def test_error(model, train, test):
    return np.square(model.fit(X[train], y[train]).predict(X[test]) - y[test]).mean()


ratios = {name: [] for name in models}
for seed in range(40):
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:60], order[60:]
    ridge = test_error(fd.DistilledRidgeCV(strategy="ridge"), train, test)
    for name, model in models.items():
        ratios[name].append(test_error(model, train, test) / ridge)

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.boxplot(list(ratios.values()), orientation="horizontal", tick_labels=list(ratios), whis=(0, 100))
axes.axvline(1.0, color="black", linewidth=0.8)
axes.set(xlabel="test error / test error of tuned ridge", title="40 splits, 60 training samples")

# %%
# Geometric means:

for name, values in ratios.items():
    print(f"{name:22} {np.exp(np.log(values).mean()):.3f}   worst split {max(values):.3f}")
