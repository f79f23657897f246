"""
What repairs noisy labels?
==========================

Self-distillation repairs an untuned model, about as far as tuning its penalty does. Estimating which labels are wrong,
and tuning again with the suspicious ones counting less, repairs the tuned model too. Digits with a share of the
training labels flipped to another digit: a logistic regression with its default penalty, the same distilled once, the
same with its penalty tuned by cross-validation, and the tuned one in `fastdistill.NoisyLabelClassifier`.
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
tuned = GridSearchCV(untuned, {"C": [0.001, 0.01, 0.1, 1.0]}, cv=3)
models = {
    "untuned": untuned,
    "untuned, distilled": fd.SelfDistiller(untuned, cv=3),
    "tuned": tuned,
    "tuned, labels weighted": fd.NoisyLabelClassifier(tuned, cv=3),
}

shares = (0.0, 0.2, 0.4)
scores = {name: [] for name in models}
for share in shares:
    rng = np.random.default_rng(1)
    flipped = rng.random(len(y_train)) < share
    noisy = np.where(flipped, (y_train + rng.integers(1, 10, len(y_train))) % 10, y_train)
    for name, model in models.items():
        scores[name].append(model.fit(X_train, noisy).score(X_test, y_test))

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (name, values) in enumerate(scores.items()):
    axes.bar(np.arange(3) + 0.2 * (i - 1.5), values, width=0.19, label=name)
axes.set(xticks=range(3), xticklabels=[f"{share:.0%} flipped labels" for share in shares])
axes.set(ylabel="accuracy on clean test labels", ylim=(0.6, 1.0), title="Compare with the tuned model, always")
axes.legend()

# %%

for name, values in scores.items():
    print(f"{name:23}", np.round(values, 3))

# %%
# With 40 % flipped: how many labels are wrong, and which?

cleaner = models["tuned, labels weighted"]
print(cleaner.verdict_)

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
bins = np.linspace(0, 1, 21)
for wrong, name in ((False, "right"), (True, "flipped")):
    axes.hist(cleaner.label_quality_[flipped == wrong], bins, alpha=0.6, label=f"labels that are {name}")
axes.set(xlabel="estimated probability that the given label is right", ylabel="samples")
axes.legend()
