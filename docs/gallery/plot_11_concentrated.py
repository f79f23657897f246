"""
When does distillation beat every ridge?
========================================

When the signal sits in few directions of a spread spectrum. The spectrum is real, that of the digits; the signal is
chosen: it lies in the first directions only, or in all of them. The least excess risk of ridge, of one to four steps
and of the best filter there is, from their formulas (Pareek, Du and Oh 2024).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastdistill as fd

X = load_digits().data[:400]
S = fd.Spectrum.from_design(X, fit_intercept=True)
d = S.d[:40]
counts = [1, 2, 5, 10, 20, 40]
steps = range(5)

risks = np.empty((len(counts), len(steps)))
for i, count in enumerate(counts):
    theta = np.zeros(len(d))
    theta[:count] = np.sqrt(5.0 / d[:count])  # each of these directions carries five times the noise
    floor = fd.theory.oracle_risk(d, theta, 1.0, 400)
    for k in steps:
        risks[i, k] = fd.theory.best_student(d, theta, 1.0, 400, n_steps=k).excess_risk / floor

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
for k in steps:
    axes.semilogx(counts, risks[:, k], "o-", label="ridge" if k == 0 else f"{k} step{'s' * (k > 1)}")
axes.set(xlabel=f"directions with signal, of {len(d)}", ylabel="excess risk / that of the best filter")
axes.set(title="The more concentrated, the more steps gain", xticks=counts, xticklabels=counts)
axes.legend()

# %%
# Penalty and weights are the best for the *known* signal. From data they must be estimated: see the evidence that the
# default asks for.

print(risks.round(2))
