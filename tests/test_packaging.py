"""What surrounds the numbers: caches that cannot be written, cold starts at once, users' compiled loops, documents."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import fastdistill as fd
from fastdistill import kernels

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(fd.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"  # it runs the command line
)

# A kernel that compiles in a third of a second, with the answer and where it is cached (None: nowhere).
ONE_KERNEL = """
import fastdistill as fd
from fastdistill import kernels
print(fd.mixture_from_xi([0.5, 2.0]).tolist(), kernels.mixture_from_xi.stats.cache_path is not None)
"""
RIGHT = "[-1.0, 1.0, 1.0]"


# -- Caches ----------------------------------------------------------------------------------------


def environment(package: Path = PACKAGE, **settings: str) -> dict[str, str]:
    """The environment of a process that imports `package` and compiles, with no cache settings but `settings`."""
    dropped = ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "FASTDISTILL_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": str(package.parent), **settings}


def python(code: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def read_only(tmp_path):
    """The environment of a package folder in which nothing can be written, not even by root, and of no home folder.

    Permissions do not stop root; a file where the cache folder would have to be made does.
    """
    package = tmp_path / "site" / "fastdistill"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    folders = [package, *(path for path in package.rglob("*") if path.is_dir())]
    for folder in folders:
        (folder / "__pycache__").touch()
        folder.chmod(0o555)
    # without HOME the cache folder of the password database's user would be next: it is blocked as well
    env = environment(package, XDG_CACHE_HOME=str(obstacle / "cache"))
    env.pop("HOME", None)
    yield env
    for folder in folders:
        folder.chmod(0o755)


def test_read_only_package_and_no_home(read_only, tmp_path):
    done = python(ONE_KERNEL, read_only, tmp_path)
    assert done.stdout == f"{RIGHT} False\n", done.stderr


def test_insisting_on_a_cache_fails_where_none_can_be(read_only, tmp_path):
    done = python(ONE_KERNEL, {**read_only, "FASTDISTILL_CACHE": "1"}, tmp_path)
    assert done.returncode != 0
    assert "cannot cache function" in done.stderr


@pytest.mark.parametrize("setting", [{}, {"FASTDISTILL_CACHE": "1"}])
def test_a_named_cache_folder_serves_a_read_only_package(setting, read_only, tmp_path):
    cache = tmp_path / "cache"
    done = python(ONE_KERNEL, {**read_only, **setting, "NUMBA_CACHE_DIR": str(cache)}, tmp_path)
    assert done.stdout == f"{RIGHT} True\n", done.stderr
    assert list(cache.rglob("*.nbi"))


def test_the_cache_can_be_switched_off(tmp_path):
    cache = tmp_path / "cache"
    done = python(ONE_KERNEL, environment(NUMBA_CACHE_DIR=str(cache), FASTDISTILL_CACHE="0"), tmp_path)
    assert done.stdout == f"{RIGHT} False\n", done.stderr
    assert not cache.exists()


def test_processes_may_start_at_once_on_one_empty_cache(tmp_path):
    """All wait until every one has imported the kernels, then compile and save at once."""
    waiting = "from fastdistill import kernels\nprint('ready', flush=True)\ninput()\n" + ONE_KERNEL
    env = environment(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen([sys.executable, "-c", waiting], env=env, text=True, **pipes) for _ in range(4)]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        for racer in racers:
            out, err = racer.communicate(timeout=120)
            assert (racer.returncode, out) == (0, f"{RIGHT} True\n"), err
    finally:
        for racer in racers:
            racer.kill()
    assert python(ONE_KERNEL, env, tmp_path).stdout == f"{RIGHT} True\n"


# -- Kernels in the user's own compiled code -------------------------------------------------------


@njit
def every_kernel(d, z2, lams, xi, target):
    """A user's compiled function: no Python objects, nothing but arrays and kernels."""
    k, r = xi.shape[0], d.shape[0]
    out = np.empty((5, k + 1, r))
    mixture, back = np.empty(k + 1), np.empty(k)
    kernels.multistep_filter(d, lams, xi, out[0])
    kernels.residual_filter(d, lams, xi, out[1])
    kernels.dual_multipliers(d, lams, xi, out[2])
    kernels.primal_multipliers(np.sqrt(d), lams, xi, out[3])
    kernels.filter_powers(d, lams[0], out[4])
    kernels.mixture_from_xi(xi, mixture)
    status = kernels.xi_from_mixture(mixture, back)
    multiplier = kernels.tolerance_root(d, z2, target)
    return out, mixture, back, status, multiplier


def test_kernels_called_from_compiled_code(rng):
    d, z2 = np.sort(rng.exponential(1.0, 7))[::-1].copy(), rng.exponential(1.0, 7)
    xi, lam = np.array([1.0, 0.5, -1.5]), 0.3
    found = every_kernel(d, z2, np.full(4, lam), xi, 0.5 * z2.sum())
    (filters, residuals, duals, primals, powers), mixture, back, status, multiplier = found
    np.testing.assert_allclose(filters, fd.multistep_filter(d, lam, xi), rtol=1e-13)
    np.testing.assert_allclose(residuals, 1.0 - filters, atol=1e-14)
    np.testing.assert_allclose(duals, filters / d, rtol=1e-13)
    np.testing.assert_allclose(primals, filters / np.sqrt(d), rtol=1e-13)
    np.testing.assert_allclose(mixture @ powers, filters[-1], rtol=1e-12)
    np.testing.assert_allclose(back, xi, rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(np.square(multiplier / (multiplier + d)) @ z2, 0.5 * z2.sum(), rtol=1e-12)


# -- Documents -------------------------------------------------------------------------------------


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_first_example_of_the_readme_prints_what_it_says():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code_blocks("python")[0], "README.md", "exec"), {})
    assert printed.getvalue() == code_blocks("text")[0]


def test_the_compiled_example_of_the_readme_is_right():
    (block,) = [block for block in code_blocks("python") if "@njit" in block]
    *definition, call = block.rstrip().split("\n")
    scope: dict = {}
    exec(compile("\n".join(definition), "README.md", "exec"), scope)
    printed = [float(number) for number in re.findall(r"\d\.\d*", call.rpartition("array")[2])]
    a = np.random.default_rng(0).exponential(1.0, 200_000)
    expected = fd.multistep_filter(a, 0.5, [1.0, 0.5]).mean(axis=1)
    np.testing.assert_allclose(printed, expected, atol=3e-3)
    # its generator is numba's own, unseeded: the mean of 160 000 draws stays within sixteen standard errors
    np.testing.assert_allclose(scope["mean_shrinkage"](20_000, 8, 0.5, np.array([1.0, 0.5])), expected, atol=1e-2)


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert cited is not None
    assert project["version"] == fd.__version__ == cited.group(1)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_show_real_output(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        failed, attempted = doctest.testmod(import_module(module))
    assert failed == 0, report.getvalue()
    assert attempted or not module.startswith("fastdistill.estimators.") or module.rpartition(".")[2].startswith("_")
