"""Fail where HEAD is slower than BASE, by benchmarks of both in turn on one machine.

    gate.py BASE HEAD [--bench PATTERN]     compare two commits; exit 1 where one is slower, or where a benchmark errs
    gate.py --aa 6 [--bench PATTERN]        HEAD against a copy of itself, 6 times: rewrites benchmarks/aa.json

Compared are ``track_ratio_*`` (ours / the limit or the peer, in one process) and our ``time_*`` above 2 ms. Left out
are times of peers, which no commit of ours can change, those that are the numerator of a ratio, and `out_of_core`,
which writes 8 GB for each commit. A round is one ``asv continuous --interleave-rounds``, some 24 minutes on two cores.
What it allows is not guessed: with the ratios r of rounds in which both commits were the same code,

    allowed(benchmark) = max(1.2, 1.1 max(r, 1/r))           1.3 where there are none yet

and a benchmark whose code alone moves it by more than 1.36 is shown, not judged. Suspects, whose median ratio is above
what is allowed, are measured again, up to three times; one fails if the median of all its rounds is still above. A
benchmark that errs in HEAD fails, in BASE it does not matter.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "benchmarks" / "aa.json", ROOT / "docs" / "measured" / "gate.md"
RESULTS, MACHINE = ROOT / ".asv" / "results", "gate"
BENCH = r"^(?!out_of_core).*(\.track_ratio_|\.time_\w+\('fastdistill)"

LEAST, UNKNOWN, ROOM, TOO_NOISY = 1.2, 1.3, 1.1, 1.5
SHORTEST = 2e-3  # seconds: below, the clock and the caches are what is measured
REPEATS = 3

Value = float | None  # None: the benchmark erred; NaN: it was skipped


class Pair(NamedTuple):
    """A benchmark of both commits in one round."""

    base: Value
    head: Value
    is_time: bool


Round = Mapping[str, Pair]


def ratio(pair: Pair) -> float | None:
    """head / base; None where there is nothing to compare, or less than 2 ms of it."""
    values = (pair.base, pair.head)
    if not all(value is not None and math.isfinite(value) and value > 0 for value in values):
        return None
    base, head = (float(value) for value in values if value is not None)
    return None if pair.is_time and max(base, head) < SHORTEST else head / base


def allowed(name: str, table: Mapping[str, Sequence[float]]) -> float:
    """The largest ratio that the noise of the machine explains."""
    seen = table.get(name)
    return max(LEAST, ROOM * max(max(r, 1 / r) for r in seen)) if seen else UNKNOWN


def slowdowns(rounds: Sequence[Round]) -> dict[str, float]:
    """The median ratio of every benchmark over its rounds."""
    found: dict[str, list[float]] = {}
    for name, pair in itertools.chain.from_iterable(each.items() for each in rounds):
        value = ratio(pair)
        if value is not None:
            found.setdefault(name, []).append(value)
    return {name: median(values) for name, values in found.items()}


def suspects(rounds: Sequence[Round], table: Mapping[str, Sequence[float]]) -> list[str]:
    """Benchmarks slower than noise explains."""
    limits = {name: allowed(name, table) for each in rounds for name in each}
    return [name for name, r in slowdowns(rounds).items() if limits[name] <= TOO_NOISY and r > limits[name]]


def errors(rounds: Sequence[Round]) -> list[str]:
    """Benchmarks that erred in HEAD."""
    return sorted({name for each in rounds for name, pair in each.items() if pair.head is None})


def judged(measure: Callable[[Sequence[str] | None], Round], table: Mapping[str, Sequence[float]]) -> list[Round]:
    """Rounds until none is suspect any more, or the suspects were measured `REPEATS` times more."""
    rounds = [measure(None)]
    for _ in range(REPEATS):
        names = suspects(rounds, table)
        if not names or errors(rounds):
            break
        rounds.append(measure(names))
    return rounds


def report(rounds: Sequence[Round], table: Mapping[str, Sequence[float]]) -> str:
    """A table for reading: what fails first, then by ratio."""
    slow, erred, found = suspects(rounds, table), errors(rounds), slowdowns(rounds)
    lines = ["| benchmark | HEAD / BASE | allowed | rounds | |", "|---|---|---|---|---|"]
    lines += [f"| {name} | – | – | – | **error** |" for name in erred]
    for name in sorted(found, key=lambda name: (name not in slow, -found[name])):
        limit, count = allowed(name, table), sum(name in each for each in rounds)
        word = "**slower**" if name in slow else "too noisy to judge" if limit > TOO_NOISY else ""
        lines.append(f"| {name} | {found[name]:.3f} | {limit:.2f} | {count} | {word} |")
    return "\n".join(lines)


# -- Measuring -------------------------------------------------------------------------------------


def git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


def copy_of_head() -> str:
    """A commit of the same files with another hash."""
    who = {f"GIT_{role}_{key}": "gate" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    command = ["git", "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "the same code"]
    return subprocess.check_output(command, cwd=ROOT, text=True, env={**os.environ, **who}).strip()


def measured(base: str, head: str, pattern: str, names: Sequence[str] | None) -> Round:
    """One round of ``asv continuous``, of some benchmarks or all that match."""
    for commit in (base, head):
        for file in (RESULTS / MACHINE).glob(f"{commit[:8]}-*.json"):
            file.unlink()
    wanted = [pattern] if names is None else sorted(f"^{re.escape(name.removesuffix('()'))}$" for name in names)
    options = itertools.chain.from_iterable(("--bench", each) for each in wanted)
    command = ["asv", "continuous", "--interleave-rounds", "--show-stderr", "--machine", MACHINE, *options, base, head]
    subprocess.run(command, cwd=ROOT, check=False)  # its exit code says "slower" by a factor of its own
    kinds = json.loads((RESULTS / "benchmarks.json").read_text(encoding="utf-8"))
    values = [results_of(commit, kinds) for commit in (base, head)]
    if not any(values):
        sys.exit("No benchmark ran: see the messages of asv above.")
    every = sorted({*values[0], *values[1]})
    found = {name: Pair(values[0].get(name), values[1].get(name), is_time(name, kinds)) for name in every}
    return found if names is None else {name: pair for name, pair in found.items() if name in names}


def is_time(name: str, kinds: dict[str, Any]) -> bool:
    return bool(kinds.get(name.partition("(")[0], {}).get("type") == "time")


def results_of(commit: str, kinds: dict[str, Any]) -> dict[str, Value]:
    """One value for every benchmark and its parameters, as asv stored them."""
    values: dict[str, Value] = {}
    for file in (RESULTS / MACHINE).glob(f"{commit[:8]}-*.json"):
        stored = json.loads(file.read_text(encoding="utf-8"))
        column = stored["result_columns"].index("result")
        for name, row in stored["results"].items():
            parameters = itertools.product(*kinds[name]["params"]) if kinds[name]["params"] else [()]
            numbers = row[column] or itertools.repeat(None)
            for parameter, value in zip(parameters, numbers, strict=False):
                values[f"{name}({', '.join(parameter)})"] = value
    return values


def write_table(rounds: Sequence[Round]) -> None:
    """The ratios of rounds on identical code, into `TABLE`; those of other benchmarks stay."""
    stored = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {"ratios": {}}
    for name in sorted({name for each in rounds for name in each}):
        found = [ratio(each[name]) for each in rounds if name in each]
        stored["ratios"][name] = [round(value, 4) for value in found if value is not None]
    stored["ratios"] = {name: values for name, values in sorted(stored["ratios"].items()) if values}
    where = f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores"
    stored |= {"measured": f"{datetime.date.today().isoformat()}, {where}"}
    TABLE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    lines = ["| benchmark | ratios of identical code | allowed |", "|---|---|---|"]
    for name, seen in stored["ratios"].items():
        limit = allowed(name, stored["ratios"])
        word = f"{limit:.2f}" if limit <= TOO_NOISY else f"{limit:.2f}: not judged"
        lines.append(f"| {name} | {min(seen):.3f} to {max(seen):.3f} in {len(seen)} rounds | {word} |")
    PAGE.write_text("\n".join([*lines, "", f"{stored['measured']}."]) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", metavar="BASE HEAD")
    parser.add_argument("--bench", default=BENCH, metavar="PATTERN", help="regular expression of the benchmarks")
    parser.add_argument("--aa", type=int, metavar="ROUNDS", help="rounds of HEAD against a copy of itself")
    arguments = parser.parse_args(argv)
    if arguments.aa:
        base, head = git("rev-parse", "HEAD"), copy_of_head()
        rounds: list[Round] = []
        for _ in range(arguments.aa):
            rounds.append(measured(base, head, arguments.bench, None))
            write_table(rounds)  # after each, for an hour of work not to be lost
        return 0
    if len(arguments.commits) != 2:
        parser.error("two commits are needed: gate.py $(git merge-base origin/main HEAD) HEAD")
    base, head = (git("rev-parse", commit) for commit in arguments.commits)
    table = json.loads(TABLE.read_text(encoding="utf-8"))["ratios"]
    rounds = judged(lambda names: measured(base, head, arguments.bench, names), table)
    text = report(rounds, table)
    print(text)
    if "GITHUB_STEP_SUMMARY" in os.environ:
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
            summary.write(f"{text}\n")
    return 1 if suspects(rounds, table) or errors(rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
