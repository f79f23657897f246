"""The command line: ``fastdistill diagnose | reproduce | warmup | info``.

======================  ==================================================================================
command                 what it does
======================  ==================================================================================
``diagnose``            a table:    ridge beside its students, the spectrum, a verdict; one HTML page
``reproduce``           papers reproduced: tables on the screen, CSV, PNG and one HTML page in a folder
``warmup``              every kernel that the public functions use, compiled into numba's cache on disk
``info``                versions, threads, cache: what a bug report needs
======================  ==================================================================================

Exit codes: 0 success; 2 bad input, with one line ``error: ...`` on stderr; 130 interrupted, by Ctrl-C or by SIGTERM, as
schedulers send it. A new command is one entry in `COMMANDS`, a new paper one entry in `fastdistill.reproduce.PAPERS`.
Cost of importing this module: argparse; whatever is heavier is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import fastdistill as fd
from fastdistill import reproduce

INFO_PACKAGES = ("numpy", "scipy", "numba", "scikit-learn", "matplotlib")
EXTRAS = {"sklearn": ("scikit-learn", "all"), "matplotlib": ("matplotlib", "all"), "pyarrow": ("pyarrow", "parquet")}
BAD_INPUT, INTERRUPTED = 2, 130


class UsageError(Exception):
    """A command line that cannot be understood."""


class Parser(argparse.ArgumentParser):
    """argparse with errors that are raised, so that every error is reported alike: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class Command(NamedTuple):
    """One subcommand."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> from fastdistill.cli import main
    >>> main(["reproduce", "nothing"])  # says why in one line on stderr
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Greek letters shows question marks instead
            stream.reconfigure(errors="replace")
    if argv is None:  # what Ctrl-C leaves in order, SIGTERM does too
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        code = _failed("interrupted", INTERRUPTED)
        if argv is None:  # after an interrupt inside exec(), as numba and namedtuple use it, Python would not exit so
            os._exit(code)
        return code
    except BrokenPipeError:  # the reader of a pipe has gone; what is left in the buffer must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as err:
        if err.name not in EXTRAS:
            raise
        package, extra = EXTRAS[err.name]
        what = "reading Parquet" if extra == "parquet" else "this command"
        return _failed(f"{what} needs {package}; install it with: pip install 'fastdistill[{extra}]'")
    except (UsageError, reproduce.InputError, OSError) as err:
        return _failed(str(err))
    except MemoryError as err:
        return _failed(f"not enough memory: {err}")


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse leaves this way after --help and --version
        return int(stop.code or 0)
    _restore_dashes(arguments)
    COMMANDS[arguments.command].run(arguments)
    return 0


def _restore_dashes(arguments: argparse.Namespace) -> None:
    """Undo what argparse does to ``--missing=--`` up to Python 3.12: the two dashes become an empty list."""
    for name, value in vars(arguments).items():
        if name in {"drop", "missing"}:
            setattr(arguments, name, ["--" if part == [] else part for part in value])
        elif value == []:
            raise UsageError(f"--{name} needs a value, got '--'")


def _failed(message: str, code: int = BAD_INPUT) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fastdistill",
        description="Exact self-distillation of ridge and kernel models.",
        epilog="Each command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"fastdistill {fd.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.summary, description=command.summary)
        command.add_arguments(added)
    return parser


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _warmup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="part",
        choices=[*WARMUP_PARTS, "all"],
        default="all",
        help="ridge: spectra, paths, tuning, batches and their estimators; sgd: run_sgd and its estimators "
        "(default: %(default)s)",
    )


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Only linear models are compared: for a curved relation see DistilledKernelRidgeCV in Python.\n"
        "Columns are standardised and ridge is tuned by exact leave-one-out over 40 penalties from 1e-4 to 1e5.\n"
        "Missing are empty cells, NA, N/A, NaN, NaT, null, None and ?. Columns more than half missing are left out,\n"
        "and so are rows with a gap, up to a fifth of them; beyond, gaps are filled with medians. Text of up to 10\n"
        "levels becomes 0/1 columns, other text is left out. Whatever is done is said.\n\n"
        "Whether . and , mark decimals or group thousands is decided for each column, by all of its cells: first by\n"
        "the only reading that fits them all (0.567, 1.5 and 1234.567 have decimals, 1.234.567 and 1.234,5 have\n"
        "groups), then by the only one that a writer of numbers makes (beside 850, 1.050 has no decimals: they would\n"
        "not end in 0; beside 12500, 1.055 has no groups), then by other columns, with a note. Where nothing tells,\n"
        "the column is refused, and --decimal or --thousands tells. Spaces and apostrophes group thousands; currency\n"
        "signs, %, typographic minus signs and (1.5) for -1.5 are understood."
    )
    parser.add_argument(
        "file",
        type=_path,
        metavar="FILE",
        help="a table with names in its first line: CSV or TSV in UTF-8, also .gz; or Parquet (needs pyarrow)",
    )
    parser.add_argument("--target", required=True, metavar="NAME", help="the column to predict")
    parser.add_argument("--weight", metavar="NAME", help="the column with the weights of the rows, at least 0")
    parser.add_argument("--steps", type=_positive, default=2, metavar="K", help="most steps (default: %(default)s)")
    parser.add_argument(
        "--drop", action="append", default=[], metavar="NAME", help="a column to leave unread; repeatable"
    )
    parser.add_argument("--missing", action="append", default=[], metavar="MARK", help="a mark of missing values, too")
    parser.add_argument("--delimiter", type=_delimiter, metavar="CHAR", help="separator; by default found in the file")
    parser.add_argument("--decimal", choices=[".", ","], help="decimal mark; by default found for each column")
    parser.add_argument(
        "--thousands",
        type=_thousands,
        metavar="MARK",
        help="mark between thousands: . or , or ' or space; by default found for each column",
    )
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("fastdistill-diagnosis"),
        metavar="DIR",
        help="folder for HTML, CSV and PNG; made if missing (default: %(default)s)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, got {text!r}")
    return int(text)


def _delimiter(text: str) -> str:
    text = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(text) != 1 or text in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"one character (or tab, or space) is needed, got {text!r}")
    return text


def _thousands(text: str) -> str:
    text = {"space": " "}.get(text, text)
    if text not in {".", ",", " ", "'", "’"}:
        raise argparse.ArgumentTypeError(f". or , or ' or space is needed, got {text!r}")
    return text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"a path is needed, got {text!r}")
    return Path(text)


def _diagnose(arguments: argparse.Namespace) -> None:
    from fastdistill.diagnosis import page as diagnosis_page
    from fastdistill.diagnosis import table
    from fastdistill.diagnosis.diagnosis import diagnose_columns
    from fastdistill.diagnosis.read_table import read_table

    if arguments.target in arguments.drop:
        raise UsageError(f"{arguments.target!r} is the target, and to be dropped; name another target")
    if arguments.weight in (arguments.target, *arguments.drop):
        use = "the target" if arguments.weight == arguments.target else "to be dropped"
        raise UsageError(f"{arguments.weight!r} is {use}, and cannot hold the weights; name another column")
    try:
        columns, notes = read_table(
            arguments.file,
            delimiter=arguments.delimiter,
            missing=arguments.missing,
            decimal=arguments.decimal,
            thousands=arguments.thousands,
            drop=arguments.drop,
        )
        target, columns = table.take(columns, arguments.target)
        weight = None
        if arguments.weight is not None:
            given, columns = table.take(columns, arguments.weight, "hold the weights")
            weight = table.weights_of(given)
            notes = [*notes, f"Rows are weighted by {arguments.weight!r}."]
        found = diagnose_columns(columns, target, n_steps=arguments.steps, sample_weight=weight, notes=notes)
    except (ValueError, ArithmeticError) as err:
        raise reproduce.InputError(str(err)) from None
    page = diagnosis_page.write(found, arguments.out)
    print(found)
    print(f"\nWrote {page} and, beside it, every table and picture as CSV and PNG.")


def _reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    papers = "\n".join(f"  {name:10}{paper.summary}" for name, paper in reproduce.PAPERS.items())
    parser.epilog = (
        f"papers:\n{papers}\n  {'all':10}every one of them, on one page\n\n"
        "Without --data DIR the protocols of pareek, dang, safaryan and networks run on data that scikit-learn\n"
        "bundles. The files wanted in DIR: air_quality.csv, airfoil_self_noise.csv, appliances_energy.csv (pareek),\n"
        "air_quality.csv, communities_crime.csv (dang); UCI data sets 360, 291, 374, 183; and\n"
        "mnist_10k_images.idx3.gz, mnist_10k_labels.idx1.gz (safaryan, networks), the test part of MNIST, also under\n"
        "its original names t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz."
    )
    parser.add_argument("paper", choices=[*reproduce.PAPERS, "all"], metavar="paper", help="see below, or all")
    parser.add_argument(
        "--data", type=_path, metavar="DIR", help="folder of the UCI data sets as CSV files, and of MNIST"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="first fetch the files missing in DIR from the UCI repository, MNIST from a mirror",
    )
    parser.add_argument(
        "--full", action="store_true", help="networks of the published sizes, an hour or two; small ones by default"
    )
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("fastdistill-report"),
        metavar="DIR",
        help="folder for CSV, PNG and HTML; made if missing (default: %(default)s)",
    )


def _reproduce(arguments: argparse.Namespace) -> None:
    names = list(reproduce.PAPERS) if arguments.paper == "all" else [arguments.paper]
    reports = reproduce.run(names, arguments.out, arguments.data, arguments.download, _stages(), arguments.full)
    for report in reports:
        print(report.as_text())
    page = arguments.out / reproduce.page_name(names)
    print(f"Wrote {page} and, beside it, every table and picture as CSV and PNG.")


def _stages() -> Callable[[str], None]:
    """A printer of stages with the seconds since the start; silent where stderr is no terminal."""
    start = time.perf_counter()

    def stage(what: str) -> None:
        if sys.stderr.isatty():
            print(f"[{time.perf_counter() - start:5.1f} s] {what}", file=sys.stderr, flush=True)

    return stage


def _warmup(arguments: argparse.Namespace) -> None:
    stage = _stages()
    for what, call in _warmup_calls(arguments.part).items():
        stage(what)
        start = time.perf_counter()
        call()
        print(f"{what:46}{time.perf_counter() - start:8.2f} s", flush=True)
    lines = _compiled_kernels()
    print("\n".join(lines) or "Nothing compiled: numba is switched off by NUMBA_DISABLE_JIT.")
    folder, writable = _cache()
    if lines:
        print(f"Cache: {folder}" if writable else "No writable cache folder: every process will compile anew.")


def _compiled_kernels() -> list[str]:
    """What this process has compiled, or found in the cache."""
    from fastdistill import kernels

    lines = []
    for name in sorted(kernels.__all__):
        kernel = getattr(kernels, name)
        if getattr(kernel, "signatures", None):  # not a constant, and not idle
            origin = "compiled" if kernel.stats.cache_misses else "from the cache"
            lines.append(f"  {name}: {len(kernel.signatures)} signature(s), {origin}")
    return lines


def _warmup_calls(part: str) -> dict[str, Callable[[], Any]]:
    """Small calls of the public functions that together run every kernel of a part with the types they use."""
    calls = {"loading the compiler": lambda: fd.kernels}
    for name in WARMUP_PARTS if part == "all" else [part]:
        calls |= WARMUP_PARTS[name]()
    return calls


def _ridge_calls() -> dict[str, Callable[[], Any]]:
    import numpy as np

    X, y = np.array(WARMUP_X), np.array(WARMUP_Y)

    def students(spectrum: Any) -> None:
        path = spectrum.path(y, [0.1, 1.0], 0.5, n_steps=2)
        _ = path.filters, path.gcv, path.loo, path.predict(X @ X.T if spectrum.is_kernel else X)
        _ = spectrum.limit(y, 1.0, 0.5).fitted

    def near_interpolation() -> None:
        _ = fd.Spectrum.from_kernel(np.eye(4), solver="eigh").path(y, 1e-9, [1.0]).loo

    def tridiagonal() -> None:
        path = fd.Spectrum.from_kernel(X @ X.T + np.eye(4), solver="tridiagonal").path(y, [0.1, 1.0], [0.5])
        _ = path.fitted, path.gcv

    def two_stages() -> None:
        from fastdistill.spectral.decompositions.reduction import TwoStage

        TwoStage(np.eye(4, order="F")).rotate(X.T)

    def tuned() -> None:
        for criterion in ("loo", "gcv", fd.Holdout(X, y[::-1])):
            for strategy in ("safe", "joint"):
                fd.tune(fd.Spectrum.from_design(X), y, [0.1, 1.0], 2, criterion=criterion, strategy=strategy)

    def weighed() -> None:
        from fastdistill.selection.evidence import weigh_each

        weigh_each(np.array([2.0, 1.0]), X.T, np.ones(4), 9, np.ones(4), np.ones(1))

    def tall() -> None:
        """With an array for each of the matrices: those of a design of over a million entries have the same types.

        The design is read-only, of rows side by side, of columns side by side, or of some columns of another array.
        """
        square, pair, six = np.eye(2), np.zeros((1, 2, 6)), np.ones((1, 1, 6))
        first = np.zeros((2, 4))  # two columns of B, one of a direction, one of the targets
        for design in (X.copy(), np.asfortranarray(X), np.hstack([X, X])[:, :2]):
            design.flags.writeable = False
            fd.kernels.add_centred_products(design, X[0], square.copy(), np.zeros(2))
            samples, matrices = (design, y, X[0]), (square, square, square, pair, pair)
            fd.kernels.two_pure_steps(*samples, *matrices, np.zeros((2, 7)), np.zeros((2, 11)))
            fd.kernels.ridge_residuals(*samples, first, square, six, six, 1.0, np.zeros((2, 4)), np.zeros(2))

    return {
        "filters (multistep_filter)": lambda: fd.multistep_filter([3.0, 1.0], np.linspace(1.0, 2.0, 20), [1.0, 0.5]),
        "students of a design (Spectrum.path, limit)": lambda: students(fd.Spectrum.from_design(X)),
        "students of a kernel (Spectrum.path, limit)": lambda: students(fd.Spectrum.from_kernel(X @ X.T)),
        "rounds (Spectrum.tolerance_path)": lambda: fd.Spectrum.from_kernel(np.eye(4)).tolerance_path(y, 0.1),
        "mixtures (mixture_from_xi, xi_from_mixture)": lambda: fd.xi_from_mixture(fd.mixture_from_xi([0.5, 2.0])),
        "weights (tune)": tuned,
        "leave-one-out of tall designs (tune)": tall,
        "evidence of each target (DistilledRidgeCV)": weighed,
        "leverages near one (Spectrum.path)": near_interpolation,
        "tridiagonal form (Spectrum.path)": tridiagonal,
        "tridiagonal form of large kernels (Spectrum.path)": two_stages,
        "many small problems (batched_path)": lambda: fd.batched_path(X[None], y[None], 1.0, [1.0, 0.5]),
    }


def _sgd_calls() -> dict[str, Callable[[], Any]]:
    import numpy as np
    from scipy.sparse import csr_array

    y = np.array(WARMUP_Y)

    def descents() -> None:
        for dtype in (np.float64, np.float32):
            dense = np.array(WARMUP_X, dtype)
            wide = csr_array(dense)
            wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
            for data in (dense, csr_array(dense)):
                fd.run_sgd(data, y, step_size=0.1, n_epochs=1, variant="svrg")
                fd.run_sgd(data, y, step_size=0.1, n_epochs=1, batch_size=2, teacher=np.ones(2))
                fd.run_sgd(data, y, step_size=0.1, n_epochs=0, teacher=fd.TeacherOutputs(y), variant="kd_unbiased")
            fd.run_sgd(dense, y, step_size=[0.1, 0.2, 0.3, 0.4], n_epochs=1)
            fd.run_sgd(dense, y, step_size=0.1, n_epochs=1, compressor=fd.TopK(1))
            fd.run_sgd(wide, y, step_size=0.1, n_epochs=0)

    return {"stochastic gradient descent (run_sgd)": descents}


WARMUP_X = [[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, -1.0]]
WARMUP_Y = [1.0, -1.0, 0.5, 2.0]
WARMUP_PARTS = {"ridge": _ridge_calls, "sgd": _sgd_calls}


def _info(arguments: argparse.Namespace) -> None:
    from importlib.metadata import PackageNotFoundError, version

    print(f"fastdistill   {fd.__version__}")
    print(f"python        {sys.version.split()[0]} ({sys.platform})")
    for name in INFO_PACKAGES:
        try:
            print(f"{name:14}{version(name)}")
        except PackageNotFoundError:
            print(f"{name:14}not installed")
    for line in _blas_threads():
        print(f"blas          {line}")
    folder, writable = _cache()
    print(f"cache         {folder or 'none'} ({'writable' if writable else 'not writable'})")


def _blas_threads() -> list[str]:
    try:
        from threadpoolctl import threadpool_info
    except ModuleNotFoundError:
        return ["threads unknown (threadpoolctl is not installed)"]
    import numpy as np
    import scipy.linalg

    scipy.linalg.eigh(np.eye(2))  # both libraries load their BLAS
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} thread(s)" for pool in pools]


def _cache() -> tuple[str | None, bool]:
    """The folder of compiled kernels, and whether it can be written to; None without a cache or without a compiler."""
    from fastdistill import kernels

    folder = getattr(getattr(kernels.multistep_filter, "stats", None), "cache_path", None)
    if folder is None:
        return None, False
    existing = Path(folder)
    while not existing.exists():
        existing = existing.parent
    return folder, os.access(existing, os.W_OK)


COMMANDS = {
    "diagnose": Command("tell from a table whether distillation would help", _diagnose_arguments, _diagnose),
    "reproduce": Command("reproduce published tables and figures", _reproduce_arguments, _reproduce),
    "warmup": Command("compile kernels into the cache, so that no later run has to", _warmup_arguments, _warmup),
    "info": Command("versions, threads and the cache folder", _no_arguments, _info),
}
