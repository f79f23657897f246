"""All implementations of a benchmarked task agree on the same inputs; with pytest-benchmark enabled, timed as well.

python -m pytest tests/test_comparisons.py --benchmark-enable --benchmark-only [-k medium]
"""

from __future__ import annotations

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


def test_implementations_agree(task, implementation, size, benchmark):
    answer = TASKS[task][implementation](size)
    answer()
    with threadpool_limits(1):  # after the first answer: it reaches only the libraries that are loaded by now
        found = benchmark.pedantic(answer, rounds=5)
    for other, setup in TASKS[task].items():
        if other != implementation:
            assert disagreement(found, setup(size)()) < 1e-9, other


def test_first_implementation_is_ours_and_answers_most():
    for implementations in TASKS.values():
        ours, *others = [set(setup("small")()) for setup in implementations.values()]
        assert next(iter(implementations)) == "fastdistill"
        assert others
        assert all(other <= ours for other in others)


@pytest.mark.parametrize("found", [{"x": np.array([1.0, 2.1])}, {"x": np.array([1.0])}])
def test_disagreement_is_seen(found):
    assert disagreement(found, {"x": np.array([1.0, 2.0])}) > 0.01
