"""Files with everything wrong in them: encodings, separators, marks, row names; read as stated or refused in a line."""

from __future__ import annotations

import numpy as np
import pytest

from fastdistill import cli, diagnosis, table
from fastdistill.cells import TableError
from fastdistill.read_table import read_table

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
    with pytest.raises(TableError, match="not UTF-8 text \\(byte 0xf6 at 2, line 1"):
        read_table(file)


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
    assert found.verdict.sentence.startswith("Plain ridge")
