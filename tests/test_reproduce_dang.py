"""[D] reproduced: the protocol against refits, the theorems on every curve, the data sets as the authors cut them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fastdistill import cli, reproduce
from fastdistill.reproduce import dang, data

STUDENTS = ("ridge", "pure distilled", "optimal mixture", "one-shot mixture")
THEOREMS = ("strictly below ridge", "sign rule", "ξ < 0")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory, blank_pictures_of_a_module) -> Path:
    """The folder of one run on built-in data."""
    out = tmp_path_factory.mktemp("dang")
    assert cli.main(["reproduce", "dang", "--out", str(out)]) == 0
    return out


def made_up(n=60, p=4, seed=0) -> data.Regression:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.arange(1, p + 1) + 3.0
    return data.Regression("x", "X", X, X @ rng.standard_normal(p) + 2.0 * rng.standard_normal(n), "")


# --- the protocol ---


def test_curves_against_refits():
    split = dang.in_order(made_up())
    found, n, p = dang.curves(split), *split.X.shape
    wanted = split.wanted
    for i in (0, 40, 70, 99):
        lam = float(np.logspace(np.log10(1e-3), np.log10(50), 100)[i])
        smoother = split.X @ np.linalg.solve(split.X.T @ split.X / n + lam * np.eye(p), split.X.T) / n
        hat = np.linalg.solve(split.X.T @ split.X / n + lam * np.eye(p), split.X.T) / n
        errors = [wanted - split.queries @ hat @ v for v in (split.y, smoother @ split.y)]
        A, B, C = (np.mean(errors[j] * errors[k]) for j, k in ((0, 0), (1, 1), (0, 1)))
        best = (A - C) / (A + B - 2 * C)
        # the one-shot weight of the paper: residuals over 1 - dof / n, the same formula
        left = [split.y - smoother @ split.y, split.y - smoother @ smoother @ split.y]
        dof = [np.trace(smoother), np.trace(smoother @ smoother)]
        left = [v / (1 - df / n) for v, df in zip(left, dof, strict=True)]
        a, b, c = (np.mean(left[j] * left[k]) for j, k in ((0, 0), (1, 1), (0, 1)))
        one_shot = (a - c) / (a + b - 2 * c)
        np.testing.assert_allclose([xi[i] for xi in found.xi], [0.0, 1.0, best, one_shot], rtol=1e-6)
        expected = [np.mean(((1 - xi) * errors[0] + xi * errors[1]) ** 2) for xi in (0.0, 1.0, best, one_shot)]
        np.testing.assert_allclose([risk[i] for risk in found.risks], expected, rtol=1e-9)


def test_slope_and_curvature_are_those_of_the_ridge_curve():
    split = dang.in_order(made_up(seed=3))
    found, n = dang.curves(split), len(split.y)
    gram, moment = split.X.T @ split.X, split.X.T @ split.y

    def refit(lam, steps=1):
        coef = np.linalg.solve(gram + lam * np.eye(4), moment)
        for _ in range(steps - 1):
            coef = np.linalg.solve(gram + lam * np.eye(4), gram @ coef)
        return split.queries @ coef

    def risk(lam):
        return float(np.mean((refit(lam) - split.wanted) ** 2))

    lam = n * dang.GRID
    slope = [(risk(x * (1 + 1e-4)) - risk(x * (1 - 1e-4))) / (2e-4 * x) for x in lam]
    np.testing.assert_allclose(found.slope, slope, rtol=1e-3, atol=1e-4 * np.max(found.risks[0]) / lam.max())
    fine = lam
    for _ in range(3):  # each grid between the neighbours of the best of the one before
        k = int(np.argmin([risk(x) for x in fine]))
        fine = np.geomspace(fine[max(k - 1, 0)], fine[min(k + 1, len(fine) - 1)], 101)
    best = fine[np.argmin([risk(x) for x in fine])]
    second = (risk(best * 1.01) - 2 * risk(best) + risk(best * 0.99)) / (0.01 * best) ** 2
    distance = np.mean((refit(best, 2) - refit(best)) ** 2)
    assert found.curvature_ratio == pytest.approx(distance / (best**2 * second / 2), rel=1e-2)


def test_splits_are_those_of_the_protocol():
    table = made_up(n=200)
    first = dang.in_order(table)
    assert (len(first.y), len(first.wanted)) == (140, 60)
    mean, scale = table.X[:140].mean(axis=0), table.X[:140].std(axis=0)
    np.testing.assert_allclose(first.queries, (table.X[140:] - mean) / scale)
    np.testing.assert_allclose(first.wanted, (table.y[140:] - table.y[:140].mean()) / table.y[:140].std())
    random = dang.at_random(table, 2026)
    np.random.seed(2026)  # noqa: NPY002  # the authors' scripts split by the legacy generator
    rows = np.random.permutation(200)  # noqa: NPY002  # the same generator
    assert (len(random.y), len(random.wanted)) == (10, 190)
    np.testing.assert_allclose(random.y, (table.y[rows[:10]] - table.y[rows[:10]].mean()) / table.y[rows[:10]].std())
    np.testing.assert_allclose(random.X.mean(axis=0), 0.0, atol=1e-12)


def test_a_constant_input_gets_no_weight():
    table = made_up()
    constant = table._replace(X=np.column_stack([table.X, np.full(60, 7.0)]))
    found, without = dang.curves(dang.in_order(constant)), dang.curves(dang.in_order(table))
    np.testing.assert_allclose(found.risks, without.risks, rtol=1e-9)


# --- what is written ---


def test_no_student_beats_the_optimal_mixture(bundled):
    rows = rows_of(bundled / "dang-curves.csv")
    assert len(rows) == 16
    for row in rows:
        values = [float(row[name]) for name in STUDENTS if row[name]]
        assert row["λ (mean scale)"] == "chosen by GCV" or min(values) == float(row["optimal mixture"])
        assert row["best ξ"] or row["λ (mean scale)"] in ("best on the test rows", "chosen by GCV")


def test_the_theorems_hold_at_every_penalty(bundled):
    rows = [row for row in rows_of(bundled / "dang-claims.csv") if any(word in row["claim"] for word in THEOREMS)]
    assert len(rows) == 6
    assert {row["holds"] for row in rows} == {"yes"}
    assert [row["ours"] for row in rows if "sign rule" in row["claim"]] == ["at 100 of 100 penalties"] * 2


def test_bundled_data_are_not_the_papers_and_nothing_is_claimed_of_them(bundled):
    text = (bundled / "dang.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    assert "not the paper's data" in text
    assert "no number could be compared" in text
    assert "0.884" not in text
    claims = rows_of(bundled / "dang-claims.csv")
    assert {row["holds"] for row in claims if "in the paper" in row["claim"]} == {"–"}


def test_figure_data_hold_the_curves(bundled):
    found = dang.curves(dang.in_order(data.diabetes()))
    rows = rows_of(bundled / "dang-diabetes-309.csv")
    assert len(rows) == 400
    for student, risk, xi in zip(STUDENTS, found.risks, found.xi, strict=True):
        mine = [row for row in rows if row["student"] == student]
        np.testing.assert_allclose([float(row["test_error"]) for row in mine], risk)
        np.testing.assert_allclose([float(row["xi"]) for row in mine], xi)
        np.testing.assert_allclose([float(row["lam"]) for row in mine], dang.GRID)


@pytest.mark.usefixtures("blank_pictures")
def test_on_the_papers_data(data_dir, tmp_path):
    assert cli.main(["reproduce", "dang", "--data", str(data_dir), "--out", str(tmp_path)]) == 0
    best = [row for row in rows_of(tmp_path / "dang-curves.csv") if row["λ (mean scale)"] == "best on the test rows"]
    air, crime = ([float(row[name]) for name in STUDENTS] for row in best)
    np.testing.assert_allclose(air, [0.8088, 0.8028, 0.4872, 0.7069], atol=5e-5)
    np.testing.assert_allclose(crime, [0.3962, 0.3960, 0.3957, 0.3959], atol=5e-5)
    ratios = [row["ours"] for row in rows_of(tmp_path / "dang-claims.csv") if "curvature condition" in row["claim"]]
    assert [ratio[-5:] for ratio in ratios] == ["0.050", "0.884"]  # as in an independent reproduction
    assert "not the paper's data" not in (tmp_path / "dang.html").read_text(encoding="utf-8").replace("&#x27;", "'")


# --- data ---


def test_the_authors_rows_and_columns(data_dir):
    air, crime = dang.splits(data_dir)
    assert (air.X.shape, air.queries.shape) == ((5175, 8), (2218, 8))
    assert (crime.X.shape, crime.queries.shape) == ((99, 99), (1895, 99))
    assert data.from_file("air_quality", data_dir).X.shape == (6941, 8)  # the rows of [P]


def crime_table(n=60, inputs=("a", "b", "c")) -> list[list[str]]:
    source = data.UCI["communities_crime"]
    rng = np.random.default_rng(0)
    rows = [[*source.excluded, *inputs, source.target]]
    return [
        *rows,
        *(["?" for _ in source.excluded] + list(map(repr, rng.random(len(inputs) + 1).tolist())) for _ in range(n)),
    ]


def write(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)


def test_inputs_are_the_columns_that_are_not_left_out(tmp_path):
    rows = crime_table()
    rows[0], rows[1:] = rows[0][::-1], [row[::-1] for row in rows[1:]]  # the order of columns does not matter
    write(tmp_path / "communities_crime.csv", rows)
    found = data.from_file("communities_crime", tmp_path)
    assert found.X.shape == (60, 3)
    assert found.y[0] == float(rows[1][0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [row[:30] for row in rows], ("no column ViolentCrimesPerPop", "183")),
        (lambda rows: [*rows[:3], [*rows[3][:-2], "?", rows[3][-1]], *rows[4:]], ("line 4", "column c", "'?'")),
        (lambda rows: [[*row[:28], row[-1]] for row in rows], ("0 inputs", "cut short")),
    ],
)
def test_a_spoilt_file_is_explained(tmp_path, change, words):
    write(tmp_path / "communities_crime.csv", change(crime_table()))
    with pytest.raises(reproduce.InputError) as caught:
        data.from_file("communities_crime", tmp_path)
    for word in ("communities_crime.csv", *words):
        assert word in str(caught.value)


def test_a_file_that_two_papers_share_is_named_once(tmp_path, capsys):
    assert cli.main(["reproduce", "all", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("air_quality.csv") == 1
    assert "communities_crime.csv" in message
