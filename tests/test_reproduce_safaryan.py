"""[S] reproduced: the minimiser, the predictions, what is measured, the IDX files, and the numbers of a shorter run."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numba
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import fastdistill as fd
from fastdistill import cli, reproduce
from fastdistill.reproduce import data, safaryan, safaryan_runs

TINY = safaryan_runs.Plan(0.05, 6, (1, 2, 4), 8, 2, 6)
SHORT = safaryan_runs.Plan(0.05, 40, (1, 5, 60), 60, 6, 2)
NAMES = ("mnist_10k_images.idx3.gz", "mnist_10k_labels.idx1.gz")
ORIGINAL = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
compiled = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="hundreds of epochs over the digits need the compiler"
)


def silent(stage: str) -> None:
    """No progress."""


def made_up(n: int = 60, side: int = 4, n_classes: int = 3) -> data.Images:
    """A prototype for each class, and noise, in multiples of 1/255."""
    rng = np.random.default_rng(7)
    labels = np.arange(n) % n_classes
    grey = 0.6 * rng.random((n_classes, side, side))[labels] + 0.4 * rng.random((n, side, side))
    return data.Images("made up", np.round(255 * grey) / 255, labels, "")


@pytest.fixture(scope="module")
def tiny() -> safaryan_runs.Study:
    return safaryan_runs.study(made_up(), TINY, silent)


@pytest.fixture(scope="module")
def short() -> dict[str, list[dict[str, Any]]]:
    """The tables of a shorter run on all digits."""
    found = safaryan.report_of(safaryan_runs.study(data.digits(), SHORT, silent), SHORT, bundled=True)
    return {table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in found.tables}


# --- the problem ---


def test_the_minimiser_is_that_of_scikit_learn():
    images = made_up()
    problem = safaryan_runs.softmax_problem(images, 0.05)
    X, y = problem.X, images.labels
    np.testing.assert_array_equal(X[:, :-1], images.pixels.reshape(60, -1))
    np.testing.assert_array_equal(X[:, -1], 1.0)
    theirs = LogisticRegression(C=1 / (60 * 0.02), fit_intercept=False, tol=1e-12, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(problem.best, theirs.coef_.T, atol=1e-6)
    assert problem.error < 1e-5
    assert problem.accuracy == pytest.approx(theirs.score(X, y))


def test_objective_and_gradient_are_those_of_the_definition(rng):
    X, y = rng.standard_normal((12, 3)), np.arange(12) % 4
    coef = rng.standard_normal((3, 4))

    def value(coef):
        z = X @ coef
        losses = [np.log(np.exp(z[n]).sum()) - z[n, y[n]] for n in range(12)]
        return np.mean(losses) + 0.01 * np.sum(coef**2)

    found, gradient = safaryan_runs.objective(coef, X, y)
    assert found == pytest.approx(value(coef), rel=1e-12)
    for i, j in ((0, 0), (2, 3)):
        step = np.zeros((3, 4))
        step[i, j] = 1e-5
        assert gradient[i, j] == pytest.approx((value(coef + step) - value(coef - step)) / 2e-5, rel=1e-6)


def test_block_means():
    pixels = np.arange(2 * 64, dtype=float).reshape(2, 8, 8)
    expected = [
        [[pixels[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(4)] for i in range(4)] for n in (0, 1)
    ]
    np.testing.assert_allclose(safaryan_runs.block_means(pixels), expected)


def test_teachers_are_runs_stopped_after_their_epochs(tiny):
    problem = tiny.problem
    for lesson, epochs in zip(tiny.lessons, TINY.teacher_epochs, strict=True):
        run = fd.run_sgd(
            problem.X, problem.y, "softmax", step_size=0.05, n_epochs=epochs, batch_size=10, l2=0.02, random_state=2023
        )
        teacher = lesson.teacher
        np.testing.assert_allclose(teacher.coef, run.coef, rtol=1e-10, atol=1e-13)
        assert teacher.epochs == epochs
        assert teacher.distance == pytest.approx(np.sum((run.coef - problem.best) ** 2))
        assert teacher.gap == pytest.approx(run.trace["loss"][-1] - problem.least)


# --- predictions and measurements ---


def test_predicted_weights_are_run_in_the_order_the_tables_read_them(tiny):
    for lesson in tiny.lessons:
        kd, first = lesson.kd.weights, len(safaryan_runs.WEIGHTS)
        np.testing.assert_array_equal(kd[:first], safaryan_runs.WEIGHTS)
        for k, kind in enumerate(("distance", "gap")):
            assert kd[first + k] == max(0.0, lesson.around[k].best_weight)
            plateau, own = tiny.plateau[k], getattr(lesson.teacher, kind)
            assert kd[first + 2 + k] == pytest.approx(plateau / (plateau + own))
        assert lesson.kd_unbiased.weights[-1] == lesson.unbiased.best_weight
        of_bound, of_law, unbiased = safaryan.bounds_and_law(tiny, lesson)
        for k in (0, 1):
            plateaus = lesson.kd.plateaus[k] / tiny.plateau[k]
            N = lesson.around[k]
            assert of_bound[k].predicted == pytest.approx(N.at(of_bound[k].weight) / N.at(0.0))
            assert of_bound[k].measured == plateaus[first + k]
            w = of_law[k].weight
            law = (1 - w) ** 2 + w**2 * (lesson.teacher.distance, lesson.teacher.gap)[k] / tiny.plateau[k]
            assert of_law[k].predicted == pytest.approx(law)
            assert of_law[k].measured == plateaus[first + 2 + k]
            assert unbiased[k].measured == lesson.kd_unbiased.plateaus[k][-1] / tiny.plateau[k]


def test_plateaus_are_means_over_the_later_half():
    epochs, values = np.arange(7), np.arange(7.0)[None] ** 2
    runs = safaryan_runs.Runs(np.zeros(1), epochs, values, 2 * values)
    np.testing.assert_allclose(runs.plateaus, [[(16 + 25 + 36) / 3], [2 * (16 + 25 + 36) / 3]])


def test_weight_zero_of_every_teacher_is_plain_sgd(tiny):
    for lesson in tiny.lessons:
        np.testing.assert_allclose(lesson.kd.distance[0], tiny.plain.distance[0], rtol=1e-9)


def test_least_squares_moments_are_exact_at_every_weight(tiny):
    images = made_up()
    X = np.column_stack([images.pixels.reshape(60, -1), np.ones(60)])
    y = np.where(images.labels % 2 == 0, 1.0, -1.0)
    step = 0.5 / np.max(np.sum(X**2, axis=1) + 0.02)
    best = np.linalg.solve(X.T @ X / 60 + 0.02 * np.eye(17), X.T @ y / 60)
    direction = np.random.default_rng(2023).standard_normal(17)
    for each, share in zip(tiny.squares, (10.0, 1.0, 0.1), strict=True):
        assert each.best_weight == pytest.approx(1 / (1 + share))
        plain = fd.theory.kd_stationary(X, y, best, step, 0.0, l2=0.02).distance
        teacher = best + direction * np.sqrt(share * plain / np.sum(direction**2))
        for variant, exact in zip(("kd", "kd_unbiased"), each.exact, strict=True):
            for i in (0, 3, 8):
                at = fd.theory.kd_stationary(X, y, teacher, step, each.weights[i], variant=variant, l2=0.02)
                assert exact[i] == pytest.approx(at.distance, rel=1e-7)


def test_masked_students_are_measured_from_the_best_of_their_kind(tiny):
    problem = tiny.problem
    order = np.random.default_rng(2023).permutation(17)
    for each in tiny.sparse:
        if each.name == "random mask":
            kept = order[: round((1 - each.sparsity) * 17)]
            best, _ = safaryan_runs.minimiser(problem.X[:, kept], problem.y)
            least = safaryan_runs.objective(best, problem.X[:, kept], problem.y)[0]
            assert each.least == pytest.approx(least - problem.least, abs=1e-9)
            mask = np.isin(np.arange(17), kept).astype(float)
            start = np.zeros((17, 3))
            start[kept] = best
            run = fd.run_sgd(
                *(problem.X, problem.y, "softmax"),
                teacher=tiny.lessons[-1].teacher.coef,
                kd_weight=[0.0, 0.7],
                compressor=fd.Mask(mask),
                step_size=0.05,
                n_epochs=2,
                batch_size=10,
                order="replace",
                l2=0.02,
                coef_init=start,
                random_state=2023,
            )
            np.testing.assert_allclose(each.gap, run.trace["loss"][:, 2] - least, atol=1e-9)
        elif each.name.startswith("none"):
            assert each.least == 0
    assert len(tiny.sparse) == 1 + 3 * 3


def test_compressors_within_the_theorem_have_a_bound(tiny):
    problem, limit = tiny.problem, 0.05 * 0.02 / (1 - 0.05 * 0.02)
    assert safaryan_runs.allowed_omega(problem) == pytest.approx(limit)
    bounded = {each.name: each.bound is not None for each in tiny.compressors}
    assert bounded == {"random rounding": True, "Bernoulli": True, "RandK": False}
    for each in tiny.compressors:
        assert (each.omega < limit) == bounded[each.name]
        if each.bound is not None:
            assert each.distance[1] < each.bound


def test_deep_students(tiny):
    assert [(each.depth, each.weight) for each in tiny.deep] == [
        (1, 0.7), (2, 0.3), (2, 0.7), (2, 1.0), (3, 0.3), (3, 0.7), (3, 1.0)
    ]  # fmt: skip
    np.testing.assert_allclose(tiny.deep[0].trace["step_cosine"][1:], 1.0, rtol=1e-12)
    assert all(each.trace["step_cosine_min"][-1] < 1 for each in tiny.deep[1:])


# --- what the page says, on the digits ---


@compiled
def test_theorems_and_exact_laws_hold_on_the_digits(short):
    found = {row["claim"]: row["holds"] for row in short["claims"]}
    for start in (
        "distillation reduces the noise",
        "but does not eliminate it",
        "how much depends on the teacher",
        "the weight must be chosen with care",
        "without the bias every teacher helps",
        "x* as the teacher",
        "SVRG",
        "the bound of the strongly convex theorem holds",
        "the bound on compressed iterates holds",
        "beyond the paper: 1 − λ° predicts the distance",
        "N(λ*) / N(0) predicts the distance of unbiased KD",
        "one layer",
    ):
        assert [holds for claim, holds in found.items() if claim.startswith(start)] == ["yes"], start
    assert found["N(λ*) / N(0) predicts the loss (within a factor of 2)"] == "NO"


@compiled
def test_measured_shares_follow_the_second_order_law(short):
    rows = short["predictions"]
    assert len(rows) == 6
    for row in rows:
        assert row["measured at λ°"] == pytest.approx(row["1 − λ°"], rel=0.1)
    for row in short["plateaus"]:
        if row["bound"] is not None:
            assert row["plateau of ‖x − x*‖²"] < row["bound"]


@compiled
def test_least_squares_runs_settle_where_the_moments_say(short):
    for row in short["squares"]:
        assert row["KD: largest |measured / exact − 1|"] < 0.1
        assert row["unbiased KD"] < 0.2


# --- the IDX files ---


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def write_idx(folder: Path, images: data.Images, names: tuple[str, str] = NAMES) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / names[0]).write_bytes(idx(np.round(255 * images.pixels)))
    (folder / names[1]).write_bytes(idx(images.labels))
    return folder


def fails(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(["reproduce", "safaryan", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize("names", [NAMES, ORIGINAL])
def test_idx_files_are_read_under_either_name(tmp_path, names):
    images = made_up()
    found = data.mnist(write_idx(tmp_path / "d", images, names))
    np.testing.assert_allclose(found.pixels, images.pixels, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, images.labels)
    assert found.pixels.dtype == np.float32


def test_mnist_itself(data_dir):
    found = data.mnist(data_dir)
    assert found.pixels.shape == (10_000, 28, 28)
    assert found.pixels.max() == 1.0
    assert np.bincount(found.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    for name, original in zip(NAMES, ORIGINAL, strict=True):
        assert hashlib.sha256((data_dir / name).read_bytes()).hexdigest() == data.SHA256[original]


@pytest.mark.usefixtures("blank_pictures")
def test_the_whole_report_from_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(safaryan_runs, "MNIST", TINY)
    folder, out = write_idx(tmp_path / "data", made_up()), tmp_path / "out"
    assert cli.main(["reproduce", "safaryan", "--data", str(folder), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "not the paper's data" not in (out / "safaryan.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    for word in ("N(λ*) / N(0)", "SVRG", "random mask", "unbiased KD", "RandK"):
        assert word in text
    names = {file.name for file in out.iterdir()}
    for picture in ("curves", "weights", "squares", "sparse", "deep"):
        assert {f"safaryan-{picture}.png", f"safaryan-{picture}.csv"} <= names


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_is_named(tmp_path, capsys, missing):
    folder = write_idx(tmp_path / "data", made_up())
    (folder / NAMES[missing]).unlink()
    message = fails(capsys, "--data", str(folder), "--out", str(tmp_path / "out"))
    for word in (NAMES[missing], ORIGINAL[missing], "--download"):
        assert word in message
    assert "mnist_10k_labels.idx1.gz" in fails(capsys, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        idx(np.zeros((5, 4, 4)))[:-12],
        gzip.compress(b""),
        idx(np.zeros((5, 4))),
        gzip.compress(gzip.decompress(idx(np.zeros((5, 4, 4))))[:-1]),
        gzip.compress(bytes([0, 0, 9]) + gzip.decompress(idx(np.zeros((5, 4, 4))))[3:]),
    ],
    ids=["no gzip", "cut gzip", "empty", "two dimensions", "cut values", "not bytes"],
)
def test_a_spoilt_file_is_explained(tmp_path, capsys, content):
    folder = write_idx(tmp_path / "data", made_up())
    (folder / NAMES[0]).write_bytes(content)
    message = fails(capsys, "--data", str(folder), "--out", str(tmp_path / "out"))
    assert f"{NAMES[0]} is no complete gzipped IDX file of bytes in 3 dimensions" in message


def test_images_and_labels_must_go_together(tmp_path):
    folder = write_idx(tmp_path / "data", made_up())
    (folder / NAMES[1]).write_bytes(idx(np.zeros(59)))
    with pytest.raises(reproduce.InputError, match=r"images \(60, 4, 4\) and labels \(59,\)"):
        data.mnist(folder)


def test_missing_files_are_downloaded_and_kept(tmp_path, monkeypatch):
    source = write_idx(tmp_path / "source", made_up(), ORIGINAL)
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return (source / url.rpartition("/")[2]).read_bytes()

    monkeypatch.setattr(data, "fetch", fetch)
    made = {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in ORIGINAL}
    monkeypatch.setattr(data, "SHA256", made)
    folder = tmp_path / "data"
    for _ in range(2):
        data.download(["mnist"], folder, silent)
    assert [url.rpartition("/")[2] for url in asked] == list(ORIGINAL)
    assert {file.name for file in folder.iterdir()} == set(NAMES)
    assert len(data.mnist(folder).labels) == 60


def test_a_failed_download_leaves_nothing(tmp_path, monkeypatch, capsys):
    def offline(url: str) -> bytes:
        raise URLError("no route to host")

    arguments = ("--data", str(tmp_path / "data"), "--download", "--out", str(tmp_path / "out"))
    monkeypatch.setattr(data, "fetch", offline)
    assert "no route to host" in fails(capsys, *arguments)
    monkeypatch.setattr(data, "fetch", lambda url: b"<html>moved</html>")
    assert "is not the file of MNIST any more" in fails(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []
