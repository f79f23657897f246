"""Fail unless every benchmark that asv knows of has a number for every parameter.

    check_benchmarks.py [--may-skip PATTERN] RESULTS_DIR...

asv's own exit code does not say so: a benchmark that failed leaves null behind, one that was skipped NaN. Only those
whose name matches the pattern may be skipped. Of several folders, each with a part of the benchmarks, one must have all
numbers of a benchmark.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any


def completed(value: float | None, may_skip: bool) -> bool:
    return value is not None and (math.isfinite(value) or (may_skip and math.isnan(value)))


def missing(name: str, benchmark: dict[str, Any], results: dict[str, Any], may_skip: bool) -> list[str]:
    """What one file of results lacks of a benchmark with its parameters."""
    column = results["result_columns"].index("result")
    count = math.prod(len(values) for values in benchmark["params"])
    row = results["results"].get(name)
    numbers = (row[column] if row else None) or []
    found = [f"{name} [{i}]: {value}" for i, value in enumerate(numbers) if not completed(value, may_skip)]
    return found if len(numbers) == count else [*found, f"{name}: {len(numbers)} of {count} results"]


def main(folders: list[Path], may_skip: str | None) -> int:
    benchmarks = json.loads((folders[0] / "benchmarks.json").read_text(encoding="utf-8"))
    benchmarks = {name: benchmark for name, benchmark in benchmarks.items() if isinstance(benchmark, dict)}
    files = [path for folder in folders for path in folder.glob("*/*.json") if path.name != "machine.json"]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    failures: list[str] = []
    for name, benchmark in benchmarks.items():
        optional = may_skip is not None and re.search(may_skip, name) is not None
        parts = [missing(name, benchmark, part, optional) for part in results]
        fewest: list[str] = min(parts, key=len, default=[f"{name}: no results"])
        failures += fewest
    print("\n".join(failures) or f"{len(benchmarks)} benchmarks completed")
    return 1 if failures or not benchmarks else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--may-skip", metavar="PATTERN", help="regular expression of the names that may be skipped")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RESULTS_DIR")
    arguments = parser.parse_args()
    sys.exit(main(arguments.folders, arguments.may_skip))
