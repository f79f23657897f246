"""All implementations of a benchmarked task agree on the same inputs; with pytest-benchmark enabled, timed as well.

python -m pytest tests/test_comparisons.py --benchmark-enable --benchmark-only [-k medium]
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benchmarks.comparisons import TASKS, disagreement


def pytest_generate_tests(metafunc):
    """Every task and implementation; the medium size only where it is timed."""
    if "implementation" in metafunc.fixturenames:
        sizes = ["small", "medium"] if metafunc.config.getoption("benchmark_enable") else ["small"]
        cases = [(task, name, size) for task, names in TASKS.items() for name in names for size in sizes]
        metafunc.parametrize(("task", "implementation", "size"), cases)


@cache
def answers(task, implementation, size):
    return TASKS[task][implementation](size)()


def test_implementations_agree(task, implementation, size, benchmark):
    if benchmark.enabled:
        answer = TASKS[task][implementation](size)
        answer()
        with threadpool_limits(1):  # after the first answer: it reaches only the libraries that are loaded by now
            found = benchmark.pedantic(answer, rounds=5)
    else:
        found = benchmark(answers, task, implementation, size)
    for other in TASKS[task]:
        if other != implementation:
            assert disagreement(found, answers(task, other, size)) < 1e-9, other


def test_first_implementation_is_ours_and_answers_most():
    for task, implementations in TASKS.items():
        ours, *others = [set(answers(task, name, "small")) for name in implementations]
        assert next(iter(implementations)) == "fastdistill"
        assert others
        assert all(other <= ours for other in others)


@pytest.mark.parametrize("found", [{"x": np.array([1.0, 2.1])}, {"x": np.array([1.0])}])
def test_disagreement_is_seen(found):
    assert disagreement(found, {"x": np.array([1.0, 2.0])}) > 0.01
