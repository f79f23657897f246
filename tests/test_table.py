"""Tables with everything wrong in them: files, gaps, text, columns that do not vary; treated as stated, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import fastdistill as fd
from fastdistill import cli, diagnosis, table

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
    assert [row.error for row in found.steps] == [row.error for row in expected.steps]


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


# -- Files -----------------------------------------------------------------------------------------

PLAIN = "a,b,kind,y\n1,2.5,u,3\n-4e0,5,v,6\n7,8,u,9.5\n"
WRITTEN = {
    "plain": PLAIN,
    "byte order mark": "\ufeff" + PLAIN,
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "no last newline": PLAIN[:-1],
    "blank lines": PLAIN.replace("\n", "\n\n") + "  \n,,,\n",
    "spaces": PLAIN.replace(",", " , "),
    "quotes": 'a,"b","kind",y\n"1","2.5","u",3\n-4e0,5,"v",6\n7,8,u,9.5\n',
    "spaces before quotes": 'a, "b", kind, "y"\n1, "2.5", "u", 3\n-4e0,5,v,6\n7,8,u,9.5\n',
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "separator at the end": "".join(line + ",\n" for line in PLAIN.splitlines()),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_forms_of_csv(form, tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(WRITTEN[form].encode())
    columns, notes = table.read_csv(file)
    assert [column.name for column in columns] == ["a", "b", "kind", "y"]
    assert columns[0].values.tolist() == [1.0, -4.0, 7.0]
    assert columns[1].values.tolist() == [2.5, 5.0, 8.0]
    assert columns[2].values.tolist() == ["u", "v", "u"]
    assert columns[3].values.tolist() == [3.0, 6.0, 9.5]
    assert notes == (["1 empty column without a name left out."] if form == "separator at the end" else [])


def test_marks_of_missing_values(tmp_path):
    cells = ["", "NA", "n/a", "NaN", "null", "None", "?", " ", "-200", "-200.0", "gone", "1"]
    file = tmp_path / "table.csv"
    file.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    (column, text), _ = table.read_csv(file, missing=["-200", "gone"])
    assert column.missing.tolist() == [True] * 11 + [False]
    assert not text.missing.any()


def test_names_that_are_quoted_hold_anything(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text('"a, in m";"b ""c""";y\n1;2;3\n4;5;6\n')
    assert [column.name for column in table.read_csv(file)[0]] == ["a, in m", 'b "c"', "y"]


def csv_text(n=12, header="a,b,y", row=lambda i: f"{i},{i * i % 7},{i * 3 % 5}"):
    return header + "\n" + "".join(row(i) + "\n" for i in range(n))


def with_line(number, line):
    lines = csv_text().splitlines()
    lines[number - 1] = line
    return "\n".join(lines)


BAD_FILES = {
    "no file": (None, [], "table.csv cannot be read: No such file"),
    "empty": ("", [], "is empty"),
    "blank": (" \n\n", [], "is empty"),
    "only a header": ("a,b,y\n", [], "no rows"),
    "numbers for names": ("1,2,3\n4,5,6\n", [], "the first line holds numbers"),
    "names repeat": (csv_text(header="a,a,y"), [], "repeat in the first line: 'a'"),
    "a name is missing": (csv_text(header="a,,y"), [], "column 2 of 3 has values but no name"),
    "short line": (with_line(5, "1,2"), [], "line 5: 2 cells where the first line names 3 columns"),
    "long line": (with_line(7, "1,2,3,4"), [], "line 7: 4 cells"),
    "open quote": (with_line(5, '1,"2,3'), [], "unexpected end of data"),
    "wrong separator": (csv_text(), ["--delimiter", ";"], "There is no column 'y'"),
    "stray text": (with_line(4, "1,oops,3"), [], "'b' holds numbers, but 'oops' in line 4 (1 such cell)"),
    "decimal comma between commas": (with_line(6, '1,"2,5",3'), [], "'b' holds numbers, but '2,5' in line 6"),
    "infinite": (with_line(6, "1,-inf,3"), [], "'b' is infinite in line 6"),
    "underscores": (with_line(6, "1,1_0,3"), [], "'1_0' in line 6"),
    "no such target": (csv_text(header="width,height,y"), ["--target", "Hieght"], "did you mean 'height'"),
    "target in other letters": (csv_text(header="WIDTH,HEIGHT,y"), ["--target", "height"], "did you mean 'HEIGHT'"),
    "nothing like the target": (csv_text(), ["--target", "price"], "the columns are 'a', 'b', 'y'"),
    "no such column to drop": (csv_text(), ["--drop", "aa"], "no column 'aa' to leave out; did you mean 'a'"),
    "text as target": (csv_text(row=lambda i: f"{i},{i * i},{'uv'[i % 2]}"), [], "The target 'y' is text ('u')"),
    "constant target": (csv_text(row=lambda i: f"{i},{i * i},1"), [], "The target 'y' is constant"),
    "target missing": (csv_text(row=lambda i: f"{i},{i * i},"), [], "no value in any of 12 rows"),
    "constant columns": (csv_text(row=lambda i: f"1,2,{i}"), [], "Every column is constant"),
    "target alone": ("y\n1\n2\n3\n4\n5\n6\n", [], "No column of numbers is left"),
    "few rows": (csv_text(n=4), [], "at least 5 samples, but 4 of 4 rows are left"),
    "few rows left": (csv_text(n=8, row=lambda i: f"{i},{i * i},{i if i > 4 else '?'}"), [], "but 3 of 8 rows"),
    "steps": (csv_text(), ["--steps", "two"], "--steps: a whole number of at least 1 is needed, got 'two'"),
    "no steps": (csv_text(), ["--steps", "0"], "at least 1"),
    "delimiter": (csv_text(), ["--delimiter", "::"], "--delimiter: one character"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_one_line_and_exit_code_2(case, tmp_path, capsys, monkeypatch):
    text, options, words = BAD_FILES[case]
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "table.csv").write_text(text)
    target = [] if "--target" in options else ["--target", "y"]
    assert cli.main(["diagnose", "table.csv", *target, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert {file.name for file in tmp_path.iterdir()} <= {"table.csv"}


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes("größe,y\n1,2\n".encode("latin-1"))
    with pytest.raises(table.TableError, match="not UTF-8 text \\(byte 0xf6 at 2\\)"):
        table.read_csv(file)


REAL = {
    "air_quality": ("NO2(GT)", ["-200"], 6941, 11),
    "airfoil_self_noise": ("sound_pressure_db", [], 1503, 5),
    "appliances_energy": ("Appliances", [], 19735, 25),
    "communities_crime": ("ViolentCrimesPerPop", [], 1994, 102),
    "mobahi_sinusoid": ("y", [], 11, 1),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables(name, data_dir):
    target, missing, n, p = REAL[name]
    columns, notes = table.read_csv(data_dir / f"{name}.csv", missing=missing)
    column, others = table.take(columns, target)
    numbers = table.treat(others, column)
    assert notes == []
    assert numbers.X.shape == (n, p)
    assert np.isfinite(numbers.X).all()
    found = diagnosis.diagnose_columns(others, column, penalties=[1.0, 30.0], n_steps=1, folds=0)
    assert found.verdict.sentence.startswith("Plain ridge")
