"""The worked examples run, here on few points."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def test_the_list_of_examples():
    """Those of small problems are run by test_ridge_students.py."""
    names = {"many_problems.py", "million_points.py", "ridge_in_c.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == names


def test_a_million_points(capsys, monkeypatch):
    """And the errors are those of scikit-learn's ridge on the same features in memory, and no worse with two steps."""
    example = runpy.run_path(str(EXAMPLES / "million_points.py"))
    monkeypatch.setitem(example["blocks"].__globals__, "BLOCK", 1000)
    errors = example["main"](["--points", "4500", "--features", "80"])
    printed = capsys.readouterr().out
    assert "GramAccumulator(n_samples=4500, n_features=80, fit_intercept=True)" in printed
    assert "on 4,500 new points" in printed
    X, y = map(np.concatenate, zip(*example["blocks"](4500, 0), strict=True))
    Xq, yq = map(np.concatenate, zip(*example["blocks"](4500, 1), strict=True))
    features = Nystroem(kernel="rbf", gamma=0.1, n_components=80, random_state=0).fit(X[:1000])
    ridge = RidgeCV(np.logspace(-6, 4, 40)).fit(features.transform(X), y)
    error = np.sqrt(np.square(yq - ridge.predict(features.transform(Xq))).mean())
    assert errors["ridge"] == pytest.approx(error, rel=1e-3)
    assert example["NOISE"] < errors["two steps"] < 1.01 * errors["ridge"]
