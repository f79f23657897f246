"""Fail unless every benchmark that asv knows of has a number for every parameter: `check_benchmarks.py RESULTS_DIR...`.

asv's own exit code does not say so: a benchmark that failed or was skipped leaves null or NaN behind. Of several
folders, each with a part of the benchmarks, one must have all numbers of a benchmark.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any


def missing(name: str, benchmark: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """What one file of results lacks of a benchmark with its parameters."""
    column = results["result_columns"].index("result")
    count = math.prod(len(values) for values in benchmark["params"])
    row = results["results"].get(name)
    numbers = (row[column] if row else None) or []
    found = [f"{name} [{i}]: {value}" for i, value in enumerate(numbers) if value is None or not math.isfinite(value)]
    return found if len(numbers) == count else [*found, f"{name}: {len(numbers)} of {count} results"]


def main(folders: list[Path]) -> int:
    benchmarks = json.loads((folders[0] / "benchmarks.json").read_text(encoding="utf-8"))
    benchmarks = {name: benchmark for name, benchmark in benchmarks.items() if isinstance(benchmark, dict)}
    files = [path for folder in folders for path in folder.glob("*/*.json") if path.name != "machine.json"]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    failures = [
        line
        for name, benchmark in benchmarks.items()
        for line in min((missing(name, benchmark, part) for part in results), key=len, default=[f"{name}: no results"])
    ]
    print("\n".join(failures) or f"{len(benchmarks)} benchmarks completed")
    return 1 if failures or not benchmarks else 0


if __name__ == "__main__":
    sys.exit(main([Path(folder) for folder in sys.argv[1:]]))
