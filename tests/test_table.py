"""Frames and arrays with everything wrong in them: gaps, text, columns that do not vary; treated or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import fastdistill as fd

GRID = np.array([0.1, 1.0, 10.0, 100.0])
X20, Y20 = np.arange(40.0).reshape(20, 2) ** 1.5, np.cos(np.arange(20.0))


def problem(rng, n=18, p=3):
    X = rng.standard_normal((n, p)) * [5.0, 1.0, 0.2][:p] + [100.0, 0.0, -3.0][:p]
    y = X @ np.array([0.1, 1.0, 3.0])[:p] + 2.0 + rng.standard_normal(n)
    return X, y


# -- Tables ----------------------------------------------------------------------------------------


def frame(rng, n=30):
    X, y = problem(rng, n)
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "price": y})


def assert_same(found, X, y):
    expected = fd.diagnose(X, y, penalties=GRID, folds=0)
    np.testing.assert_allclose(found.d, expected.d, rtol=1e-9)
    np.testing.assert_allclose([row.error for row in found.steps], [row.error for row in expected.steps], rtol=1e-6)


TREATED = {  # (column, first row, last row, value), rows left out, note, columns kept
    "as it is": ([], [], "", "abc"),
    "target missing": ([("price", 4, 4, np.nan)], [4], "1 row of 30 without a target left out", "abc"),
    "a few gaps": (
        [("a", 3, 3, np.nan), ("b", 5, 9, np.nan)],
        [3, *range(5, 10)],
        "6 rows with a missing number left out (in 'a', 'b')",
        "abc",
    ),
    "mostly missing": ([("b", 0, 15, np.nan)], [], "more than half missing (1 column): 'b'", "ac"),
    "constant": ([("c", 0, 29, 0.1)], [], "Left out, constant (1 column): 'c'", "ab"),
    "constant after gaps": (
        [("c", 0, 27, 1.0), ("a", 28, 29, np.nan)],
        [28, 29],
        "Left out, constant (1 column): 'c'",
        "ab",
    ),
}


@pytest.mark.parametrize("case", TREATED)
def test_treatment(case, rng):
    data = frame(rng)
    changes, dropped, note, columns = TREATED[case]
    for name, first, last, value in changes:
        data.loc[first:last, name] = value
    found = fd.diagnose(data, "price", penalties=GRID, folds=0)
    kept = data.drop(index=dropped)
    assert_same(found, kept[list(columns)].to_numpy(), kept["price"].to_numpy())
    assert found.feature_names == list(columns)
    assert found.rows.tolist() == kept.index.tolist()
    assert found.target == "price"
    assert (note in " ".join(found.notes)) if note else found.notes == []


def test_many_gaps_are_filled_with_medians(rng):
    data = frame(rng)
    data.loc[:6, "a"] = np.nan
    found = fd.diagnose(data, "price", penalties=GRID, folds=0)
    filled = data.fillna({"a": data["a"].median()})
    assert_same(found, filled[["a", "b", "c"]].to_numpy(), filled["price"].to_numpy())
    assert "7 missing numbers in 7 rows filled with the median" in found.notes[0]


def test_text_becomes_indicators(rng):
    data = frame(rng)
    data["kind"] = [("low", "mid", "high")[i % 3] for i in range(30)]
    data["flag"] = [(True, False, False)[i % 3] for i in range(30)]
    data["gap"] = [("yes", None, "yes", "no", None)[i % 5] for i in range(30)]
    data["two"] = [("x", "y", "y", "x")[i % 4] for i in range(30)]
    data["when"] = pd.date_range("2024-01-01", periods=30)
    found = fd.diagnose(data, "price", penalties=GRID, folds=0)
    levels = [f"kind={v}" for v in ("high", "low", "mid")]
    gaps = [f"gap={v}" for v in ("(missing)", "no", "yes")]
    assert found.feature_names == ["a", "b", "c", *levels, "flag", *gaps, "two=y"]
    assert "text of more than 10 levels (1 column): 'when'" in " ".join(found.notes)
    assert "(3 columns): 'gap', 'kind', 'two'" in " ".join(found.notes)
    numbers = data[["a", "b", "c"]].to_numpy()
    kinds = [(data["kind"] == v) for v in ("high", "low", "mid")]
    gap = [data["gap"].isna(), data["gap"] == "no", data["gap"] == "yes"]
    others = [*kinds, data["flag"], *gap, data["two"] == "y"]
    assert_same(found, np.column_stack([numbers, *others]).astype(float), data["price"].to_numpy())


def test_ten_levels_are_kept_and_eleven_are_not(rng):
    data = frame(rng, 44)
    data["ten"] = [f"level {i % 10}" for i in range(44)]
    data["eleven"] = [f"level {i % 11}" for i in range(44)]
    found = fd.diagnose(data, "price", penalties=GRID, folds=0)
    assert len(found.feature_names) == 3 + 10
    assert "'eleven'" in " ".join(found.notes)


def test_kinds_of_tables(rng):
    X, y = problem(rng)
    gaps = X.copy()
    gaps[2, 1] = np.nan
    nullable = pd.DataFrame(gaps, columns=["a", "b", "c"]).convert_dtypes()
    masked = np.ma.masked_invalid(gaps)
    keep = np.delete(np.arange(len(y)), 2)
    for rows in (gaps, nullable, masked, gaps.tolist(), gaps.astype(object), gaps.astype(str)):
        found = fd.diagnose(rows, y, penalties=GRID, folds=0)
        assert_same(found, X[keep], y[keep])
    for target in (y.tolist(), y[:, None], pd.Series(y, name="price"), pd.DataFrame({"name": y}), y.astype(object)):
        assert_same(fd.diagnose(X, target, penalties=GRID, folds=0), X, y)
    assert fd.diagnose(X, pd.Series(y, name="price"), penalties=GRID, folds=0).target == "price"
    assert fd.diagnose(X, y, penalties=GRID, folds=0).feature_names == ["x0", "x1", "x2"]
    named = fd.diagnose(X, "v", feature_names=["u", "v", "w"], penalties=GRID, folds=0)
    assert (named.target, named.feature_names) == ("v", ["u", "w"])


def test_weights_follow_their_rows(rng):
    data = frame(rng)
    data.loc[3, "price"] = np.nan
    w = rng.uniform(0.5, 2.0, 30)
    found = fd.diagnose(data, "price", sample_weight=w, penalties=GRID, folds=0)
    kept = data.drop(index=3)
    expected = fd.diagnose(kept, "price", sample_weight=np.delete(w, 3), penalties=GRID, folds=0)
    assert [row.error for row in found.steps] == pytest.approx([row.error for row in expected.steps], rel=1e-11)


def test_a_column_that_varies_at_zero_weight_only_is_constant(rng):
    X, y = problem(rng)
    X[1:, 2] = 4.0
    found = fd.diagnose(X, y, sample_weight=np.append(0.0, np.ones(len(y) - 1)), penalties=GRID, folds=3)
    assert found.feature_names == ["x0", "x1"]


REFUSED = [
    ((X20, np.ones(20)), {}, ValueError, "constant"),
    ((np.ones((20, 2)), Y20), {}, ValueError, "Every column is constant"),
    ((np.zeros((20, 2)), Y20), {"fit_intercept": False}, ValueError, "Every column is constant"),
    ((X20[:4], Y20[:4]), {}, ValueError, "at least 5 samples, but 4 of 4"),
    ((X20, Y20), {"sample_weight": np.arange(20) > 15}, ValueError, "at least 5 samples, but 4 of 20"),
    ((X20, np.full(20, np.nan)), {}, ValueError, "no value in any of 20 rows"),
    ((X20, ["low", "high"] * 10), {}, ValueError, "is text \\('low'\\)"),
    ((X20, Y20[:19]), {}, ValueError, "y has 19 rows, but X has 20"),
    ((X20, np.column_stack([Y20, Y20])), {}, ValueError, "one target at a time"),
    ((X20[:, 0], Y20), {}, ValueError, "X must be 2-D"),
    ((np.where(X20 > 60, np.inf, X20), Y20), {}, ValueError, "'x0' is infinite in row 8"),
    ((X20 + 1j, Y20), {}, ValueError, "Complex"),
    ((pd.DataFrame(X20, columns=["a", "a"]), Y20), {}, ValueError, "repeat: 'a'"),
    ((pd.DataFrame(X20, columns=["width", "height"]), "Heigth"), {}, ValueError, "did you mean 'height'"),
    ((pd.DataFrame({"a": [*map(str, range(19)), "oops"]}), Y20), {}, ValueError, "'oops' in row 19 \\(1 such cell\\)"),
    ((pd.DataFrame({"a": [f"t{i}" for i in range(20)]}), Y20), {}, ValueError, "No column of numbers"),
    ((X20, Y20), {"n_steps": 0}, ValueError, "n_steps must be at least 1"),
    ((X20, Y20), {"n_steps": 1.5}, TypeError, "n_steps must be an integer"),
    ((X20, Y20), {"folds": 1}, ValueError, "folds must be 0 or at least 2"),
    ((X20, Y20), {"penalties": [-1.0]}, ValueError, "penalties must be at least 0"),
    ((X20, Y20), {"sample_weight": -np.ones(20)}, ValueError, "negative"),
    ((X20, Y20), {"standardize": 1}, TypeError, "standardize must be True or False"),
    ((X20, Y20), {"feature_names": ["a"]}, ValueError, "feature_names has 1 entries"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "words"), REFUSED, ids=[case[3] for case in REFUSED])
def test_what_cannot_be_diagnosed(arguments, options, error, words):
    with pytest.raises(error, match=words):
        fd.diagnose(*arguments, **options)


def test_sparse_designs_are_no_tables():
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="toarray"):
        fd.diagnose(csr_array(X20), Y20)
