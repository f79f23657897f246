"""The networks of [M], [B] and [S] on images of digits: rounds, weights from two fits, gradient cosines.

=====================  ==================================================================
paper                  module
=====================  ==================================================================
[M] arXiv 2002.05715   ``networks_rounds``: rounds of a network, and of its tangent kernel
[B] arXiv 2102.13088   ``networks_weights``: five steps with and without ground truth
[S] arXiv 2305.17581   ``networks_variance``: a ReLU network with a teacher; needs PyTorch
=====================  ==================================================================

Small by default, so that all of them take half a minute on one core; the published numbers of epochs, batches and
weights with ``full``, which takes an hour or two. scikit-learn trains the networks; where soft targets of a softmax or
gradients are needed PyTorch does, and without it those parts are left out, which the report says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastdistill.pages.parts import Progress, Report, plain_table
from fastdistill.reproduce import networks_rounds as rounds
from fastdistill.reproduce import networks_variance as variance
from fastdistill.reproduce import networks_weights as weights
from fastdistill.reproduce.data import digits, mnist

LEFT_OUT = (
    ("[S]", "the ReLU network with its gradient cosine, schedules of λ, SVRG and repeated distillation", "gradients"),
    ("[B]", "squared errors of softmax outputs and the penalty of the authors; plain outputs stand in", "soft targets"),
)


def reproduce(folder: Path | None, progress: Progress, full: bool = False) -> Report:
    """Tables and pictures of the networks: on MNIST from a folder, without one on the digits of scikit-learn."""
    images = digits() if folder is None else mnist(folder)
    torch = weights.has_torch()
    parts: list[Any] = [rounds, weights, *([variance] if torch else [])]
    claims, tables, pictures = [], [], []
    for part in parts:
        plan = part.FULL if full else part.SMALL
        plan = replace(plan, n_train=min(plan.n_train, 2 * len(images.labels) // 3))
        found = part.study(images, plan, progress)
        claims.extend(part.claims(found))
        tables.append(part.table(found, plan))
        pictures.append(part.picture(found))
    notes = (
        "Holds: the mean over the seeds is above zero by more than two standard errors, unless the claim says "
        "otherwise. ± is the standard deviation over seeds.",
    )
    tables.insert(
        0, plain_table("claims", "What the papers claim, and what we find", ("claim", "ours", "holds"), claims, notes)
    )
    if not torch:
        columns = ("paper", "what is left out", "needs PyTorch for")
        title = "Left out, as PyTorch is not installed (pip install 'fastdistill[torch]')"
        tables.append(plain_table("left-out", title, columns, list(LEFT_OUT)))
    sizes = (
        "with the published numbers of epochs, batches and weights"
        if full
        else "kept small; --full takes the published sizes"
    )
    return Report(
        name="networks",
        title="The networks of the papers, on images of digits",
        reference="Mobahi et al. 2020, arXiv:2002.05715; Borup, Andersen 2021, arXiv:2102.13088; "
        "Safaryan et al. 2023, arXiv:2305.17581",
        summary=(
            "Networks of one hidden layer retrained on their own outputs: round after round, with a share of ground "
            "truth that is estimated from two fits or searched on a grid, and as students of SGD with a teacher. The "
            "first table says which claims hold at this size."
        ),
        assumptions=(
            f"{images.title}, {images.origin}: the papers have CIFAR-10 and 100 with residual networks ([M], [B]) and "
            f"MNIST ([S]). Runs are {sizes}.",
            "[M] and [B] run twice: with the labels as they are, and with 30 % of the training and held-out labels "
            "drawn anew, which the papers do not do. Test labels are true.",
            "Of [M] the abstract was at hand, of [B] and [S] the abstract and the published scripts; the figures were "
            "not, so no published number is compared.",
        ),
        tables=tuple(tables),
        pictures=tuple(pictures),
    )
