"""Messages show what users wrote: labels and numbers as such, not as NumPy's, and names of classes, not their codes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import fastdistill as fd
from fastdistill.base import validation

X = np.random.default_rng(0).standard_normal((30, 3))
Y, LABELS = X[:, 0], np.array(list("abc") * 10)


def went_on():
    model = fd.KDSGDClassifier().partial_fit(X, LABELS, classes=np.array(["a", "b", "c"]))
    model.partial_fit(X, np.array(list("abz") * 10))


CASES = {
    "one class": (lambda: fd.KDSGDClassifier().fit(X, ["c"] * 30), "1 class: 'c'"),
    "one class, distilled": (lambda: fd.SelfDistiller(LogisticRegression()).fit(X, ["c"] * 30), "1 class, 'c'"),
    "one class with weight": (
        lambda: fd.SelfDistiller(LogisticRegression()).fit(X, LABELS, sample_weight=(LABELS == "a") * 1.0),
        "all classes but one, 'a'",
    ),
    "other classes of a teacher": (
        lambda: fd.KDSGDClassifier(teacher=LogisticRegression().fit(X, LABELS)).fit(X, np.array(list("xyz") * 10)),
        "['a', 'b', 'c'], but the student has ['x', 'y', 'z']",
    ),
    "new class": (went_on, "'z', which is not among the classes ['a', 'b', 'c']"),
    "class too small": (lambda: fd.KDSGDClassifier(early_stopping=True).fit(X[:5], LABELS[:5]), "['c']"),
    "text": (lambda: fd.run_sgd(X, LABELS, step_size=0.1), "'a' is text"),
    "an integer": (lambda: fd.tune(fd.Spectrum.from_design(X), Y, [1.0], n_steps=np.float64(1.5)), "got 1.5"),
    "bounds": (
        lambda: fd.tune(fd.Spectrum.from_design(X), Y, [1.0], n_steps=1, bounds=(np.float64(2), 1.0)),
        "got (2.0, 1.0)",
    ),
    "kd_weight": (lambda: fd.run_sgd(X, Y, step_size=0.1, kd_weight=np.float64(0.5)), "kd_weight=0.5 needs"),
    "seed": (lambda: fd.run_sgd(X, Y, step_size=0.1, random_state=[np.float64(1)]), "got [1.0]"),
    "penalty": (lambda: fd.DistilledRidge(np.str_("1")).fit(X, Y), "'1'"),
    "text as targets, tuned": (
        lambda: fd.DistilledRidgeCV().fit(X, LABELS),
        "y must hold real numbers, but 'a' is text",
    ),
    "text as targets, kernels": (lambda: fd.DistilledKernelRidgeCV().fit(X, LABELS), "but 'a' is text"),
    "text as targets, SGD": (lambda: fd.KDSGDRegressor().fit(X, LABELS), "but 'a' is text"),
    "text as targets, self-training": (lambda: fd.SelfTrainedRidge().fit(X, LABELS), "but 'a' is text"),
    "numbers written as text": (lambda: fd.KDSGDRegressor().fit(X, Y.astype(str)), "is text; convert it to numbers"),
    "dates": (
        lambda: fd.KDSGDRegressor().fit(X, np.full(30, "2020-01-01", "datetime64[D]")),
        "convert dates to numbers",
    ),
    "gaps": (lambda: fd.DistilledRidgeCV().fit(X, np.full(30, None)), "y contains NaN at index 0"),
    "flag": (lambda: fd.DistilledRidgeCV(fit_intercept=np.float64(2)).fit(X, Y), "got 2.0"),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_and_numbers_are_shown_plainly(case):
    call, words = CASES[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert words in str(caught.value)
    assert "np." not in str(caught.value)


def test_what_is_shown():
    assert validation.shown([np.int64(1), (np.str_("a"),), None]) == "[1, ('a',), None]"
