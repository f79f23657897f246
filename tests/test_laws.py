"""The laws of the house, read off the syntax trees: who may import whom, and what a kernel may do.

Rooms and the rooms beneath them, at run time (imports under ``TYPE_CHECKING`` are free)::

    kernels ← students ← path ← spectrum ← tuning ← estimators ← plot, reproduce, cli
    tuning ← verdict ← estimators, diagnosis;   table ← diagnosis ← diagnosis_page ← cli
    cells ← columns ← table ← read_table ← cli
    operators, solved ← krylov, conjugate_gradients
    mixtures, evidence, paired ← tuning;   leave_one_out, gaussian_process ← path;   theory ← estimators, reproduce
    linear_losses ← sgd ← estimators;   linear_losses ← theory, deep_linear;   spectrum ← distributed, batch

Every checker takes sources and returns violations as strings, so that it can be tested on planted ones.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastdistill"

MAX_FILE_LINES = 600
MAX_KERNEL_LINES = 60
MAX_KERNEL_ARGUMENTS = 10

THIRD_PARTY = {
    "sklearn": {"estimators", "reproduce", "plot", "_status"},  # the last for the base of one warning, when it is used
    "matplotlib": {"plot", "reproduce"},
    "dask": {"distributed"},
    "pyarrow": {"read_table"},
}

GATE = {"_validation", "_status"}
BASE = {*GATE, "kernels", "students", "leave_one_out", "gaussian_process"}
CORE = {*BASE, "_decompose", "path", "spectrum", "mixtures", "evidence", "paired", "tuning", "verdict", "sgd"}
CORE |= {"theory", "linear_losses", "deep_linear", "_centre", "_graded"}
CORE |= {"solved", "operators", "krylov", "conjugate_gradients"}
TABLES = {"cells", "columns", "table", "read_table"}
TOP = {*CORE, *TABLES, "estimators", "diagnosis", "plot", ""}  # "" is the package itself: its public names
BENEATH: dict[str, set[str]] = {
    "": set(),
    "_validation": set(),
    "_status": set(),
    "_centre": set(),
    "_graded": set(),
    "solved": set(),
    "operators": {"_centre"},
    "krylov": {"kernels", "operators", "solved"},
    "conjugate_gradients": {"operators", "solved"},
    "_decompose": {*GATE, "_centre", "_graded"},
    "kernels": set(),
    "students": {*GATE, "kernels"},
    "leave_one_out": {*GATE, "kernels", "students"},
    "gaussian_process": {*GATE, "kernels"},
    "path": BASE,
    "spectrum": {*BASE, "_centre", "_decompose", "path"},
    "evidence": GATE,
    "mixtures": {*GATE, "kernels"},
    "batch": {*BASE, "spectrum"},
    "paired": {*BASE, "path", "spectrum"},
    "tuning": {*BASE, "path", "spectrum", "mixtures", "evidence", "paired"},
    "verdict": {*BASE, "path", "spectrum", "evidence", "paired", "tuning"},
    "cells": GATE,
    "columns": {*GATE, "cells"},
    "table": {*GATE, "cells", "columns"},
    "read_table": {*GATE, "cells", "columns", "table"},
    "diagnosis": {*BASE, "path", "spectrum", "evidence", "paired", "tuning", "verdict", "table"},
    "diagnosis_page": {"diagnosis", "table", "reproduce"},
    "linear_losses": GATE,
    "deep_linear": {*GATE, "linear_losses"},
    "sgd": {*GATE, "kernels", "linear_losses"},
    "theory": {*GATE, "kernels", "path", "sgd", "linear_losses"},
    "estimators": CORE,
    "distributed": {*CORE, ""},
    "plot": TOP - {"plot"},
    "reproduce": TOP - GATE - {"_centre", "_decompose", "_graded"},
    "cli": {*TOP, "diagnosis_page", "reproduce"},
    "__main__": {"cli"},
}


def room_of(path: str) -> str:
    """'fastdistill/theory/hilbert.py' -> 'theory'; the package's own __init__ is ''."""
    parts = Path(path).with_suffix("").parts[1:]
    return "" if parts == ("__init__",) else parts[0]


parsed = cache(ast.parse)


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node except those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for node in child.orelse:
                yield node
                yield from run_time_nodes(node)
            continue
        yield child
        yield from run_time_nodes(child)


def imports(source: str, path: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported at run time; names imported from the package keep their own name."""
    package = Path(path).parent.parts
    for node in run_time_nodes(parsed(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, str(arg.value)) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def layer_violations(source: str, path: str) -> list[str]:
    """Third-party libraries and rooms imported where they may not be."""
    room, found = room_of(path), []
    for line, name in imports(source, path):
        top, *rest = name.split(".")
        if room not in THIRD_PARTY.get(top, {room}):
            found.append(f"{path}:{line}: {top} may only be imported in {', '.join(sorted(THIRD_PARTY[top]))}")
        if top == "fastdistill":
            target = rest[0] if rest and rest[0] in BENEATH else ""
            if target not in {room, *BENEATH[room]}:
                found.append(f"{path}:{line}: {room} may not import {target or 'the package itself'}")
    return found


KERNEL_TOOLS = ("fastdistill.kernels._compile.", "fastdistill.kernels._intrinsics.")


def kernel_import_violations(source: str, path: str) -> list[str]:
    """Kernels import numpy, numba, the one compiler decorator and the intrinsics, nothing else."""
    if room_of(path) != "kernels" or path.endswith("_compile.py"):
        return []
    own_tools = ["collections", "functools", "llvmlite", "typing"] if path.endswith("_intrinsics.py") else []
    allowed = {"numpy", "numba", "__future__", *own_tools}
    own = ("fastdistill.kernels.",) if path.endswith("__init__.py") else KERNEL_TOOLS
    return [
        f"{path}:{line}: a kernel module may not import {name}"
        for line, name in imports(source, path)
        if name.split(".")[0] not in allowed and not name.startswith(own)
    ]


def private_use_violations(source: str, path: str) -> list[str]:
    """`reproduce` is the first user: no private module, name or attribute of the rooms beneath."""
    if room_of(path) != "reproduce":
        return []
    used = [
        (line, name)
        for line, name in imports(source, path)
        if name.startswith("fastdistill.") and not name.startswith("fastdistill.reproduce.")
    ]
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in {"self", "cls"}:
            used.append((node.lineno, ast.unparse(node)))
    return [f"{path}:{line}: {name} is private" for line, name in used if any(map(is_private, name.split(".")))]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


COMPILERS = {"jit", "jit_sums", "njit", "intrinsic", "register_jitable"}
FORBIDDEN = {"guvectorize", "vectorize", "jitclass"}  # compiled code the disk cache cannot hold; named to be refused
BUILTINS = {
    "abs",
    "bool",
    "complex",
    "enumerate",
    "float",
    "int",
    "len",
    "max",
    "min",
    "range",
    "round",
    "slice",
    "zip",
}


def is_compiled(function: ast.AST) -> bool:
    """Whether a function carries one of numba's decorators or ours."""
    if not isinstance(function, ast.FunctionDef):
        return False
    names = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(ast.unparse(name).split(".")[-1] in COMPILERS for name in names)


def compiled_code_violations(source: str, path: str) -> list[str]:
    """Compiled functions call NumPy, builtins, intrinsics and compiled functions of their own file; small and exact."""
    tree = parsed(source)
    top = [node for node in tree.body if is_compiled(node)]
    callable_names = BUILTINS | {node.name for node in top if isinstance(node, ast.FunctionDef)}
    callable_names |= {name.split(".")[-1] for _, name in imports(source, path) if name.startswith(KERNEL_TOOLS[1])}
    found = []
    for node in ast.walk(tree):
        names = [getattr(node, field, None) for field in ("id", "attr", "name")]  # of a name, an attribute, an import
        for name in FORBIDDEN.intersection(str(name).split(".")[-1] for name in names):
            found.append(f"{path}:{getattr(node, 'lineno', 0)}: {name} defeats the disk cache")
        if isinstance(node, ast.keyword) and node.arg == "fastmath" and not is_harmless(node.value):
            found.append(f"{path}:{node.value.lineno}: fastmath may be at most {{'contract', 'reassoc'}}")
        if isinstance(node, ast.FunctionDef) and is_compiled(node):
            where = f"{path}:{node.lineno}: {node.name}"
            if node not in top:
                found.append(f"{where} is a closure; compiled functions stand at the top of their file")
            found.extend(call_violations(node, callable_names, path))
            if room_of(path) == "kernels":
                found.extend(size_violations(node, where))
    return found


def is_harmless(fastmath: ast.AST) -> bool:
    if isinstance(fastmath, ast.Constant):
        return fastmath.value is False
    return isinstance(fastmath, ast.Set) and set(ast.literal_eval(fastmath)) <= {"contract", "reassoc"}


def call_violations(function: ast.FunctionDef, allowed: set[str], path: str) -> list[str]:
    """Calls of anything numba's cache does not see change: other files, arguments, methods of modules but NumPy."""
    arguments = {a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    assigned = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found = []
    for node in ast.walk(ast.Module(body=function.body, type_ignores=[])):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        is_method = isinstance(node.func, ast.Attribute) and root_of(node.func) in {"np", *arguments, *assigned}
        if not is_method and (name not in allowed or name in arguments):
            found.append(f"{path}:{node.lineno}: {function.name} calls {name}, not a compiled function of this file")
    return found


def root_of(node: ast.AST) -> str:
    """The name that an expression starts with: `x` of ``x.sum``, ``x[0].sum``, ``(x < 0).sum`` and ``x.copy().sum``."""
    while not isinstance(node, ast.Name):
        first = next(ast.iter_child_nodes(node), None)
        if first is None:
            return ""
        node = first
    return node.id


def size_violations(function: ast.FunctionDef, where: str) -> list[str]:
    found = []
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    arguments = len(function.args.posonlyargs) + len(function.args.args) + len(function.args.kwonlyargs)
    if lines > MAX_KERNEL_LINES:
        found.append(f"{where} has {lines} lines; a kernel has at most {MAX_KERNEL_LINES}")
    if arguments > MAX_KERNEL_ARGUMENTS:
        found.append(f"{where} has {arguments} arguments; a kernel has at most {MAX_KERNEL_ARGUMENTS}")
    return found


def length_violations(source: str, path: str) -> list[str]:
    lines = source.count("\n")
    return [f"{path}: {lines} lines; a file has at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []


LAWS = [
    layer_violations,
    kernel_import_violations,
    private_use_violations,
    compiled_code_violations,
    length_violations,
]
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
ALL_SOURCES = {
    **SOURCES,
    **{p.relative_to(ROOT).as_posix(): p for f in ("tests", "benchmarks") for p in sorted((ROOT / f).rglob("*.py"))},
}


@pytest.mark.parametrize("path", SOURCES)
@pytest.mark.parametrize("law", LAWS)
def test_the_package_keeps_the_law(law, path):
    assert law(SOURCES[path].read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize("path", ALL_SOURCES)
def test_files_fit_a_reader(path):
    assert length_violations(ALL_SOURCES[path].read_text(encoding="utf-8"), path) == []


def test_every_room_is_known():
    assert {room_of(path) for path in SOURCES} <= set(BENEATH)


HEAD = "import numpy as np\nfrom fastdistill.kernels._compile import jit\n"
# Sources that break a law, each on purpose: strings to be refused, never run.
PLANTED = [
    (layer_violations, "path.py", "import sklearn.linear_model"),
    (layer_violations, "sgd/run.py", "from sklearn.exceptions import ConvergenceWarning"),
    (layer_violations, "sgd/run.py", "from fastdistill.estimators import DistilledRidge"),
    (layer_violations, "sgd/trace.py", "from fastdistill import spectrum"),
    (layer_violations, "kernels/sgd_csr.py", "from fastdistill.sgd import steps"),
    (layer_violations, "_status.py", "import matplotlib"),
    (layer_violations, "tuning.py", "def f():\n    from sklearn import svm"),
    (layer_violations, "tuning.py", "from importlib import import_module\nimport_module('sklearn')"),
    (layer_violations, "estimators/ridge.py", "import matplotlib.pyplot as plt"),
    (layer_violations, "spectrum.py", "import dask.array"),
    (layer_violations, "path.py", "from fastdistill.spectrum import Spectrum"),
    (layer_violations, "path.py", "from fastdistill import spectrum"),
    (layer_violations, "path.py", "import fastdistill as fd"),
    (layer_violations, "path.py", "def f():\n    from .spectrum import Spectrum"),
    (layer_violations, "spectrum.py", "from fastdistill.tuning import tune"),
    (layer_violations, "tuning.py", "from fastdistill.estimators import DistilledRidge"),
    (layer_violations, "theory/hilbert.py", "from ..estimators import ridge"),
    (layer_violations, "kernels/filters.py", "from fastdistill import _validation"),
    (layer_violations, "reproduce/mobahi.py", "import fastdistill.distributed"),
    (layer_violations, "_validation.py", "from fastdistill.path import multistep_filter"),
    (kernel_import_violations, "kernels/filters.py", "import scipy"),
    (kernel_import_violations, "kernels/sgd_dense.py", "from fastdistill.kernels.filters import multistep_filter"),
    (kernel_import_violations, "kernels/__init__.py", "from fastdistill.path import multistep_filter"),
    (kernel_import_violations, "kernels/sgd_dense.py", "from llvmlite import ir"),
    (kernel_import_violations, "kernels/_intrinsics.py", "from fastdistill.kernels.sgd_dense import residual"),
    (compiled_code_violations, "kernels/sgd_csr.py", "@jit_sums\ndef f(d):\n    return prefetch(d, 0)"),
    (
        compiled_code_violations,
        "kernels/sgd_csr.py",
        "from fastdistill.kernels.sgd_dense import residual\n@jit\ndef f(d):\n    return residual(d)",
    ),
    (private_use_violations, "reproduce/borup.py", "from fastdistill import _validation"),
    (private_use_violations, "reproduce/borup.py", "from fastdistill.path import _grid"),
    (private_use_violations, "reproduce/borup.py", "d = spectrum._d"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return helper(d)"),
    (compiled_code_violations, "kernels/filters.py", "def g(d): ...\n@jit\ndef f(d):\n    return g(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d, g):\n    return g(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return sgd.epoch(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return (sgd.step < d).sum()"),
    (compiled_code_violations, "kernels/filters.py", "def f():\n    @jit\n    def g(d):\n        return d"),
    (compiled_code_violations, "kernels/filters.py", "@njit(fastmath=True)\ndef f(d):\n    return d"),
    (compiled_code_violations, "kernels/filters.py", "@njit(fastmath={'nnan'})\ndef f(d):\n    return d"),
    (compiled_code_violations, "tuning.py", "from numba import guvectorize"),
    (compiled_code_violations, "kernels/filters.py", "@numba.experimental.jitclass\nclass C: ..."),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n" + "    d += 1\n" * 60),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(a, b, c, d, e, f, g, h, i, j, k):\n    return a"),
    (length_violations, "path.py", "\n" * 601),
]
KEPT = [
    ("path.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastdistill.spectrum import Spectrum"),
    ("spectrum.py", "from fastdistill.path import DistillationPath"),
    ("plot.py", "def plot():\n    import matplotlib.pyplot\n    from sklearn.utils import check_array"),
    ("reproduce/borup.py", "import fastdistill as fd\nfrom fastdistill.reproduce._tables import rows\nd = fd.Spectrum"),
    ("reproduce/borup.py", "class A:\n    def f(self):\n        return self._rows"),
    (
        "kernels/filters.py",
        "@jit\ndef g(d):\n    return np.sqrt(d).sum() + (d[0] < 1).sum()\n@jit\ndef f(d):\n    return g(d.copy())",
    ),
    ("kernels/filters.py", "@njit(fastmath={'contract', 'reassoc'})\ndef f(d):\n    return d"),
    (
        "kernels/sgd_csr.py",
        "from fastdistill.kernels._intrinsics import prefetch\n@jit_sums\ndef f(d):\n    prefetch(d, 0)",
    ),
    ("kernels/_intrinsics.py", "from llvmlite import ir\nfrom numba.extending import intrinsic"),
    ("_status.py", "def f():\n    from sklearn.exceptions import ConvergenceWarning"),
    (
        "sgd/run.py",
        "from fastdistill import _status, _validation, kernels\nfrom fastdistill.linear_losses import LOSSES",
    ),
]


@pytest.mark.parametrize(("law", "path", "source"), PLANTED)
def test_planted_violations_are_found(law, path, source):
    source = HEAD + source if law is compiled_code_violations else source
    assert len(law(source, f"fastdistill/{path}")) == 1


@pytest.mark.parametrize(("path", "source"), KEPT)
def test_lawful_sources_pass(path, source):
    source = HEAD + source if path.startswith("kernels") else source
    assert [violation for law in LAWS for violation in law(source, f"fastdistill/{path}")] == []
