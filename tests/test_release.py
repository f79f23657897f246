"""What a release rests on: the window of supported versions, and that continuous integration tests both of its ends."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
# Releases that SPEC 0 still asks for at the end of 2026: a floor may be older, not newer.
SPEC_0 = {"numpy": (2, 2), "scipy": (1, 15), "scikit-learn": (1, 6), "matplotlib": (3, 10)}
PYTHON_OF_SPEC_0 = (3, 13)


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


REQUIRED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["all"]
FLOORS = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(REQUIRED)))
PYTHONS = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))


@pytest.mark.parametrize("name", SPEC_0)
def test_floors_are_no_newer_than_spec_0_asks(name):
    assert version(FLOORS[name]) <= SPEC_0[name]


def test_every_dependency_has_a_floor_and_none_a_ceiling():
    for requirement in REQUIRED:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


def test_python_is_supported_from_the_floor_on_without_a_gap():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert version(PYTHONS[0]) <= PYTHON_OF_SPEC_0
    minors = [version(python)[1] for python in PYTHONS]
    assert minors == [*range(minors[0], minors[-1] + 1)]


def test_both_ends_are_tested_and_every_python_between():
    ci = WORKFLOWS["ci"]
    assert {*PYTHONS} == {*re.findall(r'"(3\.\d+)"', ci)}
    oldest = ci[ci.index("\n  oldest:") : ci.index("\n  nightly:")]
    assert f"--python {PYTHONS[0]}" in oldest
    assert "--resolution lowest-direct" in oldest  # exactly the floors
    for system in ("ubuntu-latest", "ubuntu-24.04-arm", "macos-latest", "windows-latest"):
        assert system in ci
    assert "--pre" in ci[ci.index("\n  newest:") :]


def test_publishing_needs_no_token_and_follows_the_checks():
    release = WORKFLOWS["release"]
    assert "secrets." not in release
    assert "password" not in release
    assert "id-token: write" in release
    steps = ("python -m build", "twine check --strict", "check-wheel-contents dist", "gh-action-pypi-publish")
    order = [release.index(step) for step in steps]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "ISSUE_TEMPLATE/bug.yml"])
def test_what_github_shows_is_there(name):
    assert (ROOT / ".github" / name).stat().st_size > 300
