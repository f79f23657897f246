"""Later results reproduced: every claim has a verdict, failures are printed as such, verdicts follow the rules."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import fastdistill as fd
from fastdistill import cli
from fastdistill.reproduce import later_claims, later_labels, later_students

DOES_NOT_HOLD = {
    "residual-as-teacher, also of a well-tuned teacher",
    "interpolation, more features than samples, fresh inputs: the golden ratio",
    "hard labels are what helps, more than soft ones (squared loss, same inputs, best penalties, simulated)",
    "the same with fresh inputs, two stages, by formula",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory, blank_pictures_of_a_module) -> Path:
    """The folder of one run, with fewer seeds."""
    out = tmp_path_factory.mktemp("later")
    with pytest.MonkeyPatch.context() as patch:
        for module in (later_students, later_labels):
            patch.setattr(module, "SEEDS", 6)
        patch.setattr(later_students, "FEWER", 5)
        patch.setattr(later_students, "STUDENT_PENALTIES", 10.0 ** np.arange(-2.0, 2.0))
        assert cli.main(["reproduce", "later", "--out", str(out)]) == 0
    return out


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_every_claim_has_a_verdict_and_failures_are_printed(written):
    rows = rows_of(written / "later-claims.csv")
    assert len(rows) > 30
    assert {row["holds"] for row in rows} == {"yes", "NO"}
    failing = {row["claim"] for row in rows if row["holds"] == "NO" and not row["claim"].startswith("choosing penalty")}
    assert failing == DOES_NOT_HOLD
    papers = {row["paper"] for row in rows}
    assert len(papers - {"(not claimed)", "(the same, other reading)"}) == 9
    assert all(row["ours"] for row in rows)


def test_the_page_and_the_data_of_its_pictures(written):
    text = (written / "later.html").read_text(encoding="utf-8")
    assert "only their abstracts" in text
    assert "NO" in text
    curves = rows_of(written / "later-generations.csv")
    s, theta = later_claims.population(0, 60)
    expected = fd.theory.generation_risk(s, theta, later_labels.NOISE, 150, 0.0, later_labels.LAST, later_labels.SHARES)
    np.testing.assert_allclose([float(row["predicted"]) for row in curves], expected.ravel(), rtol=1e-12)
    found = rows_of(written / "later-self-training.csv")
    assert len(found) == 4 * 9
    teachers = rows_of(written / "later-teachers.csv")
    best = {
        method: min(float(row["error"]) for row in teachers if row["method"] == method)
        for method in ("residual", "matching")
    }
    assert best["residual"] < best["matching"] / 5


def test_rules_of_the_verdicts():
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(20)
    noise -= noise.mean()
    assert later_claims.better("", "", "", 1.2 + noise).holds == "yes"
    assert later_claims.better("", "", "", 1.01 + noise).holds == "NO"
    assert "above 1 in" in later_claims.better("", "", "ratio", 1.2 + noise).ours
    assert later_claims.agrees("", "", "", 1.05 + noise).holds == "yes"
    assert later_claims.agrees("", "", "", np.stack([1.0 + noise, 1.2 + noise], axis=1)).holds == "NO"
    assert later_claims.always("", "", "x", [True, False]) == ("", "", "x in 1 of 2 cases", "NO")
    assert later_claims.always("", "", "x", [True, True]).holds == "yes"
    assert later_claims.spread([1.0, 3.0]) == "2 ± 1.4"
