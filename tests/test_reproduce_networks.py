"""The networks of the papers: samples, rounds, weights and gradients against plain loops, and what the report says."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import fastdistill as fd
from fastdistill import cli
from fastdistill.reproduce import data, networks, networks_images, networks_rounds, networks_variance, networks_weights

ROUNDS = networks_rounds.Plan(40, 30, width=8, epochs=3, batch=20, rounds=2, seeds=2)
WEIGHTS = networks_weights.Plan(40, 20, 30, width=8, epochs=3, batch=20, grid=(0.0, 0.5, 1.0), seeds=2)
VARIANCE = networks_variance.Plan(30, 20, 2, epochs=6)


def made_up(n: int = 150) -> data.Images:
    """A prototype for each of three classes, and noise."""
    rng = np.random.default_rng(7)
    labels = np.arange(n) % 3
    return data.Images("made up", 0.4 * rng.random((3, 4, 4))[labels] + 0.6 * rng.random((n, 4, 4)), labels, "here")


def shorten(monkeypatch) -> None:
    """Few small images, few steps."""
    monkeypatch.setattr(networks, "digits", made_up)
    for module, plan in ((networks_rounds, ROUNDS), (networks_weights, WEIGHTS), (networks_variance, VARIANCE)):
        monkeypatch.setattr(module, "SMALL", plan)
        monkeypatch.setattr(module, "FULL", replace(plan, seeds=3))


@pytest.fixture
def tiny(monkeypatch):
    shorten(monkeypatch)


def sample(noise: float = 0.0, seed: int = 3) -> networks_images.Sample:
    return networks_images.sample_of(made_up(), 60, 30, 40, noise, seed)


# --- samples ---


def test_samples_are_disjoint_rows_and_only_their_test_labels_stay_true():
    images = made_up(3000)
    found = networks_images.sample_of(images, 1000, 500, 900, 0.3, seed=1)
    rows = np.vstack([found.X, found.held_X, found.test_X])
    assert len(np.unique(rows, axis=0)) == 2400
    true = {tuple(x): label for x, label in zip(images.pixels.reshape(3000, -1), images.labels, strict=True)}
    for X, labels, wrong in (
        (found.X, found.labels, 0.2),  # of the replaced a third keep their class by chance
        (found.held_X, found.held_labels, 0.2),
        (found.test_X, found.test_labels, 0.0),
    ):
        share = np.mean([true[tuple(x)] != label for x, label in zip(X, labels, strict=True)])
        assert share == pytest.approx(wrong, abs=0.04 if wrong else 0.0)
    np.testing.assert_array_equal(found.targets.argmax(axis=1), found.labels)


def test_spread_and_evidence():
    assert networks_images.spread(np.array([0.1, 0.3])) == "20.0% ± 14.1%"
    assert networks_images.exceeds(np.array([0.1, 0.12, 0.11]))
    assert not networks_images.exceeds(np.array([-0.1, 0.3, 0.1]))
    assert not networks_images.exceeds(np.array([-0.1, -0.12, -0.11]))


# --- rounds ---


def test_rounds_of_the_network_against_a_plain_loop():
    s = sample(0.3)
    train, test = networks_rounds.network_rounds(s, ROUNDS, seed=2)
    targets = np.eye(3)[s.labels]
    for t in range(3):
        model = networks_rounds.trained(networks_rounds.mlp(ROUNDS, 2000 + t), s.X, targets)
        targets = model.predict(s.X)
        assert train[t] == np.mean(targets.argmax(axis=1) == s.labels)
        assert test[t] == np.mean(model.predict(s.test_X).argmax(axis=1) == s.test_labels)
    assert model.n_iter_ == ROUNDS.epochs


def test_rounds_of_the_kernel_against_refits():
    s, n = sample(0.3), 60
    train, test = networks_rounds.kernel_rounds(s, 4)
    K, Kq = fd.ntk_kernel(s.X, depth=1), fd.ntk_kernel(s.test_X, s.X, depth=1)
    centred = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
    queries = Kq - K.mean(axis=0) - Kq.mean(axis=1)[:, None] + K.mean()
    targets = np.eye(3)[s.labels]
    for t in range(5):
        level = targets.mean(axis=0)
        dual = np.linalg.solve(centred + networks_rounds.PENALTY * np.eye(n), targets - level)
        targets = centred @ dual + level
        assert train[t] == np.mean(targets.argmax(axis=1) == s.labels)
        assert test[t] == np.mean((queries @ dual + level).argmax(axis=1) == s.test_labels)


def verdicts(found) -> list[str]:
    return [holds for _, _, holds in found]


def test_claims_of_rounds_that_do_not_hold_are_said_so():
    rise_and_fall = np.array([[0.5, 0.7, 0.6], [0.5, 0.71, 0.6]])
    falling, flat = np.array([[0.9, 0.8, 0.7], [0.9, 0.81, 0.7]]), np.full((2, 3), 0.5)

    def claims(train, test):
        return verdicts(networks_rounds.claims([networks_rounds.Rounds("network", "x", train, test)]))

    assert claims(falling, rise_and_fall) == ["yes", "yes", "yes"]
    assert claims(falling, falling) == ["NO", "yes", "yes"]
    assert claims(flat, flat) == ["NO", "NO", "NO"]
    assert claims(falling, falling[:, ::-1]) == ["yes", "NO", "yes"]


# --- weights ---


@pytest.fixture
def ridge(monkeypatch):
    """Ridge in the place of the network: linear in its targets, so that the estimate is exact."""

    def fitted(s, targets, plan, seed):
        return Ridge(5.0).fit(s.X, targets).predict

    monkeypatch.setattr(networks_weights, "fitted", fitted)


@pytest.mark.usefixtures("ridge")
def test_the_estimated_weight_is_the_best_of_a_fine_grid():
    s = sample(0.3)
    teacher = Ridge(5.0).fit(s.X, s.targets).predict(s.X)
    fine = replace(WEIGHTS, grid=tuple(np.linspace(0, 1, 2001).tolist()))
    student, alpha = networks_weights.step("estimated α", s, teacher, WEIGHTS, 0)
    _, best = networks_weights.step("grid search", s, teacher, fine, 0)
    assert alpha == pytest.approx(best, abs=5e-4)
    mixture = alpha * s.targets + (1 - alpha) * teacher
    np.testing.assert_allclose(student(s.test_X), Ridge(5.0).fit(s.X, mixture).predict(s.test_X), rtol=1e-10)
    pure, zero = networks_weights.step("α = 0", s, teacher, WEIGHTS, 0)
    assert zero == 0.0
    np.testing.assert_allclose(pure(s.test_X), Ridge(5.0).fit(s.X, teacher).predict(s.test_X), rtol=1e-10)


@pytest.mark.usefixtures("ridge")
def test_a_chain_teaches_each_step_by_the_one_before():
    s = sample()
    found, weights = networks_weights.chain("α = 0", s, WEIGHTS, 0)
    targets, wanted = s.targets, []
    for _ in range(networks_weights.STEPS + 1):
        model = Ridge(5.0).fit(s.X, targets)
        targets = model.predict(s.X)
        wanted.append(np.mean(model.predict(s.test_X).argmax(axis=1) == s.test_labels))
    assert found == wanted
    assert weights == [0.0] * networks_weights.STEPS


def test_claims_of_weights_that_do_not_hold_are_said_so():
    def of(ways):
        return [
            networks_weights.Steps(labels, way, accuracy, np.zeros((2, 5)), fits, seconds)
            for labels in networks_images.NAMES
            for way, accuracy, fits, seconds in ways
        ]

    good = np.tile(np.linspace(0.8, 0.9, 6), (2, 1)) + np.array([[0.0], [0.01]])
    bad = 0.7 + 0 * good
    fine = of([("α = 0", bad, 1, 1.0), ("estimated α", good, 3, 2.0), ("grid search", good, 5, 3.0)])
    assert verdicts(networks_weights.claims(fine)) == ["yes"] * 8
    poor = of([("α = 0", good, 1, 1.0), ("estimated α", bad, 5, 4.0), ("grid search", good, 5, 3.0)])
    assert verdicts(networks_weights.claims(poor)) == ["NO"] * 8


# --- the command ---


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.usefixtures("tiny")
def test_without_pytorch_the_command_says_what_is_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(networks_weights, "has_torch", lambda: False)
    assert cli.main(["reproduce", "networks", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Left out, as PyTorch is not installed (pip install 'fastdistill[torch]')" in printed
    assert "gradient cosine" in printed
    assert "2 seeds" in printed
    claims = rows_of(tmp_path / "networks-claims.csv")
    assert len(claims) == 20
    assert {row["holds"] for row in claims} <= {"yes", "NO"}
    assert len(rows_of(tmp_path / "networks-rounds.csv")) > 0


@pytest.mark.usefixtures("tiny", "blank_pictures")
def test_full_takes_the_published_sizes_and_only_where_there_are_any(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(networks_weights, "has_torch", lambda: False)
    assert cli.main(["reproduce", "networks", "--full", "--out", str(tmp_path)]) == 0
    assert "3 seeds" in capsys.readouterr().out
    assert cli.main(["reproduce", "mobahi", "--full", "--out", str(tmp_path / "new")]) == 2
    assert "--full changes nothing for mobahi" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_published_sizes():
    full = networks_weights.FULL
    assert (full.epochs, full.batch, len(full.grid)) == (75, 16, 11)
    assert networks_variance.FULL.epochs == networks_variance.SMALL.epochs == 50
    assert (networks_variance.STEP, networks_variance.DECAY, networks_variance.BATCH) == (0.01, 1e-4, 10)
    weights = {m.name: [m.weight(t) for t in (0, 1, 49)] for m in networks_variance.METHODS}
    assert weights["KD"] == [0.7, 0.7, 0.7]
    assert weights["the same, λ × 0.9"] == pytest.approx([0.7, 0.63, 0.7 * 0.9**49])
    assert weights["the same, λ × 1.047"] == pytest.approx([0.7, 0.7 * 1.047, 0.9])
