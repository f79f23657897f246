"""A bounded run of the fuzz of estimators; the whole of it is ``python tests/fuzz_estimators.py``."""

from __future__ import annotations

from tests.fuzz_estimators import KINDS, UNDECIDED, fuzz


def test_random_problems_agree_with_naive_refits():
    found = fuzz(count=300, seed=0)
    assert [line for at in found.values() for line in at.failures] == []
    for kind in KINDS:  # most problems can be decided, and are
        assert found[kind].count == 60
        assert found[kind].undecided <= 30
        assert found[kind].error <= UNDECIDED
