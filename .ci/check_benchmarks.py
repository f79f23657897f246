"""Fail unless every benchmark that asv knows of has a number for every parameter: `check_benchmarks.py RESULTS_DIR`.

asv's own exit code does not say so: a benchmark that failed or was skipped leaves null or NaN behind.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any


def missing(benchmarks: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """Benchmarks, with their parameters, that have no finite number in one file of results."""
    column = results["result_columns"].index("result")
    found = []
    for name, benchmark in benchmarks.items():
        count = math.prod(len(values) for values in benchmark["params"])
        row = results["results"].get(name)
        numbers = (row[column] if row else None) or []
        found += [
            f"{name} [{i}]: {value}" for i, value in enumerate(numbers) if value is None or not math.isfinite(value)
        ]
        if len(numbers) != count:
            found.append(f"{name}: {len(numbers)} of {count} results")
    return found


def main(folder: Path) -> int:
    benchmarks = json.loads((folder / "benchmarks.json").read_text(encoding="utf-8"))
    benchmarks = {name: benchmark for name, benchmark in benchmarks.items() if isinstance(benchmark, dict)}
    files = [path for path in folder.glob("*/*.json") if path.name != "machine.json"]
    failures = [line for path in files for line in missing(benchmarks, json.loads(path.read_text(encoding="utf-8")))]
    print("\n".join(failures) or f"{len(benchmarks)} benchmarks completed")
    return 1 if failures or not files or not benchmarks else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
