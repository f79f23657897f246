"""The gate of continuous integration on stored numbers: noise passes, a planted slowdown does not, errors are seen."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("gate", ROOT / ".ci" / "gate.py")
assert SPEC is not None
assert SPEC.loader is not None
gate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gate)

STORED = json.loads((ROOT / "benchmarks" / "aa.json").read_text(encoding="utf-8"))
TABLE = STORED["ratios"]
JUDGED = [name for name in TABLE if gate.allowed(name, TABLE) <= gate.TOO_NOISY]


def pairs(ratios, base=1.0, is_time=False):
    return {name: gate.Pair(base, base * r, is_time) for name, r in ratios.items()}


def fails(rounds, table=TABLE):
    return bool(gate.suspects(rounds, table) or gate.errors(rounds))


def replayed(rounds):
    """Rounds as they come from measuring, then the last of them again."""
    waiting = list(rounds)

    def measure(names):
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return found if names is None else {name: found[name] for name in names}

    return measure


def test_the_stored_table_is_of_identical_code():
    assert STORED["measured"]
    assert JUDGED
    assert all(value > 0 for values in TABLE.values() for value in values)
    for name in JUDGED:  # others show what other work on a machine does
        assert 1 / gate.TOO_NOISY < median(TABLE[name]) < gate.TOO_NOISY


def test_unchanged_code_passes_five_times():
    """With the noise that was measured: the ratios of each stored round."""
    for i in range(5):
        rounds = [pairs({name: values[i % len(values)] for name, values in TABLE.items()})]
        assert not fails(gate.judged(replayed(rounds), TABLE))


@pytest.mark.parametrize("i", range(5))
def test_half_as_slow_again_fails(i):
    """A slowdown of 1.5 on top of the noise of a round, in one benchmark only."""
    ratios = {name: values[i % len(values)] for name, values in TABLE.items()}
    planted = min(JUDGED, key=lambda name: gate.allowed(name, TABLE))
    ratios[planted] *= 1.5
    rounds = gate.judged(replayed([pairs(ratios)]), TABLE)
    assert gate.suspects(rounds, TABLE) == [planted]
    assert f"| {planted} |" in gate.report(rounds, TABLE)
    assert "**slower**" in gate.report(rounds, TABLE)


def test_one_disturbed_round_is_measured_again_and_passes():
    calm = pairs(dict.fromkeys(TABLE, 1.0))
    disturbed = {**calm, JUDGED[0]: gate.Pair(1.0, 3.0, False)}
    rounds = gate.judged(replayed([disturbed, calm]), TABLE)
    assert [[*each] for each in rounds[1:]] == [[JUDGED[0]]] * 2  # the median of three rounds is that of the calm ones
    assert not fails(rounds)


def test_a_slowdown_is_confirmed_by_all_repeats():
    slow = pairs({JUDGED[0]: 2.0})
    assert len(gate.judged(replayed([slow]), TABLE)) == 1 + gate.REPEATS


def test_what_noise_allows():
    assert gate.allowed("quiet", {"quiet": [0.99, 1.01]}) == gate.LEAST
    assert gate.allowed("loud", {"loud": [0.8, 1.0]}) == pytest.approx(1.1 / 0.8)
    assert gate.allowed("new", {}) == gate.UNKNOWN
    wild = {"wild": [1.0, 2.0]}
    assert not fails([pairs({"wild": 5.0})], wild)
    assert "too noisy to judge" in gate.report([pairs({"wild": 5.0})], wild)


def test_times_below_two_milliseconds_and_skipped_benchmarks_are_not_judged():
    assert not fails([pairs({"a": 3.0}, base=1e-4, is_time=True)])
    assert fails([pairs({"a": 3.0}, base=1e-2, is_time=True)])
    assert fails([pairs({"a": 3.0}, base=1e-4)])  # a ratio is no time
    assert not fails([{"a": gate.Pair(math.nan, math.nan, False)}])


def test_an_errored_benchmark_fails_at_once_and_a_mended_one_passes():
    rounds = gate.judged(replayed([{"a": gate.Pair(1.0, None, False), "b": gate.Pair(1.0, 9.0, False)}]), {})
    assert len(rounds) == 1
    assert gate.errors(rounds) == ["a"]
    assert "**error**" in gate.report(rounds, {})
    assert not fails([{"a": gate.Pair(None, 1.0, False)}])


def test_faster_code_passes():
    assert not fails([pairs(dict.fromkeys(TABLE, 0.2))])


def test_results_of_asv_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "RESULTS", tmp_path)
    (tmp_path / gate.MACHINE).mkdir()
    kinds = {
        "m.A.track_ratio_x": {"params": [["1", "2"], ["'a'"]], "type": "track"},
        "m.time_y": {"params": [], "type": "time"},
        "m.time_z": {"params": [], "type": "time"},
    }
    stored = {
        "result_columns": ["result", "params"],
        "results": {"m.A.track_ratio_x": [[1.5, None], []], "m.time_y": [[0.25], []], "m.time_z": [None, []]},
    }
    (tmp_path / gate.MACHINE / "12345678-env.json").write_text(json.dumps(stored))
    assert gate.results_of("1234567890", kinds) == {
        "m.A.track_ratio_x(1, 'a')": 1.5,
        "m.A.track_ratio_x(2, 'a')": None,
        "m.time_y()": 0.25,
        "m.time_z()": None,
    }
    assert gate.is_time("m.time_y()", kinds)
    assert not gate.is_time("m.A.track_ratio_x(1, 'a')", kinds)


def test_the_table_is_written_and_keeps_other_benchmarks(tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "TABLE", tmp_path / "aa.json")
    monkeypatch.setattr(gate, "PAGE", tmp_path / "gate.md")
    gate.write_table([pairs({"a": 1.01}), pairs({"a": 0.98})])
    gate.write_table([pairs({"b": 1.25})])
    assert json.loads(gate.TABLE.read_text())["ratios"] == {"a": [1.01, 0.98], "b": [1.25]}
    assert "| a | 0.980 to 1.010 in 2 rounds | 1.20 |" in gate.PAGE.read_text()
