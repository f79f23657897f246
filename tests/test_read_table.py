"""Files with everything wrong in them: encodings, separators, marks, row names; read as stated or refused in a line."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pandas as pd
import pytest

from fastdistill import cli
from fastdistill.diagnosis import diagnosis, table
from fastdistill.diagnosis.cells import TableError
from fastdistill.diagnosis.read_table import read_table

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
    columns, notes = read_table(file)
    assert [column.name for column in columns] == ["a", "b", "kind", "y"]
    assert columns[0].values.tolist() == [1.0, -4.0, 7.0]
    assert columns[1].values.tolist() == [2.5, 5.0, 8.0]
    assert columns[2].values.tolist() == ["u", "v", "u"]
    assert columns[3].values.tolist() == [3.0, 6.0, 9.5]
    assert notes == (["1 empty column without a name left out."] if form == "separator at the end" else [])
    remarks = [remark for column in columns for remark in column.remarks]
    assert remarks == (["Read with a decimal comma"] * 2 if "commas" in form else [])


def test_marks_of_missing_values(tmp_path):
    cells = ["", "NA", "n/a", "NaN", "null", "None", "?", " ", "-200", "-200.0", "gone", "1"]
    file = tmp_path / "table.csv"
    file.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    (column, text), _ = read_table(file, missing=["-200", "gone"])
    assert column.missing.tolist() == [True] * 11 + [False]
    assert not text.missing.any()


def test_names_that_are_quoted_hold_anything(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text('"a, in m";"b ""c""";y\n1;2;3\n4;5;6\n')
    assert [column.name for column in read_table(file)[0]] == ["a, in m", 'b "c"', "y"]


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
    "two decimal marks": (
        with_line(6, '1,"2,5",3').replace("1,1,3", "1,1.5,3"),
        [],
        "'1.5' in line 3, '2,5' in line 6",
    ),
    "ambiguous": (csv_text(row=lambda i: f"1.{i + 100},{i * i},{i}"), [], "'1.100' in line 2 is 1.1 if '.' marks"),
    "dashes among numbers": (with_line(4, "1,--,3"), [], "mark it as missing (NaN; a file: --missing=--)"),
    "an option that does not fit": (
        with_line(4, "1,2.5,3"),
        ["--decimal", ","],
        "'2.5' in line 4 does not fit decimal ','",
    ),
    "the target dropped": (csv_text(), ["--drop", "y"], "'y' is the target, and to be dropped"),
    "one mark for both": (csv_text(), ["--decimal", ".", "--thousands", "."], "cannot mark both"),
    "decimal": (csv_text(), ["--decimal", ";"], "--decimal: invalid choice"),
    "thousands": (csv_text(), ["--thousands", "_"], "--thousands: . or , or ' or space is needed"),
    "no file name": (csv_text(), ["--out", ""], "--out: a path is needed"),
    "a NUL byte": (csv_text() + "\0", [], "NUL bytes (the first in line 14)"),
    "a web page": ("<!DOCTYPE html><html>", [], "is a web page"),
    "two columns under one name": ("y\n1,5\n2,5\n", [], "line 2: 2 cells where the first line names 1 column"),
    "decimal commas between commas": ("a,y\n1,5,2\n1,7,3\n", [], "line 2: 3 cells where the first line names 2"),
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


FORMS = {  # content, names, values of the columns, notes
    "sep=": (b"sep=;\na;b\n1,5;2\n", "ab", [[1.5], [2]], "Separator ';', as the first line says."),
    "sep= in quotes, CRLF": (b'"sep=|"\r\na|b\r\n1|2\r\n', "ab", [[1], [2]], "Separator '|', as the first line says."),
    "Ctrl-Z": (b"a,b\r\n1,2\r\n\x1a", "ab", [[1], [2]], "Ctrl-Z, DOS's mark of the end of a file, left out."),
    "UTF-16": ("ä,b\n1,2\n".encode("utf-16"), "äb", [[1], [2]], "Read as UTF-16 text."),
    "UTF-16, no mark": ("a,b\n1,2\n".encode("utf-16-le"), "ab", [[1], [2]], "Read as UTF-16-LE text."),
    "UTF-16, big end first": ("a,b\n1,2\n".encode("utf-16-be"), "ab", [[1], [2]], "Read as UTF-16-BE text."),
    "gzip": (gzip.compress(b"a\tb\n1\t2\n"), "ab", [[1], [2]], ""),
    "names with commas": (b"width, cm;y, m\n1,5;2,5\n2,5;3\n", ["width, cm", "y, m"], [[1.5, 2.5], [2.5, 3]], ""),
    "spaces": (b"a b\n1 2\n", "ab", [[1], [2]], ""),
    "pandas": (b",a,b\n0,1,2\n1,3,4\n", "ab", [[1, 3], [2, 4]], "The first column holds row names: left out."),
    "pandas twice": (
        b",Unnamed: 0,a\n0,0,1\n1,1,3\n",
        "a",
        [[1, 3]],
        "The first column holds row names: left out. The first column ('Unnamed: 0') holds row names: left out.",
    ),
    "R": (b'"","a"\n"1",1\n"2",3\n', "a", [[1, 3]], "The first column holds row names: left out."),
    "R, short header": (
        b'"a" "b"\n"u" 1 2\n"v" 3 4\n',
        "ab",
        [[1, 3], [2, 4]],
        "The first column holds row names: left out.",
    ),
    "R, some rows": (b"a,b\n2,1,2\n7,3,4\n", "ab", [[1, 3], [2, 4]], "The first column holds row names: left out."),
    "separator ends rows": (b"a,b\n1,2,\n3,4,\n", "ab", [[1, 3], [2, 4]], "1 empty column without a name left out."),
    "quoted groups": (b'a,b\n850,1\n"1,050",2\n', "ab", [[850, 1050], [1, 2]], ""),
}


@pytest.mark.parametrize("case", FORMS)
def test_what_programs_write(case, tmp_path):
    content, names, values, words = FORMS[case]
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    columns, notes = read_table(file)
    assert [column.name for column in columns] == list(names)
    assert [column.values.tolist() for column in columns] == values
    assert " ".join(notes) == words


OTHER = {
    "latin-1": ("größe,y\n1,2\n".encode("latin-1"), "not UTF-8 text (byte 0xf6 at 2, line 1; 'ö' in Windows-1252"),
    "gzip cut short": (gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:30], "is damaged: gzip says"),
    "gzip spoilt": (b"\x1f\x8b\x08" + bytes(20), "is damaged: gzip says"),
    "workbook": (b"PK\x03\x04...", "a workbook of Excel or LibreOffice; save the sheet as CSV"),
    "NUL bytes": (b"a,b\n1,2\n\0\0\0\0,4\n5,6\n7,8\n9,9\n", "NUL bytes (the first in line 3)"),
    "UTF-16 cut short": ("a,b\n1,2\n".encode("utf-16")[:-1], "looks like UTF-16, but is damaged"),
}


@pytest.mark.parametrize("case", OTHER)
def test_files_that_are_no_text_are_named(case, tmp_path):
    content, words = OTHER[case]
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_table(file)
    assert words in str(caught.value)


def test_a_separator_that_is_given_outdoes_the_first_line(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("sep=;\na,b\n1,2\n")
    columns, notes = read_table(file, delimiter=",")
    assert ([column.values.tolist() for column in columns], notes) == ([[1], [2]], [])


def test_dropped_columns_are_not_read(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,b,c,a\n1,2,oops,4\n5,inf,7,8\n6,7,8,9\n")
    (column,), notes = read_table(file, drop=["a", "c"], missing=["inf"])
    assert (column.name, column.values[[0, 2]].tolist(), notes) == ("b", [2, 7], [])
    (column,), _ = read_table(file, drop=["a", "b"], missing=["oops"])
    assert column.values[1:].tolist() == [7, 8]


def test_marks_are_said_to_the_reader(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a;y\n1.050;1\n2.100;2\n")
    for options, values in (({"decimal": "."}, [1.05, 2.1]), ({"thousands": "."}, [1050, 2100])):
        assert read_table(file, **options)[0][0].values.tolist() == values


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"a": [1.5, None, 3.0], "b": ["1.050,5", "2,5", None], "kind": ["u", "v", "u"], "y": [1, 2, 4]}
    )
    file = tmp_path / "table.parquet"
    frame.set_index(pd.Index([9, 8, 5])).to_parquet(file, engine="pyarrow")
    (a, b, y), notes = read_table(file, drop=["kind"])
    np.testing.assert_array_equal(a.values, [1.5, np.nan, 3])
    np.testing.assert_array_equal(b.values, [1050.5, 2.5, np.nan])
    assert y.values.tolist() == [1, 2, 4]
    assert notes == ["Row names left out (1 column): '__index_level_0__'."]
    assert np.isnan(read_table(file, missing=["4"])[0][-1].values[2])
    with pytest.raises(TableError, match="did you mean 'kind'"):
        read_table(file, drop=["king"])
    for content in (file.read_bytes()[:200], b"PAR1" + bytes(50) + b"PAR1"):
        file.write_bytes(content)
        with pytest.raises(TableError, match="is damaged, or no Parquet file"):
            read_table(file)


def test_parquet_without_pyarrow(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    assert cli.main(["diagnose", str(tmp_path / "table.parquet"), "--target", "y"]) == 2
    expected = "error: reading Parquet needs pyarrow; install it with: pip install 'fastdistill[parquet]'\n"
    assert capsys.readouterr().err == expected


def test_what_was_decided_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i * i % 13};{i * 7 % 17},5;{i * 5 % 11},25 €\n" for i in range(30))
    (tmp_path / "table.csv").write_text("a;b;y\n" + rows, encoding="utf-8")
    assert cli.main(["diagnose", "table.csv", "--target", "y", "--steps", "1"]) == 0
    out = capsys.readouterr().out
    assert "* Read with a decimal comma (2 columns): 'b', 'y'." in out
    assert "* Read without '€' (1 column): 'y'." in out


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
    columns, notes = read_table(data_dir / f"{name}.csv", missing=missing)
    column, others = table.take(columns, target)
    numbers = table.treat(others, column)
    assert notes == []
    assert numbers.X.shape == (n, p)
    assert np.isfinite(numbers.X).all()
    found = diagnosis.diagnose_columns(others, column, penalties=[1.0, 30.0], n_steps=1, folds=0)
    assert found.verdict.sentence.startswith("No distillation")
