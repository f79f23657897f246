"""The reproductions: published numbers in the program's own output, one folder written whole or not at all."""

from __future__ import annotations

import base64
import csv
import io
import math
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from fastdistill import cli, reproduce
from fastdistill.pages import files
from fastdistill.reproduce import (
    borup,
    data,
    later_labels,
    later_students,
    mobahi,
    networks,
    networks_rounds,
    networks_variance,
    networks_weights,
    pareek,
    report,
    safaryan,
    safaryan_runs,
)

MULTIPLIERS = (2.70525292e-06, 8.76276117e-05, 2.73755413e-04, 7.90017653e-04)
ROUND_ERRORS = (0.14183, 0.0627, 0.1104, 0.27945)
LOSSES = {
    "0": ("0.16477", "0.15076", "0.14915", "0.15561", "0.16735", "0.18251", "0.49505"),
    "0.25": ("0.16477", "0.15309", "0.14958", "0.14903", "0.14946", "0.15011", "0.15250"),
    "0.35": ("0.16477", "0.15424", "0.15089", "0.14983", "0.14954", "0.14948", "0.14959"),
}
UCI = {
    "Air Quality": (2.0126, 1.9971, 1.0635),
    "Airfoil": (1.3359, 1.2203, 1.1886),
}


@pytest.fixture(scope="module", autouse=True)
def short_runs():
    """Stochastic runs kept short, on few images and seeds: what they find is tested in files of their own."""
    full = data.digits()
    few = full._replace(pixels=full.pixels[:60].reshape(60, 4, 2, 4, 2).mean(axis=(2, 4)), labels=full.labels[:60])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safaryan, "digits", lambda: few)
        for module, name in ((later_students, "SEEDS"), (later_students, "FEWER"), (later_labels, "SEEDS")):
            patch.setattr(module, name, 2)
        patch.setattr(later_students, "STUDENT_PENALTIES", np.array([0.01, 0.1, 1.0]))
        patch.setattr(safaryan_runs, "DIGITS", safaryan_runs.Plan(0.05, 6, (1, 2, 3), 8, 2, 6))
        patch.setattr(networks, "digits", lambda: few)
        patch.setattr(networks_rounds, "SMALL", networks_rounds.Plan(30, 30, 8, 2, 30, rounds=2, seeds=2))
        patch.setattr(networks_weights, "SMALL", networks_weights.Plan(20, 10, 30, 8, 2, 20, (0.0, 1.0), seeds=2))
        patch.setattr(networks_variance, "SMALL", networks_variance.Plan(20, 20, 2, epochs=6))
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """The folder of one run of `reproduce all` on built-in data."""
    out = tmp_path_factory.mktemp("reproduce") / "deep" / "report"
    assert cli.main(["reproduce", "all", "--out", str(out)]) == 0
    return out


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def ours(file: Path) -> list[float]:
    return [float(row["ours"]) for row in rows_of(file)]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `reproduce`, expect exit code 2 and one line, and return the line."""
    capsys.readouterr()
    assert cli.main(["reproduce", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- published numbers ---


def test_mobahi_prints_the_published_multipliers_rounds_and_errors(everything):
    found = ours(everything / "mobahi-published.csv")
    np.testing.assert_allclose(found[:4], MULTIPLIERS, rtol=1e-6)
    assert found[4] == 4
    np.testing.assert_allclose(found[5:], ROUND_ERRORS, atol=5e-6)
    assert {row["agrees to printed digits"] for row in rows_of(everything / "mobahi-published.csv")} == {"yes"}


@pytest.mark.parametrize("alpha", LOSSES)
def test_borup_prints_the_loss_tables_to_the_last_digit(everything, alpha):
    rows = rows_of(everything / f"borup-loss-alpha-{alpha}.csv")
    assert tuple(f"{float(row['ours']):.5f}" for row in rows) == LOSSES[alpha]
    assert tuple(row["paper"] for row in rows) == LOSSES[alpha]


@pytest.mark.usefixtures("blank_pictures")
def test_pareek_prints_the_uci_table(data_dir, tmp_path, capsys):
    assert cli.main(["reproduce", "pareek", "--data", str(data_dir), "--out", str(tmp_path)]) == 0
    assert "not the paper's data" not in capsys.readouterr().out
    rows = rows_of(tmp_path / "pareek-uci.csv")
    for title, published in UCI.items():
        found = [float(row["ours"]) for row in rows if row["row"].startswith(title)]
        np.testing.assert_allclose(found, published, atol=5e-4)
    for row in rows:
        assert row["agrees to printed digits"] == "yes" or row["note"], row["row"]
        assert row["λ"]
        assert float(row["validation error"]) > 0
    energy = [row for row in rows if row["row"].startswith("Appliances")]
    assert [row["validation error"][:4] for row in energy] == ["0.61"] * 3
    assert {row["n × d"] for row in energy} == {"19735 × 24"}
    readings = rows_of(tmp_path / "pareek-appliances.csv")
    assert [row["agrees to printed digits"] for row in readings] == ["yes", "yes", "no"] * 2
    assert [f"{float(row['ours']):.2f}" for row in readings] == ["0.62", "0.62", "0.64"] * 2


def test_bundled_data_follow_the_protocol_and_say_that_they_are_not_the_papers(everything):
    rows = rows_of(everything / "pareek-bundled.csv")
    assert len(rows) == 9
    assert {row["paper"] for row in rows} == {""}
    assert "not the paper's data" in (everything / "report.html").read_text(encoding="utf-8").replace("&#x27;", "'")


def test_protocol_against_refits_on_a_small_problem(rng):
    X, n = rng.standard_normal((200, 3)) * [3.0, 2.0, 1.0] + 5.0, 200
    y = X @ [1.0, 0.0, -1.0] + rng.standard_normal(n)
    found = pareek.fit(data.Regression("x", "X", X, y, ""))
    train, held_out, test = slice(0, 60), slice(60, 120), slice(120, 200)
    Z = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    v = (y - y[train].mean()) / y[train].std()
    errors = []
    for lam in 10.0 ** np.arange(-5, 6):
        coef = np.linalg.solve(Z[train].T @ Z[train] + lam * np.eye(3), Z[train].T @ v[train])
        errors.append((np.mean((v[held_out] - Z[held_out] @ coef) ** 2), np.mean((v[test] - Z[test] @ coef) ** 2), lam))
    best = min(errors)
    assert found.tuned[0].lam == pytest.approx(best[2])
    assert found.test[0] == pytest.approx(best[1], rel=1e-9)
    assert found.tuned[0].score >= found.tuned[1].score >= found.tuned[2].score
    assert found.alignment.sum() == pytest.approx(1.0)


# --- theory beside what happens ---


def test_every_promise_of_a_theorem_holds(everything):
    for name in ("mobahi", "borup"):
        assert {row["holds"] for row in rows_of(everything / f"{name}-theorems.csv")} == {"yes"}


def test_four_steps_reach_the_best_filter_only_where_singular_values_differ(everything):
    met, equal, spread = rows_of(everything / "pareek-theorems.csv")
    best = "best of all filters"
    assert float(met["4 steps"]) == pytest.approx(float(met[best]), rel=1e-9)
    assert float(met["4 steps"]) < 1 < 3 < float(met["ridge"])
    assert float(equal["4 steps"]) == pytest.approx(float(equal["ridge"]), rel=1e-9)
    assert float(equal["4 steps"]) > 3 * float(equal[best])
    assert float(spread["ridge"]) < 1.01 * float(spread["4 steps"])


def test_simulation_agrees_with_theory(everything):
    rows = rows_of(everything / "pareek-simulation.csv")
    assert len(rows) == 15
    assert max(abs(float(row["in standard errors"])) for row in rows) < 4


def test_gain_grows_linearly_and_weights_like_the_inverse_gap(everything):
    gain = [row for row in rows_of(everything / "pareek-gain.csv") if row["against"] == "ridge"]
    slope = [float(row["ratio"]) / float(row["rank"]) for row in gain]
    np.testing.assert_allclose(slope, slope[-1], rtol=0.02)
    rows = [row for row in rows_of(everything / "pareek-blow-up.csv") if row["steps"] == "4"]
    gaps, weights = (np.array([float(row[name]) for row in rows]) for name in ("gap", "largest_weight"))
    small = gaps < 1e-3
    np.testing.assert_allclose(np.diff(np.log(weights[small])) / np.diff(np.log(gaps[small])), -1.0, atol=0.01)


def test_ratios_grow_without_ground_truth_and_converge_with_it(everything):
    rows = rows_of(everything / "borup-ratios.csv")
    last = {(row["alpha"], row["k"], row["step"]): float(row["ratio"]) for row in rows}
    assert last["0.0", "10", "25"] > 20
    assert last["0.25", "10", "25"] == pytest.approx(last["0.25", "10", "24"], rel=1e-3)


# --- what is written ---


def test_the_folder_holds_the_page_and_for_every_picture_png_and_csv(everything):
    names = {file.name for file in everything.iterdir()}
    assert "report.html" in names
    pictures = {name.removesuffix(".png") for name in names if name.endswith(".png")}
    assert {name.split("-")[0] for name in pictures} == set(reproduce.PAPERS)
    assert len(pictures) == 26 + networks_weights.has_torch()
    for name in pictures:
        assert (everything / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len(rows_of(everything / f"{name}.csv")) > 5
    assert {file.suffix for file in everything.iterdir()} == {".png", ".csv", ".html"}
    assert [file.name for file in everything.parent.iterdir()] == ["report"]  # no temporary folder is left


def test_figure_data_are_numbers(everything):
    words = {"curve", "problem", "student", "quantity", "series", "method", "data", "against", "alpha"}
    words |= {"model", "labels", "way"}
    for image in everything.glob("*.png"):
        for row in rows_of(image.with_suffix(".csv")):
            assert not [name for name in row if name not in words and math.isnan(float(row[name]))], image.name


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_is_self_contained(everything):
    source = (everything / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [value for value in attributes.values() if value and "//" in value and "base64," not in value]
        target = attributes.get("href") or "#"  # within the page, or the file of a picture beside it
        assert target.startswith("#") or (everything / target).is_file()
    assert "@import" not in source
    assert "url(" not in source
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    written = {file.read_bytes() for file in everything.glob("*.png")}
    prefix = "data:image/png;base64,"
    assert {base64.b64decode(image.removeprefix(prefix), validate=True) for image in images} == written
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_the_page_says_what_it_should(everything):
    page = Page((everything / "report.html").read_text(encoding="utf-8"))
    assert "no free lunch" in page.text
    for name in reproduce.PAPERS:
        assert ("section", {"id": name}) in page.tags
    for word in ("Assumptions", "In the paper:", "What we see:", "2.70525292e-06", "0.49505", "arXiv:2407.04600"):
        assert word in page.text


@pytest.mark.usefixtures("blank_pictures")
def test_tables_are_printed(tmp_path, capsys):
    assert cli.main(["reproduce", "borup", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "limit   0.49505  0.4950495  0" in captured.out
    assert str(tmp_path / "borup.html") in captured.out
    assert captured.err == ""
    assert {file.name.split("-")[0].split(".")[0] for file in tmp_path.iterdir()} == {"borup"}


@pytest.mark.usefixtures("blank_pictures")
def test_a_second_run_replaces_its_files_and_leaves_others(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "mobahi.html").write_text("old")
    assert cli.main(["reproduce", "mobahi", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "mobahi.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert not list(tmp_path.glob(".fastdistill*"))


@pytest.mark.parametrize(
    ("printed", "ours", "difference"),
    [
        ("0.0627", 0.06270137, "0"),
        ("1.99", 1.9971, "+0.0071"),
        ("0.15250", 0.152495, "0"),
        ("0.15250", 0.152494, "-6e-06"),
        ("2.70525292e-06", 2.7052529165e-06, "0"),
        ("4", 4, "0"),
        ("4", 5, "+1"),
        (None, 1.0, "–"),
    ],
)
def test_a_difference_of_zero_means_the_printed_digits(printed, ours, difference):
    table = report.comparison("t", "T", [report.Row("r", printed, ours)])
    assert table.shown[0][3] == difference


# --- nothing half-written ---


@pytest.mark.usefixtures("blank_pictures")
def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def broken(folder, progress):
        raise RuntimeError("on the way")

    monkeypatch.setattr(borup, "reproduce", broken)
    with pytest.raises(RuntimeError, match="on the way"):
        cli.main(["reproduce", "all", "--out", str(tmp_path / "new")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("blank_pictures")
def test_a_failure_while_writing_leaves_the_old_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "mobahi-published.csv").write_text("old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "page_of", full)
    assert "No space left" in fails(capsys, "mobahi", "--out", str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["mobahi-published.csv"]
    assert (tmp_path / "mobahi-published.csv").read_text() == "old"


def test_out_is_a_file(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    for out in (file, file / "below"):
        message = fails(capsys, "mobahi", "--out", str(out))
        assert f"{file} is a file, not a folder" in message
    assert file.read_text() == ""


def test_out_cannot_be_written_to(tmp_path, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkdtemp", refuse)
    message = fails(capsys, "mobahi", "--out", str(tmp_path / "new"))
    assert "--out" in message
    assert "Permission denied" in message


@pytest.mark.usefixtures("blank_pictures")
def test_a_folder_in_the_place_of_a_file_is_seen_before_anything_is_moved(tmp_path, capsys):
    (tmp_path / "mobahi.html").mkdir()
    assert "mobahi.html is a folder" in fails(capsys, "mobahi", "--out", str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["mobahi.html"]


def test_an_unknown_paper_from_python(tmp_path):
    with pytest.raises(reproduce.InputError, match="mobahi, borup, pareek"):
        reproduce.run(["hinton"], tmp_path / "out")


# --- data folders ---


def table_of(source: data.Source, rng: np.random.Generator, n: int = 400) -> list[list[str]]:
    """A made-up file: every column that is read, and a useless one in front."""
    values = np.exp(rng.standard_normal((n, len(source.columns))))
    return [["date", *source.columns], *(["10/03/2004", *map(repr, row)] for row in values.tolist())]


def write_table(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)


@pytest.fixture
def made_up(tmp_path, rng) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for source in data.UCI.values():
        write_table(folder / source.file, table_of(source, rng))
    return folder


def test_rows_with_missing_marks_are_dropped_but_only_where_they_count(tmp_path, rng):
    source = data.UCI["air_quality"]
    rows = table_of(source, rng, 100)
    rows[0].append("NMHC(GT)")
    for row in rows[1:]:
        row.append("-200")
    rows[5][rows[0].index("CO(GT)")] = "-200"
    rows[9][rows[0].index("T")] = "-200.0"
    write_table(tmp_path / source.file, rows)
    for key in ("airfoil", "appliances_energy"):
        write_table(tmp_path / data.UCI[key].file, table_of(data.UCI[key], rng))
    air, airfoil, energy = data.load(tmp_path)
    assert air.X.shape == (98, 8)
    assert airfoil.X.shape == (400, 5)
    assert energy.X.shape == (400, 24)
    assert abs(energy.y.mean()) < 0.2  # the logarithm of exp(standard normal)


@pytest.mark.parametrize("source", data.UCI.values(), ids=data.UCI)
def test_a_missing_file_is_named_with_where_to_get_it(made_up, tmp_path, capsys, source):
    (made_up / source.file).unlink()
    message = fails(capsys, "all", "--data", str(made_up), "--out", str(tmp_path / "out"))
    for word in (source.file, str(source.number), "archive.ics.uci.edu", "--download"):
        assert word in message
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_data_is_no_folder(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert "does not exist" in fails(
        capsys, "pareek", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "o")
    )
    assert "air_quality.csv" in fails(capsys, "pareek", "--data", str(file), "--out", str(tmp_path / "o"))
    assert "does not exist" in fails(capsys, "borup", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "o"))
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def drop_columns(rows):
    return [[row[0], *row[3:]] for row in rows]


def spoil(rows):
    rows[7][2] = "n/a"
    return rows


def shorten(rows):
    rows[7] = rows[7][:3]
    return rows


def keep_few(rows):
    return rows[:20]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_columns, ("no columns frequency_hz, angle_of_attack_deg", "UCI data set 291")),
        (spoil, ("line 8", "angle_of_attack_deg", "'n/a'")),
        (shorten, ("line 8", "3 fields")),
        (keep_few, ("19 complete rows", "cut short")),
        (lambda rows: [], ("no columns",)),
    ],
)
def test_a_spoilt_file_is_explained(made_up, tmp_path, capsys, rng, change, words):
    write_table(made_up / "airfoil_self_noise.csv", change(table_of(data.UCI["airfoil"], rng)))
    message = fails(capsys, "pareek", "--data", str(made_up), "--out", str(tmp_path / "out"))
    for word in ("airfoil_self_noise.csv", *words):
        assert word in message
    assert not (tmp_path / "out").exists()


def test_the_logarithm_of_a_target_needs_positive_values(made_up, tmp_path, capsys, rng):
    rows = table_of(data.UCI["appliances_energy"], rng)
    rows[3][rows[0].index("Appliances")] = "0"
    write_table(made_up / "appliances_energy.csv", rows)
    message = fails(capsys, "pareek", "--data", str(made_up), "--out", str(tmp_path / "out"))
    assert "Appliances must be positive" in message


# --- download, with a stand-in for the network ---


class Repository:
    """Answers `data.fetch` with made-up tables under the column names of the UCI repository."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.asked: list[str] = []
        self.pages = {source.url: self.page(source, rng) for source in data.UCI.values()}

    @staticmethod
    def page(source: data.Source, rng: np.random.Generator) -> bytes:
        theirs = {ours: name for name, ours in source.renamed.items()}
        rows = table_of(source, rng)
        rows[0] = [theirs.get(name, name) for name in rows[0]]
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode("utf-8")

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        return self.pages[url]


@pytest.mark.usefixtures("blank_pictures")
def test_missing_files_are_downloaded_checked_and_kept(tmp_path, monkeypatch, rng):
    repository = Repository(rng)
    monkeypatch.setattr(data, "fetch", repository)
    folder = tmp_path / "kept" / "data"
    out = tmp_path / "out"
    assert cli.main(["reproduce", "pareek", "--data", str(folder), "--download", "--out", str(out)]) == 0
    wanted = [data.UCI[key] for key in reproduce.PAPERS["pareek"].datasets]
    assert sorted(repository.asked) == sorted(source.url for source in wanted)
    assert {file.name for file in folder.iterdir()} == {source.file for source in wanted}
    assert "frequency_hz" in (folder / "airfoil_self_noise.csv").read_text(encoding="utf-8")
    assert len(rows_of(out / "pareek-uci.csv")) == 9
    data.download(reproduce.PAPERS["pareek"].datasets, folder, lambda stage: None)
    assert len(repository.asked) == 3  # nothing is fetched twice


def test_download_brings_the_published_numbers_where_it_brings_the_data(data_dir, tmp_path, monkeypatch):
    source = data.UCI["airfoil"]
    theirs = {ours: name for name, ours in source.renamed.items()}
    with (data_dir / source.file).open(newline="", encoding="utf-8") as handle:
        header, *rows = csv.reader(handle)
    text = io.StringIO()
    csv.writer(text).writerows([[theirs[name] for name in header], *rows])
    monkeypatch.setattr(data, "fetch", lambda url: text.getvalue().encode("utf-8"))
    data.download(["airfoil"], tmp_path, lambda stage: None)
    with (tmp_path / source.file).open(newline="", encoding="utf-8") as handle:
        assert list(csv.reader(handle)) == [header, *rows]


def test_a_failed_download_says_what_to_do_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    def offline(url):
        raise URLError("no route to host")

    monkeypatch.setattr(data, "fetch", offline)
    arguments = ("pareek", "--data", str(tmp_path / "data"), "--download", "--out", str(tmp_path / "out"))
    message = fails(capsys, *arguments)
    for word in ("no route to host", "https://archive.ics.uci.edu/dataset/360", "air_quality.csv"):
        assert word in message
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_something_else_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "fetch", lambda url: b"<html>moved</html>")
    arguments = ("pareek", "--data", str(tmp_path / "data"), "--download", "--out", str(tmp_path / "out"))
    assert "no columns PT08.S1(CO)" in fails(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_download_into_a_file_is_refused(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.setattr(data, "fetch", Repository(rng))
    (tmp_path / "file").write_text("")
    arguments = ("pareek", "--data", str(tmp_path / "file"), "--download", "--out", str(tmp_path / "out"))
    assert "cannot write air_quality.csv" in fails(capsys, *arguments)


def test_download_needs_a_folder(tmp_path, capsys):
    assert "--download needs --data" in fails(capsys, "pareek", "--download", "--out", str(tmp_path / "out"))


def test_fetch_reads_a_url(tmp_path):
    (tmp_path / "page").write_bytes(b"a,b\n1,2\n")
    assert data.fetch((tmp_path / "page").as_uri()) == b"a,b\n1,2\n"


def test_the_green_function_inverts_the_fourth_derivative():
    # g(., z) solves f'''' = delta_z with f = f'' = 0 at both ends: its eigenvalues are 1 / (pi k)^4
    points = (np.arange(400) + 0.5) / 400
    largest = np.linalg.eigvalsh(mobahi.green(points, points) / 400)[::-1][:3]
    np.testing.assert_allclose(largest, 1 / (np.pi * np.arange(1, 4)) ** 4, rtol=1e-4)
