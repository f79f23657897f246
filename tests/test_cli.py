"""The command line: exit codes, one-line errors, fast start, a cache that is warm after `warmup`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastdistill as fd
from fastdistill import cli, reproduce

SETUP = """
import numpy as np, fastdistill as fd
from fastdistill import kernels
X = np.random.default_rng(0).standard_normal((20, 3))
y = X.sum(axis=1) + 1.0
"""
RIDGE = """
for S, queries in ((fd.Spectrum.from_design(X, fit_intercept=True), X), (fd.Spectrum.from_kernel(X @ X.T), X @ X.T)):
    path = S.path(y, np.logspace(-2, 2, 5), [0.5, -2.0])
    path.filters, path.fitted, path.dof, path.gcv, path.loo, path.predict(queries), path.mse(queries, y)
    S.limit(y, 1.0, 0.5).fitted
    S.tolerance_path(y, 0.9 * np.mean(y**2)).fitted
    fd.tune(S, y, [0.1, 1.0], n_steps=2, strategy="joint")
    for strategy in ("joint", "greedy"):
        fd.tune(S, y, [0.1, 1.0], n_steps=2, criterion=fd.Holdout(queries, y), strategy=strategy)
fd.Spectrum.from_kernel(np.eye(4)).path(y[:4], 1e-9, [0.5]).loo
fd.batched_path(X[None], y[None], 1.0, [0.5], sample_weight=np.ones(20))
fd.multistep_filter(S.d, 1.0, 0.5, n_steps=3)
fd.xi_from_mixture(fd.mixture_from_xi([0.5, 2.0]))
for model in (fd.DistilledRidge(), fd.DistilledRidgeCV(), fd.DistilledKernelRidge(), fd.DistilledKernelRidgeCV()):
    model.fit(X, y).predict(X)
fd.DistilledRidgeClassifierCV().fit(X, y > 1.0).predict(X)
tall = np.random.default_rng(0).standard_normal((66_000, 16)) + 9.0
read_only = tall.T.copy().T
read_only.flags.writeable = False  # as of a data frame
for design in (tall, read_only, np.hstack([tall, tall])[:, :16]):
    for strategy in ("safe", "joint"):
        fd.DistilledRidgeCV([0.1, 1.0], n_steps=2, strategy=strategy).fit(design, tall[:, 0])
"""
SGD = """
from scipy.sparse import csr_array
for dtype in (np.float64, np.float32):
    dense, targets = X.astype(dtype), np.arange(20) % 2
    wide = csr_array(dense)
    wide = csr_array((wide.data, wide.indices.astype(np.int64), wide.indptr.astype(np.int64)), shape=X.shape)
    for data in (dense, csr_array(dense), wide):
        for teacher in (np.ones(3), fd.TeacherOutputs(targets)):
            for variant in ("kd", "kd_unbiased"):
                fd.run_sgd(data, targets, teacher=teacher, kd_weight=0.5, variant=variant, step_size=0.1, n_epochs=1)
        many = dict(step_size=np.linspace(0.01, 0.1, 20))
        for options in (dict(), dict(batch_size=3), dict(momentum=0.5), dict(average=True), many):
            for more in (dict(), dict(loss="logistic", fit_intercept=True), dict(loss="softmax", variant="svrg")):
                fd.run_sgd(data, targets, **{"step_size": 0.1, "n_epochs": 1, **options, **more})
    fd.run_sgd(dense, targets, step_size=0.1, compressor=fd.RandomRounding(4))
    fd.run_sgd(dense, targets, step_size=0.1, compressor=fd.TopK(2), order="replace")
fd.KDSGDRegressor(max_iter=2, tol=None).fit(X, y)
fd.KDSGDClassifier(max_iter=2, tol=None).fit(X, targets)
"""
# What `warmup` leaves behind, and what the public functions ask for beyond it, in one process and one cache: a cache of
# its own would be compiled for this test alone, for a minute. The parts come first: the whole finds what they compiled.
WARMUP = """
from fastdistill import cli, kernels
def signatures():
    found = {{name: getattr(kernels, name) for name in kernels.__all__}}
    return {{name: set(kernel.signatures) for name, kernel in found.items() if hasattr(kernel, "signatures")}}
assert cli.main({arguments}) == 0
warm = signatures()
{use}
print("missed:", [name for name, found in signatures().items() if found - warm[name]])
"""


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastdistill {fd.__version__}\n"
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


def test_help_of_reproduce_names_papers_options_and_files(capsys):
    assert cli.main(["reproduce", "--help"]) == 0
    text = capsys.readouterr().out
    for word in (*reproduce.PAPERS, "all", "--data", "--download", "--out", "fastdistill-report", "air_quality.csv"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "command"),
        (["reproduc"], "reproduc"),
        (["reproduce"], "paper"),
        (["reproduce", "hinton"], "mobahi"),
        (["reproduce", "mobahi", "--data"], "--data"),
        (["info", "--verbose"], "--verbose"),
        (["warmup", "--for", "everything"], "ridge"),
    ],
)
def test_what_cannot_be_understood_is_one_line_and_exit_code_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    message = error_line(capsys)
    assert words in message
    assert "--help" in message


def test_info(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("fastdistill", "python", "numpy", "scipy", "numba", "scikit-learn", "matplotlib", "blas", "cache"):
        assert f"\n{word} " in f"\n{text}"
    assert "writable" in text


def test_info_without_threadpoolctl(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert cli.main(["info"]) == 0
    assert "threadpoolctl is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "use", "compiled", "idle"),
    [
        (["--for", "ridge"], RIDGE, ["student_grid", "xi_from_mixture"], ["dense_rows", "csr_rows", "all_finite"]),
        (["--for", "sgd"], SGD, ["dense_rows", "csr_rows"], ["student_grid", "batched_students", "mixture_from_xi"]),
        ([], RIDGE + SGD, ["student_grid", "tolerance_rounds", "mixture_from_xi", "leave_one_out"], []),
    ],
)
def test_after_warmup_nothing_is_left_to_compile(arguments, use, compiled, idle):
    code = WARMUP.format(arguments=["warmup", *arguments], use=SETUP + use)
    done = run_python("-c", code, NUMBA_DISABLE_JIT="0")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no terminal, no progress
    assert "\nCache: " in done.stdout
    for name in compiled:
        assert re.search(rf"^  {name}: \d+ signature\(s\), ", done.stdout, re.MULTILINE)
    for name in idle:
        assert f"  {name}: " not in done.stdout
    assert " s\n" in done.stdout  # how long
    assert done.stdout.endswith("missed: []\n")


def test_the_parts_of_warmup_are_all_of_it():
    parts = [cli._warmup_calls(part).keys() for part in cli.WARMUP_PARTS]
    assert cli._warmup_calls("all").keys() == set().union(*parts)
    assert len(set.intersection(*map(set, parts))) == 1  # the compiler


def test_warmup_without_a_compiler_or_a_cache(capsys):
    result = run_python("-c", "from fastdistill.cli import main; main(['warmup'])", NUMBA_DISABLE_JIT="1")
    assert "Nothing compiled" in result.stdout, result.stderr
    result = run_python("-c", "from fastdistill.cli import main; main(['info'])", FASTDISTILL_CACHE="0")
    assert "cache         none (not writable)" in result.stdout, result.stderr


def test_the_command_line_starts_without_anything_heavy():
    heavy = "{'numpy', 'scipy', 'numba', 'sklearn', 'matplotlib', 'importlib.metadata'}"
    result = run_python("-c", f"import sys, fastdistill.cli; print(sorted({heavy} & set(sys.modules)))")
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.parametrize(("module", "package"), [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
def test_a_missing_extra_says_what_to_install(module, package, tmp_path):
    code = (
        f"import sys; sys.modules[{module!r}] = None; from fastdistill.cli import main; "
        f"raise SystemExit(main(['reproduce', 'pareek', '--out', {str(tmp_path / 'out')!r}]))"
    )
    result = run_python("-c", code)
    assert result.returncode == 2
    assert result.stderr == f"error: this command needs {package}; install it with: pip install 'fastdistill[all]'\n"
    assert list(tmp_path.iterdir()) == []


def test_other_missing_modules_are_not_explained_away(monkeypatch):
    def run(*arguments):
        raise ModuleNotFoundError("No module named 'ours'", name="ours")

    monkeypatch.setattr(reproduce, "run", run)
    with pytest.raises(ModuleNotFoundError, match="ours"):
        cli.main(["reproduce", "mobahi"])


def test_ctrl_c_is_130_and_one_line(monkeypatch, capsys):
    def run(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "run", run)
    assert cli.main(["reproduce", "mobahi"]) == 130
    assert error_line(capsys) == "error: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="closed pipes raise BrokenPipeError on POSIX only")
def test_a_closed_pipe_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    code = "from fastdistill.cli import main; raise SystemExit(main(['--version']) or main(['info']))"
    result = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert result.returncode != 0
    assert result.stderr == ""


def test_stages_are_shown_on_a_terminal_only(monkeypatch, capsys):
    stage = cli._stages()
    stage("quiet")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    stage("loud")
    assert capsys.readouterr().err.endswith("s] loud\n")


def test_the_installed_script_calls_main():
    script = Path(sys.executable).with_name("fastdistill")
    if not script.exists():
        pytest.skip(f"no console script at {script}: the package is not installed in this environment")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, f"fastdistill {fd.__version__}\n")


def small_table(folder: Path) -> Path:
    file = folder / "table.csv"
    file.write_text("a,b,y\n" + "".join(f"{i},{i * i % 7},{i * 3 % 5}\n" for i in range(12)))
    return file


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["diagnose", "table.csv", "--target", "y"], ["reproduce", "mobahi"]])
def test_an_interrupt_while_writing_leaves_nothing(command, stop, tmp_path):
    small_table(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "fastdistill", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fd.__file__).parents[1])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # pytest may ignore it
    ) as process:
        while process.poll() is None and not list(tmp_path.glob(".fastdistill-*")):
            time.sleep(0.01)
        process.send_signal(stop)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (130, "", "error: interrupted\n")
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_the_hidden_folder_is_made_leaves_nothing(stop, tmp_path, monkeypatch):
    from fastdistill.pages import files

    def make(**options):
        folder = tempfile.mkdtemp(**options)
        os.kill(os.getpid(), stop)
        return folder

    before = signal.signal(stop, signal.default_int_handler)
    monkeypatch.setattr(files, "tempfile", SimpleNamespace(mkdtemp=make))
    try:
        with pytest.raises(KeyboardInterrupt), files.staged(tmp_path / "out"):
            pytest.fail("the interrupt was lost")
    finally:
        signal.signal(stop, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_old_files_are_replaced_waits_until_they_are(stop, tmp_path, monkeypatch):
    from fastdistill.pages import files

    def replace(old, new):
        os.kill(os.getpid(), stop)
        os.rename(old, new)

    def write():
        with files.staged(tmp_path) as folder:
            (folder / "a").write_text("a")
            (folder / "b").write_text("b")

    before = signal.signal(stop, signal.default_int_handler)
    monkeypatch.setattr(files.os, "replace", replace)
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
    finally:
        signal.signal(stop, before)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("out", ["table.csv", "table.csv/out"])
def test_a_file_is_no_folder_to_write_to(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = small_table(tmp_path).read_text()
    assert cli.main(["diagnose", "table.csv", "--target", "y", "--out", out]) == 2
    assert "is a file, not a folder" in error_line(capsys)
    assert (tmp_path / "table.csv").read_text() == content
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("too large")])
def test_a_full_disk_leaves_nothing(error, tmp_path, capsys, monkeypatch):
    from fastdistill.pages import files

    def write(*arguments):
        raise error

    monkeypatch.setattr(files, "_write_csv", write)
    monkeypatch.chdir(tmp_path)
    small_table(tmp_path)
    assert cli.main(["diagnose", "table.csv", "--target", "y"]) == 2
    assert str(error) in error_line(capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_a_mark_of_two_dashes_is_understood(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,y\n" + "".join(f"{'--' if i < 2 else i},{i * 3 % 5}\n" for i in range(20)))
    assert cli.main(["diagnose", "table.csv", "--target", "y", "--steps", "1", "--missing=--"]) == 0
    assert "2 rows with a missing number left out (in 'a')" in capsys.readouterr().out
    assert cli.main(["diagnose", "table.csv", "--target=--"]) == 2


def test_a_terminal_without_greek_letters(tmp_path):
    file = small_table(tmp_path)
    arguments = ["diagnose", str(file), "--target", "y", "--steps", "1", "--out", str(tmp_path / "out")]
    code = f"from fastdistill.cli import main; raise SystemExit(main({arguments!r}))"
    result = run_python("-c", code, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (result.returncode, result.stderr) == (0, "")
    assert "weights ?" in result.stdout


def test_pages_fit_narrow_screens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["diagnose", str(small_table(tmp_path)), "--target", "y", "--steps", "1", "--out", "out"]) == 0
    page = (tmp_path / "out" / "diagnosis.html").read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    for tag in ("<table", "<img"):
        inside = page.count(tag)
        assert inside
        assert inside == len(re.findall(rf'<div class="scroll">(?:<a href="[^"]*">)?{tag}', page))
    assert "overflow-x: auto" in page
    widths = [int(width) for width in re.findall(r"min-width: (\d+)px", page)]
    assert len(widths) == page.count("<img")
    assert min(widths) >= 500
