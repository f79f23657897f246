"""
Does self-distillation repair noisy labels?
===========================================

It repairs an untuned model, about as far as tuning its penalty does. Digits with a share of the training labels
replaced by random ones: a logistic regression with its default penalty, the same distilled once, and the same with
its penalty tuned by cross-validation. So tune first; in a larger study the tuned model was ahead (see the guide on
noisy labels).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split

import fastdistill as fd

warnings.simplefilter("ignore")  # some fits with nearly no penalty stop early
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, train_size=500, random_state=0, stratify=y)
untuned = LogisticRegression(C=1.0, max_iter=60)
models = {
    "untuned": untuned,
    "untuned, distilled": fd.SelfDistiller(untuned, cv=3),
    "tuned": GridSearchCV(untuned, {"C": [0.001, 0.01, 0.1, 1.0]}, cv=3),
}

shares = (0.0, 0.2, 0.4)
scores = {name: [] for name in models}
for share in shares:
    rng = np.random.default_rng(1)
    flipped = rng.random(len(y_train)) < share
    noisy = np.where(flipped, rng.integers(0, 10, len(y_train)), y_train)
    for name, model in models.items():
        scores[name].append(model.fit(X_train, noisy).score(X_test, y_test))

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (name, values) in enumerate(scores.items()):
    axes.bar(np.arange(3) + 0.25 * (i - 1), values, width=0.24, label=name)
axes.set(xticks=range(3), xticklabels=[f"{share:.0%} random labels" for share in shares])
axes.set(ylabel="accuracy on clean test labels", ylim=(0.6, 1.0), title="Compare with the tuned model, always")
axes.legend()

# %%

for name, values in scores.items():
    print(f"{name:20}", np.round(values, 3))
