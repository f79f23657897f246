"""The laws of the code, read off the syntax trees: who may import whom, what is private, and what a kernel may do.

`ROOMS` is ordered: a room imports from those before it. Imports inside functions and under ``TYPE_CHECKING`` count.
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

ROOMS = (
    "base",
    "kernels",
    "spectral",
    "selection",
    "sgd",
    "theory",
    "estimators",
    "",  # the package itself: its public names
    "pages",
    "plot",
    "diagnosis",
    "reproduce",
    "distributed",
    "cli",
    "__main__",
)
APART = {  # rooms that come later, but do not use an earlier one
    "sgd": {"spectral", "selection"},
    "theory": {"spectral", "selection"},
    "reproduce": {"base"},  # the first user: public names only
}
THIRD_PARTY = {  # rooms, or single files
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "sklearn": {"estimators", "diagnosis", "reproduce", "plot", "base/status.py"},  # the last: the base of a warning
    "matplotlib": {"plot", "pages", "reproduce"},
    "dask": {"distributed"},
    "pyarrow": {"diagnosis"},
    "tqdm": {"base/progress.py"},
    "torch": {"estimators/torch_module.py", "reproduce"},
}
TOP = {"__init__.py", "__init__.pyi", "__main__.py", "cli.py", "py.typed"}

# Private names of other libraries that have no public one.
FOREIGN = {"_asdict", "_fields", "_make", "_replace", "_exit", "_getframe"}
FOREIGN_IN = {"fastdistill/kernels/_compile.py": {"_cache", "_source_stamp"}}  # of numba's cache


def room_of(path: str) -> str:
    """'fastdistill/theory/hilbert.py' -> 'theory'; the package's own __init__ is ''."""
    parts = Path(path).with_suffix("").parts[1:]
    return "" if parts == ("__init__",) else parts[0]


parsed = cache(ast.parse)


def imports(source: str, path: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that is imported, wherever; names imported from the package keep their own name."""
    package = Path(path).parent.parts
    for node in ast.walk(parsed(source)):
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
        if not {room, path.removeprefix("fastdistill/")} & THIRD_PARTY.get(top, {room}):
            found.append(f"{path}:{line}: {top} may only be imported in {', '.join(sorted(THIRD_PARTY[top]))}")
        if top == "fastdistill":
            target = rest[0] if rest and rest[0] in ROOMS else ""
            if target != room and (target in APART.get(room, set()) or ROOMS.index(target) > ROOMS.index(room)):
                found.append(f"{path}:{line}: {room} may not import {target or 'the package itself'}")
    return found


def file_of(name: str, paths: set[str]) -> str | None:
    """The file of the module that a dotted name is, or is found in: 'fastdistill.sgd.run.run_sgd' -> that of `run`."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        stem = "/".join(parts[:length])
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in paths:
                return path
    return None


def circles(sources: dict[str, str]) -> list[set[str]]:
    """Sets of files each of which imports, through others, all of them."""
    paths = set(sources)
    imported = {
        path: {file_of(name, paths) for _, name in imports(source, path)} - {None, path}
        for path, source in sources.items()
    }
    reached: dict[str, set[str]] = {}
    for path in paths:
        found, waiting = set(), list(imported[path])
        while waiting:
            following = waiting.pop()
            if following not in found:
                found.add(following)
                waiting.extend(imported[following])
        reached[path] = found
    together = {frozenset(other for other in reached[path] if path in reached[other]) for path in paths}
    return [set(circle) for circle in together if circle]


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


def intrusions(source: str, path: str) -> list[tuple[int, str]]:
    """(line, name) of private names read outside their class or module: ``obj._x``, and ``_x`` of another module.

    A class may read what it has on ``self``, ``cls`` and ``super()``, and on others what it defines itself.
    """
    found: list[tuple[int, str]] = []
    allowed = FOREIGN | FOREIGN_IN.get(path, set())

    def visit(node: ast.AST, own: frozenset[str]) -> None:
        if isinstance(node, ast.ClassDef):
            own |= defined_in(node)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in {*own, *allowed}:
            if ast.unparse(node.value) not in {"self", "cls", "super()"}:
                found.append((node.lineno, node.attr))
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("fastdistill.")):
            names = [alias.name for alias in node.names if is_private(alias.name)]
            found.extend((node.lineno, name) for name in names if not is_module(node.module or "", name))
        for child in ast.iter_child_nodes(node):
            visit(child, own)

    visit(parsed(source), frozenset())
    return found


def defined_in(cls: ast.ClassDef) -> set[str]:
    """Names of methods and attributes that a class sets itself."""
    names = {node.name for node in ast.walk(cls) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            names.add(node.attr)
    for node in cls.body:
        if isinstance(node, ast.AnnAssign | ast.Assign):
            names |= {ast.unparse(t) for t in (node.targets if isinstance(node, ast.Assign) else [node.target])}
    return names


def is_module(package: str, name: str) -> bool:
    folder = ROOT / package.replace(".", "/")
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def intrusion_violations(source: str, path: str) -> list[str]:
    """Private names of others."""
    return [f"{path}:{line}: {name} is private" for line, name in intrusions(source, path)]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


COMPILERS = {"jit", "jit_fused", "jit_sums", "njit", "intrinsic", "register_jitable"}
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
    intrusion_violations,
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
    assert {room_of(path) for path in SOURCES} <= set(ROOMS)


def test_nothing_else_stands_at_the_top():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == TOP


def test_no_file_imports_itself_through_others():
    """The names of a stub are imports of its package; so are those inside functions and for type checkers."""
    sources = {path: file.read_text(encoding="utf-8") for path, file in SOURCES.items()}
    for stub in PACKAGE.rglob("__init__.pyi"):
        sources[stub.with_suffix(".py").relative_to(ROOT).as_posix()] += stub.read_text(encoding="utf-8")
    assert circles(sources) == []


A, B, C = (f"fastdistill/sgd/{name}.py" for name in "abc")


@pytest.mark.parametrize(
    "back",
    [
        "from fastdistill.sgd import a",
        "from fastdistill.sgd.a import Run",
        "from .a import Run",
        "import fastdistill.sgd.a",
        "def f():\n    from fastdistill.sgd.a import Run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastdistill.sgd.a import Run",
    ],
)
def test_planted_circles_are_found(back):
    sources = {A: "from fastdistill.sgd.b import Step", B: "import fastdistill.sgd.c", C: back}
    assert circles(sources) == [{A, B, C}]
    assert circles({**sources, C: "import numpy"}) == []
    package = {"fastdistill/sgd/__init__.py": "from fastdistill.sgd.a import Run", A: "from fastdistill.sgd import Run"}
    assert circles(package) == [set(package)]


HEAD = "import numpy as np\nfrom fastdistill.kernels._compile import jit\n"
# Sources that break a law, each on purpose: strings to be refused, never run.
PLANTED = [
    (layer_violations, "spectral/path.py", "import sklearn.linear_model"),
    (layer_violations, "sgd/run.py", "from sklearn.exceptions import ConvergenceWarning"),
    (layer_violations, "sgd/run.py", "from fastdistill.estimators import DistilledRidge"),
    (layer_violations, "sgd/trace.py", "from fastdistill import spectral"),
    (layer_violations, "kernels/sgd_csr.py", "from fastdistill.sgd import steps"),
    (layer_violations, "base/status.py", "import matplotlib"),
    (layer_violations, "base/validation.py", "from sklearn.exceptions import ConvergenceWarning"),
    (layer_violations, "base/validation.py", "from numba import njit"),
    (layer_violations, "base/validation.py", "from fastdistill import kernels"),
    (layer_violations, "theory/hilbert.py", "from fastdistill.spectral.path import DistillationPath"),
    (layer_violations, "reproduce/borup.py", "from fastdistill.base import validation"),
    (layer_violations, "diagnosis/page.py", "from fastdistill.reproduce import report"),
    (layer_violations, "selection/tuning.py", "def f():\n    from sklearn import svm"),
    (layer_violations, "selection/tuning.py", "from importlib import import_module\nimport_module('sklearn')"),
    (layer_violations, "estimators/ridge.py", "import matplotlib.pyplot as plt"),
    (layer_violations, "spectral/spectrum.py", "import dask.array"),
    (layer_violations, "spectral/path.py", "from fastdistill.selection.tuning import tune"),
    (layer_violations, "spectral/path.py", "from fastdistill import selection"),
    (layer_violations, "spectral/path.py", "import fastdistill as fd"),
    (layer_violations, "spectral/path.py", "def f():\n    from ..selection import tuning"),
    (
        layer_violations,
        "spectral/path.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastdistill.selection import tuning",
    ),
    (intrusion_violations, "spectral/path.py", "d = spectrum._d"),
    (intrusion_violations, "spectral/path.py", "class Path:\n    def f(self, spectrum):\n        spectrum._fit()"),
    (intrusion_violations, "spectral/path.py", "class Path:\n    def f(self):\n        return self.spectrum._d"),
    (intrusion_violations, "spectral/path.py", "class A:\n    _d = 1\n\n\nd = A()._d"),
    (intrusion_violations, "spectral/path.py", "from fastdistill.theory.fixed_design import _risk"),
    (intrusion_violations, "spectral/path.py", "from .students import _filters"),
    (layer_violations, "selection/tuning.py", "from fastdistill.estimators import DistilledRidge"),
    (layer_violations, "theory/hilbert.py", "from ..estimators import ridge"),
    (layer_violations, "kernels/filters.py", "from fastdistill import spectral"),
    (layer_violations, "reproduce/mobahi.py", "import fastdistill.distributed"),
    (layer_violations, "base/validation.py", "from fastdistill.spectral.path import multistep_filter"),
    (kernel_import_violations, "kernels/filters.py", "import scipy"),
    (kernel_import_violations, "kernels/sgd_dense.py", "from fastdistill.kernels.filters import multistep_filter"),
    (kernel_import_violations, "kernels/__init__.py", "from fastdistill.spectral.path import multistep_filter"),
    (kernel_import_violations, "kernels/sgd_dense.py", "from llvmlite import ir"),
    (kernel_import_violations, "kernels/_intrinsics.py", "from fastdistill.kernels.sgd_dense import residual"),
    (compiled_code_violations, "kernels/sgd_csr.py", "@jit_sums\ndef f(d):\n    return prefetch(d, 0)"),
    (
        compiled_code_violations,
        "kernels/sgd_csr.py",
        "from fastdistill.kernels.sgd_dense import residual\n@jit\ndef f(d):\n    return residual(d)",
    ),
    (private_use_violations, "reproduce/borup.py", "from fastdistill.estimators import _common"),
    (private_use_violations, "reproduce/borup.py", "from fastdistill.theory.hilbert import _bound"),
    (private_use_violations, "reproduce/borup.py", "d = spectrum._d"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return helper(d)"),
    (compiled_code_violations, "kernels/filters.py", "def g(d): ...\n@jit\ndef f(d):\n    return g(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d, g):\n    return g(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return sgd.epoch(d)"),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n    return (sgd.step < d).sum()"),
    (compiled_code_violations, "kernels/filters.py", "def f():\n    @jit\n    def g(d):\n        return d"),
    (compiled_code_violations, "kernels/filters.py", "@njit(fastmath=True)\ndef f(d):\n    return d"),  # planted
    (compiled_code_violations, "kernels/filters.py", "@njit(fastmath={'nnan'})\ndef f(d):\n    return d"),
    (compiled_code_violations, "tuning.py", "from numba import guvectorize"),  # planted, to be refused
    (compiled_code_violations, "kernels/filters.py", "@numba.experimental.jitclass\nclass C: ..."),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(d):\n" + "    d += 1\n" * 60),
    (compiled_code_violations, "kernels/filters.py", "@jit\ndef f(a, b, c, d, e, f, g, h, i, j, k):\n    return a"),
    (length_violations, "path.py", "\n" * 601),
]
KEPT = [
    ("spectral/spectrum.py", "from fastdistill.spectral.path import DistillationPath"),
    (
        "spectral/path.py",
        "class A:\n    def f(self, other):\n        self._d, super()._e, cls._g\n        other._replace(d=1)",
    ),
    (
        "spectral/path.py",
        "class A:\n    def __init__(self):\n        self._d = 1\n\n    def f(self, b):\n        return b._d",
    ),
    ("estimators/ridge.py", "from fastdistill.estimators import _common\nfrom sklearn.utils import _safe_indexing"),
    ("plot.py", "def plot():\n    import matplotlib.pyplot\n    from sklearn.utils import check_array"),
    ("reproduce/borup.py", "import fastdistill as fd\nfrom fastdistill.reproduce.report import rows\nd = fd.Spectrum"),
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
    ("base/status.py", "def f():\n    from sklearn.exceptions import ConvergenceWarning"),
    (
        "sgd/run.py",
        "from fastdistill import kernels\nfrom fastdistill.base import status, validation",
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
