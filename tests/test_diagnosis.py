"""`diagnose`: its numbers against refits without each sample; the command and the page."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastdistill as fd
from fastdistill import cli
from fastdistill.diagnosis import diagnosis
from fastdistill.diagnosis import page as diagnosis_page
from tests import oracle
from tests.test_read_table import csv_text
from tests.test_table import GRID, X20, Y20, frame, problem


def scaled(X, w, fit_intercept=True):
    mean = w @ X / w.sum() if fit_intercept else 0.0
    return X / np.sqrt(w @ (X - mean) ** 2 / w.sum())


def mean_and_error(values, w):
    """Weighted mean and the standard error of the linearised weighted mean, sample by sample."""
    mean = sum(w * values) / sum(w)
    n = np.count_nonzero(w)
    return mean, np.sqrt(n / (n - 1) * sum((w * (values - mean)) ** 2)) / sum(w)


# -- The numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", oracle.WEIGHTS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_students_are_those_of_refits_without_each_sample(weights, fit_intercept, rng):
    X, y = problem(rng)
    w = oracle.weights(weights, len(y), rng)
    found = fd.diagnose(X, y, penalties=GRID, fit_intercept=fit_intercept, sample_weight=w, folds=0)
    given = np.ones(len(y)) if w is None else w
    rows = scaled(X, given, fit_intercept)
    squares = []
    for t, row in enumerate(found.steps):
        assert (row.n_steps, len(row.xi)) == (t, t)
        refits = oracle.leave_one_out(
            rows, y[:, None], row.penalty, row.xi, kernel=False, fit_intercept=fit_intercept, sample_weight=w
        )
        squares.append((y - refits[-1, :, 0]) ** 2)
        error, error_se = mean_and_error(squares[t], given)
        difference, difference_se = mean_and_error(squares[0] - squares[t], given)
        plain = mean_and_error(squares[0], given)[0]
        ours = (row.error, row.error_se, row.gain, row.gain_se)
        assert ours == pytest.approx((error, error_se, difference / plain, difference_se / plain), rel=1e-5, abs=1e-9)
        assert row.error == pytest.approx(found.scores[:, t].min(), rel=1e-6)
    errors = [row.error for row in found.steps]
    assert errors == sorted(errors, reverse=True)


def test_scores_are_the_best_mixtures_of_refits(rng):
    X, y = problem(rng)
    found = fd.diagnose(X, y, penalties=GRID, n_steps=2, folds=0)
    rows = scaled(X, np.ones(len(y)))
    for penalty, scores in zip(GRID, found.scores, strict=True):
        refits = oracle.leave_one_out(rows, y[:, None], penalty, np.ones(2), kernel=False, fit_intercept=True)[..., 0]
        exact = [oracle.best_mixture(refits[: t + 1].T, y)[1] for t in range(3)]
        np.testing.assert_allclose(scores, exact, rtol=1e-7)


@pytest.mark.parametrize("weights", ["none", "some_zero"])
def test_held_out_gains_are_those_of_choices_made_without_the_fold(weights, rng):
    X, y = problem(rng, n=17, p=2)
    w = oracle.weights(weights, len(y), rng)
    found = fd.diagnose(X, y, penalties=GRID, n_steps=1, folds=3, sample_weight=w)
    given = np.ones(len(y)) if w is None else w
    rows, used = scaled(X, given), np.flatnonzero(given)
    squares = np.zeros((2, len(y)))
    for test in np.array_split(np.random.default_rng(diagnosis.FOLD_SEED).permutation(used), 3):
        train = np.setdiff1d(used, test)
        root = np.sqrt(given[train])
        for t in (0, 1):
            options = []
            for penalty in GRID:
                part = {"kernel": False, "fit_intercept": True, "sample_weight": given[train]}
                refits = oracle.leave_one_out(rows[train], y[train, None], penalty, np.ones(1), **part)[: t + 1, :, 0]
                mixture, score = oracle.best_mixture((refits * root).T, y[train] * root)
                pure = oracle.students(rows[train], y[train, None], penalty, np.ones(1), **part).predict(rows[test])
                options.append((score, mixture @ pure[: t + 1, :, 0]))
            squares[t, test] = (y[test] - min(options, key=lambda option: option[0])[1]) ** 2
    gain, error = mean_and_error(squares[0] - squares[1], given)
    plain = mean_and_error(squares[0], given)[0]
    ours = found.steps[1].held_out_gain, found.steps[1].held_out_gain_se
    assert ours == pytest.approx((gain / plain, error / plain), rel=1e-5)
    assert np.isnan(fd.diagnose(X, y, penalties=GRID, folds=0).steps[1].held_out_gain)


def test_weights_of_thousands_are_seen_through(rng):
    """Leave-one-out takes what such weights make of the change of d without a sample for a gain; folds do not."""
    x = np.linspace(0.0, 1.0, 11)[:, None]
    found = fd.diagnose(x, np.sin(2 * np.pi * x[:, 0]) + 0.3 * rng.standard_normal(11))
    assert found.steps[1].gain > 0.02
    assert found.steps[1].held_out_gain < 0.0
    assert found.steps[2].gain == pytest.approx(found.steps[1].gain, rel=1e-9)  # one direction: one step reaches all
    assert found.safe.gain == pytest.approx(found.verdict.penalty_gain, rel=1e-9)
    assert found.verdict.gain == 0.0


@pytest.mark.parametrize("concentrated", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_verdict_is_that_of_the_estimator(concentrated, weighted, rng):
    # one factor behind all columns: its direction stands apart in every part of the samples
    X = 0.7 * rng.standard_normal((200, 1)) + rng.standard_normal((200, 30)) + 5.0
    first = np.linalg.svd(scaled(X - X.mean(axis=0), np.ones(200)))[2][0]
    y = scaled(X, np.ones(200)) @ first + 2.0 * rng.standard_normal(200)
    if not concentrated:
        y = X @ rng.standard_normal(30) + rng.standard_normal(200)
    w = rng.uniform(0.5, 1.5, 200) if weighted else None
    found = fd.diagnose(X, y, n_steps=1, sample_weight=w, folds=0)
    model = make_pipeline(StandardScaler(), fd.DistilledRidgeCV())
    model.fit(X, y, standardscaler__sample_weight=w, distilledridgecv__sample_weight=w)
    verdict = model[-1].verdict_
    assert found.verdict.sentence == verdict.sentence
    assert bool(found.safe.n_steps) is concentrated
    ours = (found.verdict.gain, found.verdict.standard_error, found.verdict.evidence)
    assert ours == pytest.approx((verdict.gain, verdict.standard_error, verdict.evidence), rel=1e-6)
    assert found.safe.penalty is None


@pytest.mark.parametrize("standardize", [True, False])
def test_the_spectrum_and_its_signal(standardize, rng):
    X, y = problem(rng, n=40)
    found = fd.diagnose(X, y, standardize=standardize, folds=0, penalties=GRID)
    rows = scaled(X, np.ones(40)) if standardize else X
    rows, centred = rows - rows.mean(axis=0), y - y.mean()
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(found.d, s**2, rtol=1e-9)
    np.testing.assert_allclose(found.signal, (u.T @ centred) ** 2, rtol=1e-7)
    np.testing.assert_allclose(np.abs(found.directions), np.abs(vt.T), atol=1e-9)
    assert (found.directions.T @ rows.T @ centred > 0).all()
    ols = LinearRegression().fit(X, y)
    assert found.share.sum() == pytest.approx(ols.score(X, y))
    noise = ((y - ols.predict(X)) ** 2).sum() / (40 - 3 - 1)
    assert found.noise == pytest.approx(noise)
    np.testing.assert_allclose(found.wanted, np.clip(1 - noise / (u.T @ centred) ** 2, 0, None), rtol=1e-6)
    ridge = found.steps[0]
    np.testing.assert_allclose(ridge.filter, s**2 / (s**2 + ridge.penalty), rtol=1e-9)


@pytest.mark.parametrize("shape", [(12, 40), (30, 30), (30, 25), (50, 200), (40, 10)])
def test_pure_noise_does_not_stand_above_itself(shape):
    """A direction of pure noise exceeds four times its variance with the chance 4.6 %, P(χ² > 4)."""
    shares, noise = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        found = fd.diagnose(
            rng.standard_normal(shape), rng.standard_normal(shape[0]), penalties=GRID, n_steps=1, folds=0
        )
        if found.noise is None:
            assert found.wanted is None
            assert "cannot be told" in found.where
            assert "no direction is said to stand above" in str(found)
        else:
            noise.append(found.noise)
            shares.append(np.mean(found.signal > 4 * found.noise))
    assert len(noise) == 30 if shape == (40, 10) else len(noise) < 30
    if len(noise) > 10:
        assert np.mean(shares) < 0.08
        assert 0.8 < np.median(noise) < 1.25


def test_one_strong_direction_is_not_taken_for_noise():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 60))
    u = np.linalg.svd((X - X.mean(axis=0)) / X.std(axis=0), full_matrices=False)[0]
    found = fd.diagnose(X, 100.0 * u[:, 3] + rng.standard_normal(60), penalties=GRID, n_steps=1, folds=0)
    assert found.noise is not None
    assert 0.4 < found.noise < 2.5
    assert found.signal.argmax() == 3


def test_a_page_without_a_known_noise_says_so(tmp_path):
    rng = np.random.default_rng(2)
    found = fd.diagnose(rng.standard_normal((12, 40)), rng.standard_normal(12), penalties=GRID, n_steps=1, folds=0)
    assert found.noise is None
    text = diagnosis_page.write(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "cannot be told" in text
    assert "above the noise" not in text
    assert "nan" not in (tmp_path / "out").joinpath("diagnosis-directions.csv").read_text(encoding="utf-8").lower()


def test_where_the_signal_sits():
    def where(*signal):
        empty, d = np.empty(0), np.arange(len(signal), 0.0, -1.0)
        found = diagnosis.Diagnosis(
            target="y",
            feature_names=[],
            rows=empty,
            notes=[],
            verdict=fd.diagnose(X20, Y20, folds=0).verdict,
            steps=[],
            safe=None,
            penalties=empty,
            scores=empty,
            d=d,
            signal=np.array(signal),
            directions=empty,
            total=64.0,
            noise=1.0,
            explained=0.5,
        )
        return found.where

    assert "2 of 4 above the noise, 90% of their signal in 3;" in where(1.0, 5.4, 45.0, 3.0)
    assert "hold 85.0% of the variance of 'y'" in where(1.0, 5.4, 45.0, 3.0)
    assert "2 of 4 above the noise, 90% of their signal in 3, 2;" in where(1.0, 6.0, 45.0, 3.0)
    assert "in 7, 6, 5, 4, 3, …;" in where(*np.arange(14.0, 21.0))
    assert "No direction of 2 stands" in where(1.0, 3.9)


def test_text_of_a_diagnosis(rng):
    X, y = problem(rng)
    text = str(fd.diagnose(X, y, n_steps=3, penalties=GRID, folds=2))
    for word in ("student", "ridge", "1 step ", "3 steps", "the default", "No distillation", "held out", "flatter"):
        assert word in text
    head, _, what, why, where, _, *rest = text.splitlines()
    assert head.startswith("'y' from 3 columns")
    assert (what.split(":")[0], why.split(":")[0]) == ("What to do", "Why")
    assert "Directions" in where or "direction" in where
    assert max(len(line) for line in rest[:6]) < 120
    assert "smallest penalty tried" in str(fd.diagnose(X, y, penalties=[10.0, 100.0], folds=0))
    assert "largest penalty tried" in str(fd.diagnose(X, rng.standard_normal(len(y)), penalties=[0.1, 1.0], folds=0))


def test_ridge_is_advised_where_the_default_has_more_error_in_samples_held_out(rng):
    x = rng.standard_normal(60)
    found = fd.diagnose(np.stack([x, rng.standard_normal(60)], axis=1), 2.0 * x + rng.standard_normal(60))
    better = replace(found.safe, held_out_gain=0.03, held_out_gain_se=0.01)
    for change, expected in (
        (-3.0, f"Fit ridge with the penalty {found.steps[0].penalty:.3g}"),
        (0.5, "Fit Distilled"),
    ):
        safe = replace(better, held_out_gain=change * better.held_out_gain_se)
        assert replace(found, safe=safe).advice.startswith(expected)
    assert "DistilledRidgeCV() has more error than tuned ridge by 3.0% ± 1.0% in samples held out." in (
        replace(found, safe=replace(better, held_out_gain=-0.03)).advice
    )


def test_a_curved_relation_is_no_matter_of_linear_models(rng):
    x = rng.standard_normal(200)
    curved = fd.diagnose(x[:, None], np.square(x) + 0.1 * rng.standard_normal(200))
    assert curved.explained < 0.1
    assert "only linear models were tried: for a curved relation, DistilledKernelRidgeCV." in curved.advice
    weight = rng.uniform(0.5, 2.0, 200)
    linear = fd.diagnose(x[:, None], 3.0 + x + 0.5 * rng.standard_normal(200), sample_weight=weight, n_steps=1)
    assert 0.7 < linear.explained < 0.9  # a variance of 1 beside one of 0.25
    assert "DistilledKernelRidgeCV" not in linear.advice


def test_a_difference_within_its_standard_error_is_called_none(rng):
    X, y = problem(rng)
    found = fd.diagnose(X, y, n_steps=1, penalties=GRID, folds=3)
    safe = replace(found.safe, held_out_gain=-0.001, held_out_gain_se=0.002)
    expected = "no clear difference from tuned ridge in samples held out (0.1% ± 0.2% more error)"
    assert expected in replace(found, safe=safe).advice


def test_advice_first(rng):
    """It names the model, says what it gained in samples held out, and what may be tried besides."""
    X, y = problem(rng)
    found = fd.diagnose(X, y, n_steps=1, penalties=GRID, folds=3)
    assert found.advice.startswith(
        "Fit DistilledRidgeCV(): it does not distil these data, and averages ridge over penal"
    )
    assert f"{abs(found.safe.held_out_gain):.1%} ± {found.safe.held_out_gain_se:.1%}" in found.advice
    assert fd.diagnose(X, y, penalties=[2.0], folds=0).advice.startswith("Fit ridge with the penalty 2:")
    assert "held out" not in fd.diagnose(X, y, penalties=GRID, folds=0).advice
    tempting = replace(found, steps=[found.steps[0], replace(found.steps[1], held_out_gain=0.3, held_out_gain_se=0.1)])
    assert (
        'DistilledRidgeCV(n_steps=1, strategy="joint") may be worth a trial on other samples: less' in tempting.advice
    )
    distilled = replace(found, safe=replace(found.safe, n_steps=3, held_out_gain=0.02, held_out_gain_se=0.01))
    assert distilled.advice.startswith(
        "Fit DistilledRidgeCV(): it distils these data: less error than tuned ridge by 2.0%"
    )


# -- Command and page ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the page of a file that needs some treatment, and the diagnosis of the same numbers."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("diagnosis")
    data = frame(rng, 40)
    data["1 < 2"] = 7.0
    data.loc[5, "b"] = np.nan
    data.to_csv(folder / "table.csv", index=False)
    assert cli.main(["diagnose", str(folder / "table.csv"), "--target", "price", "--out", str(folder / "out")]) == 0
    return folder / "out", fd.diagnose(data, "price")


class Page(HTMLParser):
    """Tags and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page(written):
    folder, found = written
    page = Page((folder / "diagnosis.html").read_text(encoding="utf-8"))
    for words in (
        "Would self-distillation help to predict price?",
        found.verdict.sentence,
        found.where,
        diagnosis.OPTIMISTIC,
        diagnosis.HELD_OUT,
        "Left out, constant (1 column): '1 < 2'.",
        "1 row with a missing number left out",
        *(cell for row in found.table() for cell in row),
    ):
        assert words in page.text
    assert "In the paper" not in page.text
    assert "Published" not in page.text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    assert all(image["src"].startswith("data:image/png;base64,iVBOR") for image in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_the_files_beside_the_page(written):
    folder, found = written
    names = {f"diagnosis-{name}.csv" for name in ("students", "directions", "error", "signal", "filters")}
    names |= {f"diagnosis-{name}.png" for name in ("error", "signal", "filters")}
    assert {file.name for file in folder.iterdir()} == {*names, "diagnosis.html"}
    with (folder / "diagnosis-students.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["student"] for row in rows] == ["ridge", "1 step", "2 steps", "the default"]
    for row, ours in zip(rows, [*found.steps, found.safe], strict=True):
        assert float(row["loo_error"]) == pytest.approx(ours.error, rel=1e-12)
        assert float(row["held_out_gain"]) == pytest.approx(ours.held_out_gain, rel=1e-9)
        assert [float(xi) for xi in row["xi"].split()] == pytest.approx([] if ours.xi is None else ours.xi, rel=1e-9)
    with (folder / "diagnosis-directions.csv").open(newline="", encoding="utf-8") as handle:
        directions = list(csv.DictReader(handle))
    assert len(directions) == len(found.d)
    assert [float(row["share_of_y"]) for row in directions] == pytest.approx(found.share)
    first = int(np.abs(found.directions[:, 0]).argmax())
    assert directions[0]["mostly"].startswith(f"{found.directions[first, 0]:+.2f} {found.feature_names[first]}, ")


@pytest.mark.parametrize("case", ["spike", "perfect fit", "many directions", "no folds"])
def test_pages_of_unusual_diagnoses(case, tmp_path, rng):
    X = rng.standard_normal((60, 15)) * np.linspace(3.0, 1.0, 15)
    options = {"penalties": GRID, "folds": 2}
    if case == "spike":
        y = X @ np.linalg.svd(X - X.mean(axis=0))[2][0] + rng.standard_normal(60)
        options["standardize"] = False
    elif case == "perfect fit":
        y, options["penalties"] = X @ np.ones(15), [0.0, 1.0]
    elif case == "many directions":
        X = rng.standard_normal((60, 200))
        y = X.sum(axis=1)
    else:
        y, options["folds"] = X.sum(axis=1) + rng.standard_normal(60), 0
    found = fd.diagnose(X, y, n_steps=1, **options)
    assert (found.safe.n_steps > 0) is (case == "spike")
    page = diagnosis_page.write(found, tmp_path / "out").read_text(encoding="utf-8")
    assert page.endswith("</html>\n")
    strongest = np.sort(np.argsort(found.signal)[-10:])
    rows = [page.index(f"<tr><td>{j + 1}</td><td>{found.d[j]:.4g}</td>") for j in strongest]
    assert rows == sorted(rows)
    assert page.count("<tr>") == 2 + 3 + 10
    if case == "spike":
        with (tmp_path / "out" / "diagnosis-filters.csv").open(encoding="utf-8") as handle:
            assert handle.readline() == "direction,wanted,ridge,1 step,the default\n"


def test_options_of_the_command(tmp_path, capsys, monkeypatch):
    (tmp_path / "table.csv").write_text(
        csv_text(n=20, header="a;b;id;y;", row=lambda i: f"{i * i % 7},5;{-200 if i == 3 else i};{i};{i * 3 % 5};")
    )
    seen = []

    def write(found, out):
        seen.append(found)
        return out / "page"

    monkeypatch.setattr(diagnosis_page, "write", write)
    options = ["--steps", "1", "--drop", "id", "--missing", "-200", "--delimiter", ";", "--out", "there"]
    assert cli.main(["diagnose", str(tmp_path / "table.csv"), "--target", "y", *options]) == 0
    (found,) = seen
    assert [row.n_steps for row in found.steps] == [0, 1]
    assert found.feature_names == ["a", "b"]
    assert found.rows.tolist() == [i for i in range(20) if i != 3]
    assert [note.split(" left out")[0] for note in found.notes[:3]] == [
        "1 empty column without a name",
        "Read with a decimal comma (1 column): 'a'.",
        "1 row with a missing number",
    ]
    wrote = f"Wrote {os.path.join('there', 'page')} and, beside it, every table and picture as CSV and PNG."
    assert capsys.readouterr().out == f"{found}\n\n{wrote}\n"


def test_without_matplotlib_the_command_says_what_to_install(tmp_path):
    (tmp_path / "table.csv").write_text(csv_text())
    arguments = ["diagnose", str(tmp_path / "table.csv"), "--target", "y", "--out", str(tmp_path / "out")]
    code = (
        f"import sys; sys.modules['matplotlib'] = None; from fastdistill.cli import main; sys.exit(main({arguments}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: this command needs matplotlib; install it with: pip install 'fastdistill[all]'\n"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_many_steps_of_a_small_table_stay_readable(rng, tmp_path):
    X = rng.standard_normal((30, 2))
    found = fd.diagnose(X, X @ [1.0, 2.0] + rng.standard_normal(30), n_steps=40, folds=0)
    assert found.table()[41][2].startswith("38 × 0, ")
    diagnosis_page.write(found, tmp_path / "page")  # no warning of a picture that does not fit


def test_a_column_of_weights(rng, tmp_path, capsys):
    data = frame(rng, 40)
    data["w"] = rng.uniform(0.0, 2.0, 40)
    data.to_csv(tmp_path / "table.csv", index=False)
    command = ["diagnose", str(tmp_path / "table.csv"), "--target", "price", "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--weight", "w"]) == 0
    said = capsys.readouterr().out
    found = fd.diagnose(data.drop(columns="w"), "price", sample_weight=data["w"])
    assert str(found).splitlines()[2] in said  # the advice, with its numbers
    assert str(fd.diagnose(data.drop(columns="w"), "price")).splitlines()[2] not in said  # nor without the weights
    assert "Rows are weighted by 'w'." in said
    for wrong, message in ((["--weight", "price"], "is the target"), (["--weight", "w", "--drop", "w"], "dropped")):
        assert cli.main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
    for name, column, message in (
        ("v", None, "There is no column 'v' to hold the weights"),
        ("w", data["w"].where(data.index > 0), "is to hold the weights of the rows, but it has no value in 1 row"),
        ("w", ["a", "b"] * 20, "is to hold the weights of the rows, but it has text"),
        ("w", data["w"] - 1.0, "sample_weight must not be negative"),
    ):
        data.assign(**({} if column is None else {"w": column})).to_csv(tmp_path / "table.csv", index=False)
        assert cli.main([*command, "--weight", name]) == 2
        assert message in capsys.readouterr().err
