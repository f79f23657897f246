"""Every target of speed in one run, beside the peer or the limit of the machine: ``python -m benchmarks.report``.

Prints *ours | peer or limit | ratio | target*, after what the figures depend on: versions, BLAS, machine, date. Both
sides of a row run in this process (those of new processes one after another), round by round in turn; that their
answers are equal is tested (``tests/test_comparisons.py``) and tracked by ``track_error`` of the same benchmarks.

    python -m benchmarks.report                  # all rows, about 20 minutes
    python -m benchmarks.report --only 4 16 21   # some of them, by the number in the first column
    python -m benchmarks.report --readme         # a row for each kind of work, into the table of README.md
    python -m benchmarks.report --docs           # all rows, into the page Performance of the documentation

A row whose ratio is above its target is marked. Ratios move by some percent between runs, and by more on a machine that
does other work: a row counts once several runs say the same.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import platform
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import latency, limits, out_of_core, processes, selection_limits, sgd_limits, solver_limits

ROOT = Path(__file__).parents[1]
README, TARGETS = ROOT / "README.md", ROOT / "docs" / "measured" / "targets.md"
TABLE = re.compile(r"(?<=<!-- begin: python -m benchmarks.report --readme -->\n).*?(?=<!-- end -->)", re.DOTALL)


class Row(NamedTuple):
    number: int  # rows of one number are one piece of work at several sizes
    work: str
    peer: str
    target: float  # largest ratio, or seconds of a new process
    benchmark: Callable[[], Any]
    method: str
    parameters: tuple[Any, ...] = ()
    in_readme: bool = False


EIGH, RIDGE, KERNEL_RIDGE, STREAM = "one `eigh(K)`", "`Ridge.fit`", "`KernelRidge.fit`", "`X.sum()`"
RIDGE_CV, HIMALAYA, SMALL_EIGH = "`RidgeCV`", "himalaya's `KernelRidgeCV`, 5 folds", "`eigh` of 8 × 8"
SHAPES = {
    "2000x100": "2000 × 100",
    "2000x100x300": "2000 × 100, 300 targets",
    "300x20000": "300 × 20 000",
    "100000x50": "100 000 × 50",
    "80x8": "80 × 8",
}
SPARSE = {"sparse": "CSR 5000 × 2000, 1 %", "one_hot": "one-hot 4000 × 1000"}
ONE_TARGET = {"200x8": ("200 × 8", 1.0), "2000x100": ("2000 × 100", 0.2), "100000x50": ("100 000 × 50", 0.05)}
ONE_TARGET |= {"300x20000": ("300 × 20 000", 1.0), "80x8": ("80 × 8", 1.0)}
STREAMS = {"100000x100": 1.3, "20000x784": 1.7, "100000x20": 2.5, "60x7": 2.5}

ROWS = (
    Row(
        1, "kernel n = 2000: filters, fits, dof, GCV of 50 penalties × 20 steps", EIGH, 1.1,
        limits.KernelPath, "track_ratio_eigh", (1,), in_readme=True,
    ),
    Row(
        1, "the same without eigenvectors: fits and GCV", EIGH, 0.5,
        solver_limits.TridiagonalSweep, "track_ratio_limit",
    ),
    Row(
        2, "and exact leave-one-out of every penalty and step", EIGH, 1.5,
        limits.KernelLeaveOneOut, "track_ratio_eigh", (1,), in_readme=True,
    ),
    Row(
        4, "100 000 × 50: 50 penalties, two weights tuned by exact leave-one-out", "`RidgeCV`, no weights", 0.02,
        limits.TuneLeaveOneOut, "track_ratio_ridge_cv", (1,), in_readme=True,
    ),
    *(
        Row(5, f"SGD epoch, {shape}", STREAM, STREAMS[shape], sgd_limits.Epoch, "track_ratio_stream", (shape,))
        for shape in sgd_limits.SHAPES
    ),
    *(
        Row(6, f"the same with a teacher, {shape}", "without", 1.05, sgd_limits.Epoch, "track_ratio_teacher", (shape,))
        for shape in sgd_limits.SHAPES
    ),
    *(
        Row(
            7, f"ten epochs with a teacher, {shape}", "`SGDRegressor`", 0.25,
            sgd_limits.Epoch, "track_ratio_sklearn", (shape,), in_readme=shape == sgd_limits.SHAPES[0],
        )
        for shape in sgd_limits.SHAPES
    ),
    *(
        Row(
            8, f"32 {kind} in one pass, {threads} thread{'s' * (threads > 1)}", STREAM, 12.0 if threads == 1 else 7.0,
            sgd_limits.Configurations, "track_ratio_stream", (threads, kind),
        )
        for kind in ("weights", "steps")
        for threads in (1, 2)
    ),
    Row(9, "softmax epoch, 10 000 × 784 × 10, batches of 10", STREAM, 5.0, sgd_limits.Softmax, "track_ratio_stream"),
    Row(
        10, "CSR 200 000 × 10 000, 1 %: epochs with a teacher", "`SGDRegressor`", 0.33,
        sgd_limits.Sparse, "track_ratio_sklearn", in_readme=True,
    ),
    Row(
        11, "one problem of 100 000 (64 × 8, three steps), two threads", RIDGE, 0.01,
        limits.ManyProblems, "track_ratio_ridge", (2,), in_readme=True,
    ),
    Row(12, "`import fastdistill` after numpy", "", 0.05, processes.Import, "track_import_beyond_numpy"),
    Row(
        13, "first fit of a process, warm cache, beyond the second", "", 0.5,
        processes.FirstFit, "track_first_fit_beyond_second",
    ),
    Row(14, "everything compiled", "", 60.0, processes.ColdCompile, "track_warmup"),
    Row(
        15, "sums of 10 million × 100 from a memory map", "`X.T @ X` in blocks", 1.3,
        out_of_core.MemoryMap, "track_ratio_gram",
    ),
    *(
        Row(
            16, f"kernel ridge, three steps, n = {n}", KERNEL_RIDGE, 1.0,
            solver_limits.KernelFit, "track_ratio_points", (n,), in_readme=n == solver_limits.SAMPLES[-1],
        )
        for n in solver_limits.SAMPLES
    ),
    *(
        Row(
            16, f"the same of a kernel matrix, n = {n}", KERNEL_RIDGE, 1.0,
            solver_limits.KernelFit, "track_ratio_matrix", (n,),
        )
        for n in solver_limits.SAMPLES
    ),
    *(
        Row(
            17, f"ridge, one step, {SHAPES[shape]}", RIDGE, 1.2,
            solver_limits.DesignFit, "track_ratio_ridge", (shape,), in_readme=shape == solver_limits.SHAPES[0],
        )
        for shape in solver_limits.SHAPES
    ),
    *(
        Row(
            18, f"ridge, one step, {SPARSE[kind]}", "`Ridge(tol=1e-10).fit`", 2.0,
            solver_limits.SparseFit, "track_ratio_ridge", (kind,),
        )
        for kind in SPARSE
    ),
    Row(
        19, "CSR 5000 × 20 000, 0.2 %: 20 penalties × 3 students at 1e-8", "one `Ridge(tol=1e-8).fit`", 3.0,
        solver_limits.SparseSweep, "track_ratio_ridge", in_readme=True,
    ),
    *(
        Row(
            20, f"tuned ridge, 20 penalties, {m} targets", RIDGE_CV, 1.0,
            selection_limits.ManyTargets, "track_ratio_together", (m,), in_readme=m == selection_limits.TARGETS[-1],
        )
        for m in selection_limits.TARGETS
    ),
    *(
        Row(
            20, f"a penalty for each of {m} targets", RIDGE_CV, 1.5,
            selection_limits.ManyTargets, "track_ratio_each", (m,),
        )
        for m in selection_limits.TARGETS
    ),
    *(
        Row(
            21, f"tuned ridge, 20 penalties, {ONE_TARGET[shape][0]}", RIDGE_CV, ONE_TARGET[shape][1],
            selection_limits.OneTarget, "track_ratio_ridge_cv", (shape,),
        )
        for shape in selection_limits.ONE_TARGET
    ),
    Row(
        22, "kernel ridge, n = 1000, a penalty for each of 100 targets", HIMALAYA, 0.3,
        selection_limits.KernelTargets, "track_ratio_left_out", in_readme=True,
    ),
    Row(22, "the same by the same folds", HIMALAYA, 1.0, selection_limits.KernelTargets, "track_ratio_folds"),
    Row(23, "64 × 8: design, path of three steps, coefficients", SMALL_EIGH, 7.0, latency.Path, "track_ratio_eigh"),
    Row(23, "64 × 8: `DistilledRidge().fit`", RIDGE, 1.0, latency.Fit, "track_ratio_ridge", in_readme=True),
    Row(23, "64 × 8: one epoch of `run_sgd`", SMALL_EIGH, 18.0, latency.Epoch, "track_ratio_eigh"),
    Row(
        24, "kernel n = 2000: ten folds of 50 penalties × three steps, without refits", EIGH, 2.0,
        limits.KernelFolds, "track_ratio_eigh", (1,),
    ),
    *(
        Row(25, f"first `{call}` of a process, cold cache", "", target, processes.FirstCall, "track_cold", (call,))
        for call, target in (("DistilledRidgeCV", 4.0), ("run_sgd_softmax", 5.0))
    ),
)  # fmt: skip


def measure(row: Row) -> float | str:
    """The ratio, or seconds, of a row; why it cannot be measured here."""
    benchmark = row.benchmark()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        # as asv does: in a folder of its own, with what the benchmark prepares once for all of its methods
        prepared = (benchmark.setup_cache(),) if hasattr(benchmark, "setup_cache") else ()
        try:
            benchmark.setup(*prepared, *row.parameters)
            value: float = getattr(benchmark, row.method)(*prepared, *row.parameters)
        except NotImplementedError as err:  # by this asv knows that a benchmark is to be skipped
            return str(err)
        getattr(benchmark, "teardown", lambda *_: None)(*prepared, *row.parameters)
    return value


def line(row: Row, value: float | str) -> str:
    """One row of the table."""
    unit = "" if row.peer else " s"
    ours = limit = ratio = ""
    if isinstance(value, limits.Ratio):
        ours, limit, ratio = _seconds(value.ours), f"{_seconds(value.limit)}, {row.peer}", f"{value:.2g}"
    elif isinstance(value, str):
        ratio = "not measured"
    elif row.peer:
        limit, ratio = row.peer, f"{value:.2g}"
    else:
        ours = _seconds(value)
    missed = not isinstance(value, str) and value > row.target
    return (
        f"| {row.number} | {row.work} | {ours} | {limit} | {ratio} | ≤ {row.target:g}{unit}{' **missed**' * missed} |"
    )


def _seconds(value: float) -> str:
    unit, size = ("s", 1.0) if value >= 1.0 else ("ms", 1e-3) if value >= 1e-3 else ("µs", 1e-6)
    return f"{value / size:.3g} {unit}"


HEAD = "| # | work | ours | peer or limit | ratio | target |\n|---|---|---|---|---|---|\n"


def conditions() -> str:
    """What the figures depend on."""
    from fastdistill.cli import main as command

    command(["info"])
    return f"{datetime.date.today().isoformat()}, {platform.machine()}, {_processor()}, {platform.system()}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="the rows of these numbers")
    parser.add_argument("--readme", action="store_true", help="only the short table of README.md, which is rewritten")
    parser.add_argument("--docs", action="store_true", help=f"rewrite {TARGETS.relative_to(ROOT)} with all rows")
    arguments = parser.parse_args(argv)
    if bool(arguments.only) + arguments.readme + arguments.docs > 1:
        parser.error("--only, --readme and --docs exclude each other")
    if arguments.readme and not TABLE.search(README.read_text(encoding="utf-8")):
        parser.error("README.md has no lines '<!-- begin: python -m benchmarks.report --readme -->' and '<!-- end -->'")
    where = conditions()
    print(f"{where}\n\n{HEAD}", end="")
    lines = []
    for row in ROWS:
        if (row.in_readme or not arguments.readme) and (arguments.only is None or row.number in arguments.only):
            lines.append(line(row, measure(row)))
            print(lines[-1], flush=True)
    table = HEAD + "\n".join(lines) + f"\n\n{where}.\n"
    if arguments.readme:
        README.write_text(TABLE.sub(lambda _: table, README.read_text(encoding="utf-8")), encoding="utf-8")
    if arguments.docs:
        TARGETS.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
