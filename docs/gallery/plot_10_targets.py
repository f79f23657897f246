"""
Do my targets need a penalty each?
==================================

Predict the right half of an image of a digit from its left half: 32 targets. With a penalty for each target, pixels
that the left half says little about get a large one; the error is a little smaller. All of it comes from one
decomposition.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastdistill as fd

images = load_digits().images / 16.0
left, right = images[:, :, :4].reshape(-1, 32), images[:, :, 4:].reshape(-1, 32)
train, test = slice(0, 200), slice(200, None)

shared = fd.DistilledRidgeCV(n_steps=0).fit(left[train], right[train])
own = fd.DistilledRidgeCV(n_steps=0, alpha_per_target=True).fit(left[train], right[train])
for name, model in (("one penalty", shared), ("one for each target", own)):
    print(f"{name:20} {np.square(model.predict(left[test]) - right[test]).mean():.5f}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
penalties = np.where(right[train].std(axis=0) > 0, np.log10(own.alpha_), np.nan)  # some pixels are always empty
picture = axes[0].imshow(penalties.reshape(8, 4), cmap="viridis")
figure.colorbar(picture, ax=axes[0], label="log₁₀ of the penalty")
axes[0].set_title("Penalties")
predicted = own.predict(left[1000:1001]).reshape(8, 4)
whole = np.hstack([images[1000][:, :4], predicted])
for axis, rows, title in ((axes[1], images[1000], "Image"), (axes[2], whole, "Right half predicted")):
    axis.imshow(rows, cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(title)
for axis in axes:
    axis.set(xticks=[], yticks=[])
