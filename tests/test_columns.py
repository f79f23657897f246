"""Numbers as people write them: which mark is which, signs and units, gaps or text. Right values by hand."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import fastdistill as fd
from fastdistill.diagnosis import table
from fastdistill.diagnosis.cells import PLAIN, TableError, marks_of
from fastdistill.diagnosis.columns import read_columns
from tests.fuzz_tables import fuzz


def read(*columns, marks=PLAIN):
    """The columns of these lists of cells."""
    named = [(f"c{j}", list(cells)) for j, cells in enumerate(columns)]
    return read_columns(named, marks, lambda i: f"line {i + 2}")


COMMAS, DOTS = "commas between thousands", "dots between thousands"
READ = {  # cells, values, what the remarks say
    "plain": (["1", "-2.5", "+3e2", ".5", "5."], [1, -2.5, 300, 0.5, 5], ""),
    "850 has no decimals, commas": (["850", "999", "1,050", "12,500"], [850, 999, 1050, 12500], COMMAS),
    "850 has no decimals, dots": (["850", "1.050", "12.500"], [850, 1050, 12500], DOTS),
    "12500 has no groups": (["12500", "1.051"], [12500, 1.051], "decimal point"),
    "12500 has no groups, commas": (["12500", "1,051"], [12500, 1.051], "decimal comma"),
    "zero before the mark": (["1.234", "0.567"], [1.234, 0.567], ""),
    "four digits before the mark": (["1234.567", "1.050"], [1234.567, 1.05], ""),
    "a power of ten": (["1.050e3", "2.100"], [1050, 2.1], ""),
    "other numbers of decimals": (["1,5", "2,500"], [1.5, 2.5], "decimal comma"),
    "two groups": (["1.234.567", "1.050"], [1234567, 1050], DOTS),
    "both marks": (["1.234,5", "1.050"], [1234.5, 1050], "decimal comma and dots"),
    "both marks, in English": (["1,234.5", "1,050"], [1234.5, 1050], COMMAS),
    "a space groups, so dots do not": (["1 234 567", "1.050"], [1234567, 1.05], "spaces between"),
    "spaces that do not break": (
        ["1\u00a0234,5", "12\u202f000", "1\u2009000"],
        [1234.5, 12000, 1000],
        "spaces between",
    ),
    "Switzerland": (["1'234.50", "1’000"], [1234.5, 1000], "apostrophes between thousands"),
    "India": (["12,34,567", "1,050"], [1234567, 1050], COMMAS),
    "minus signs": (["−5", "–6.5", "-7", "8-"], [-5, -6.5, -7, -8], "minus behind"),
    "parentheses": (["(1,050.00)", "($5.50)", "$7"], [-1050, -5.5, 7], "parentheses as a minus"),
    "dollars": (["$5", "$-6.50", "-$7", "$ 1,234.00", "8"], [5, -6.5, -7, 1234, 8], "Read without '$'"),
    "euros": (["1.234,50 €", "5 €", "-3,10€"], [1234.5, 5, -3.1], "Read without '€'"),
    "codes": (["CHF 5.50", "7.25 CHF", ""], [5.5, 7.25, np.nan], "Read without 'CHF'"),
    "prices": (["500,-", "1.234,–", "3,5"], [500, 1234, 3.5], "decimal comma"),
    "rupees": (["Rs. 500", "Rs.1,23,456.5"], [500, 123456.5], "Read without 'Rs'"),
    "percent": (["5%", "6.5 %", "0"], [5, 6.5, 0], "Read 5% as 5"),
    "yen, full width": (["￥1,234,567", "5"], [1234567, 5], "commas"),
    "gaps": (["1", "", "NA", "n/a", None, "?"], [1, *[np.nan] * 5], ""),
    "numbers that are known": (
        [1.234, "0,5", None, Fraction(1, 4), Decimal("5.678")],
        [1.234, 0.5, np.nan, 0.25, 5.678],
        "decimal comma",
    ),
}


@pytest.mark.parametrize("case", READ)
def test_numbers_that_can_be_told(case):
    cells, values, remark = READ[case]
    (column,) = read(cells)
    np.testing.assert_array_equal(column.values, values)
    assert (remark in " ".join(column.remarks)) if remark else column.remarks == ()


REFUSED = {
    "ambiguous": (["1.050", "2.100"], "'1.050' in line 2 is 1.05 if '.' marks decimals, 1050 if it groups thousands"),
    "ambiguous comma": (["3", "1,051"], "'1,051' in line 3 is 1.051 if ',' marks decimals, 1051 if it groups"),
    "ambiguous, negative": (["-1.050"], "'-1.050' in line 2 is -1.05 if '.' marks decimals, -1050"),
    "ambiguous with a sign": (["$1.050"], "1050 if it groups thousands"),
    "neither writes so": (["850", "12500", "1.050"], "--decimal . or --thousands ."),
    "two decimal marks": (["1.5", "2,5"], "in more than one way: '1.5' in line 2, '2,5' in line 3"),
    "two currencies": (["$5", "€6"], "mixes units: '$5' in line 2, '€6' in line 3"),
    "percent and none": (["5%", "0.05"], "mixes units: '5%' in line 2, '0.05' in line 3"),
    "dashes": (["1", "2", "-", "4", "-"], "'-' in line 4 (2 such cells)"),
    "two dashes": (["1", "--"], "--missing=--)"),
    "SAS": ([".", "2.5", "."], "'.' in line 2 (2 such cells)"),
    "a word": (["1.5", "missing", "Missing", "2.5"], "'missing' in line 3"),
    "Excel": (["1.5", "#DIV/0!"], "--missing='#DIV/0!'"),
    "any word, mostly numbers": ([*map(str, range(20)), *["gone"] * 10], "'gone' in line 22 (10 such cells)"),
    "below a limit": (["1.5", "2.5", "<0.1"], "'<0.1' in line 4"),
    "a unit": ([f"{i} kg" for i in range(12)], "numbers with something behind them, such as '0 kg' in line 2"),
    "thousands of dollars": ([f"${i}k" for i in range(12)], "'$0k' in line 2"),
    "infinite": (["1", "-inf"], "infinite in line 3"),
    "beyond float64": (["1", "1e400"], "infinite in line 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_numbers_that_cannot_be_told_are_refused(case):
    cells, words = REFUSED[case]
    with pytest.raises(TableError) as caught:
        read(cells)
    assert words in str(caught.value)


def test_other_columns_tell_and_the_note_says_so():
    open_cells = ["1.050", "2.100"]
    point, _ = read(open_cells, ["0.5", "0.75"])
    assert point.values.tolist() == [1.05, 2.1]
    assert point.remarks == ("Read with a decimal point as in 'c1', though the cells alone fit two readings",)
    comma, _ = read(open_cells, ["0,5", "0,75"])
    assert comma.values.tolist() == [1050, 2100]
    assert "dots between thousands as in 'c1'" in comma.remarks[0]
    with pytest.raises(TableError, match="nothing in the table tells"):  # the others contradict each other
        read(open_cells, ["0.5", "0.75"], ["0,5", "0,75"])


@pytest.mark.parametrize(
    ("options", "cells", "values"),
    [
        ({"decimal": "."}, ["1.050", "2,100"], [1.05, 2100]),
        ({"decimal": ","}, ["1.050", "2,100"], [1050, 2.1]),
        ({"thousands": "."}, ["1.050", "2,5"], [1050, 2.5]),
        ({"thousands": ","}, ["1.050", "850"], [1.05, 850]),
        ({"thousands": " "}, ["1.050", "1 050"], [1.05, 1050]),
        ({"decimal": ",", "thousands": "’"}, ["1’050", "2,100"], [1050, 2.1]),
    ],
)
def test_marks_that_are_said_count(options, cells, values):
    (column,) = read(cells, marks=marks_of(**options))
    assert column.values.tolist() == values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decimal": ";"}, "decimal mark must be"),
        ({"thousands": "_"}, "thousands mark must be"),
        ({"decimal": ".", "thousands": "."}, "cannot mark both"),
    ],
)
def test_marks_that_cannot_be(options, words):
    with pytest.raises(TableError, match=words):
        marks_of(**options)


def test_cells_that_do_not_fit_what_is_said():
    with pytest.raises(TableError, match=r"'1.5' in line 3 does not fit decimal ','"):
        read(["2", "1.5"], marks=marks_of(decimal=","))


def test_levels_that_look_like_numbers_stay_text():
    doors = ["2", "3", "4", "5more"] * 10  # three quarters numbers, but four levels
    assert read(doors)[0].is_text
    assert read([f"id {i}" for i in range(30)])[0].is_text
    assert read(["low", "-", "high", "3"])[0].is_text


def test_long_identifiers_are_no_constants():
    y, x = np.arange(12.0) % 5, np.arange(12.0) ** 2
    long = [10**19 + i for i in range(12)]
    for ids in (long, list(map(str, long)), [2**60 + i for i in range(12)]):
        frame = pd.DataFrame({"id": pd.Series(ids, dtype=object), "x": x})
        found = fd.diagnose(frame, y, penalties=[1.0], n_steps=1, folds=0)
        assert found.feature_names == ["x"]
        assert "more digits than float64 holds (1 column): 'id'" in " ".join(found.notes)
        with pytest.raises(TableError, match="identifier"):
            fd.diagnose(frame, "id", penalties=[1.0], n_steps=1, folds=0)
    column = table.column_of("id", np.array(long, dtype=np.uint64))
    assert column.lossy
    stamps = table.column_of("time", 10**18 + 10**15 * np.arange(12))  # large, but told apart
    assert not stamps.lossy
    assert len(set(stamps.values)) == 12


def test_frames_of_every_kind():
    pyarrow = pytest.importorskip("pyarrow")
    texts = ["1.234,5", None, "2.000,25"]
    expected = [1234.5, np.nan, 2000.25]
    kinds = [
        pd.Series(texts), pd.Series(texts, dtype="string"), pd.Series(texts, dtype=pd.ArrowDtype(pyarrow.string())),
        pd.Series([Decimal("1234.5"), None, Decimal("2000.25")]), pd.Series([1234.5, pd.NA, 2000.25], dtype="Float64"),
        pd.Series([1234.5, None, 2000.25], dtype="double[pyarrow]"), np.ma.masked_invalid(expected),
        np.array([b"1234.5", b"", b"2000.25"]), np.array(expected, dtype=np.float32).astype(object),
        pyarrow.chunked_array([texts]),
        pd.Series([Decimal("1234.5"), None, Decimal("2000.25")], dtype=pd.ArrowDtype(pyarrow.decimal128(8, 2))),
    ]  # fmt: skip
    for values in kinds:
        np.testing.assert_array_equal(table.column_of("a", values).values, expected)
    for whole in (pd.Series([1, None, 3], dtype="Int64"), pd.Series([1, None, 3], dtype="int64[pyarrow]")):
        np.testing.assert_array_equal(table.column_of("a", whole).values, [1, np.nan, 3])
    for labels in (pd.Series([1, 2, None]).astype("category"), pd.Series(["1.050", "2.100", None], dtype="category")):
        assert table.column_of("a", labels).is_text
    for dates in (pd.Series(pd.date_range("2024-01-01", periods=3, tz="UTC")), np.array(["2024-01-01"], "M8[D]")):
        assert table.column_of("a", dates).is_text
    assert table.column_of("a", [[1.234], [5.678]]).values.tolist() == [1.234, 5.678]  # floats are known, not read
    rows = [[1.234, "u"], [5.678, "v"]]
    assert table.columns_of(rows)[0].values.tolist() == [1.234, 5.678]
    arrow = pyarrow.table({"a": [1.5, None], "b": ["u", "v"]})
    assert [c.name for c in table.columns_of(arrow)] == ["a", "b"]
    with pytest.raises(ValueError, match="Complex"):
        table.column_of("a", np.array([1j, "x"], dtype=object))
    with pytest.raises(TableError, match="infinite in row 1"):
        table.column_of("a", [1, 10**400])


def test_polars_frames():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.5, None], "b": ["1.234,5", "2,5"], "c": ["u", "v"]})
    a, b, c = table.columns_of(frame)
    np.testing.assert_array_equal(a.values, [1.5, np.nan])
    assert b.values.tolist() == [1234.5, 2.5]
    assert c.is_text


def test_random_tables():
    found = fuzz(count=60, seed=1, pages=1)
    assert sum(found.values()) == 60
    assert found["used"] >= 15, found
