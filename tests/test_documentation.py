"""The site without building it: every public name has its place, every link a target, every example its output."""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import importlib.util
import io
import re
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import fastdistill as fd

DOCS = Path(__file__).resolve().parents[1] / "docs"
GENERATED = ("_build", "auto_gallery", "generated", "gallery", "examples", "_templates", "measured")
MADE_BY_THE_BUILD = {"auto_gallery/index"}
PAGES = sorted(
    path
    for path in [*DOCS.rglob("*.rst"), *DOCS.rglob("*.md")]
    if not set(path.relative_to(DOCS).parts) & {*GENERATED} and path.name != "sg_execution_times.rst"
)
SOURCES = sorted(Path(fd.__file__).parent.rglob("*.py"))
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")


class Block(NamedTuple):
    """A ``code-block`` of a page."""

    language: str
    options: dict[str, str]
    lines: list[str]
    start: int
    stop: int


def name_of(path: Path) -> str:
    return path.relative_to(DOCS).with_suffix("").as_posix()


def blocks_of(text: str) -> list[Block]:
    """The code blocks of a page, without their indentation."""
    lines, found, i = text.splitlines(), [], 0
    while i < len(lines):
        head = re.fullmatch(r"( *)\.\. code-block:: (\w+)", lines[i])
        i += 1
        if head is None:
            continue
        inner, options, start = head[1] + "   ", {}, i - 1
        while i < len(lines) and (option := re.fullmatch(re.escape(inner) + r":([\w-]+): *(.*)", lines[i])):
            options[option[1]] = option[2]
            i += 1
        content = []
        while i < len(lines) and (not lines[i].strip() or lines[i].startswith(inner)):
            content.append(lines[i][len(inner) :])
            i += 1
        while content and not content[-1].strip():
            content.pop()
        found.append(Block(head[2], options, content[1:], start, start + len(options) + 1 + len(content)))
    return found


def is_output(block: Block) -> bool:
    return block.options.get("class") == "output"


def run_block(block: Block, page: str, names: dict) -> list[str]:
    """What a block prints."""
    printed = io.StringIO()
    above = block.start + len(block.options) + 2  # lines, so that tracebacks name the line of the page
    code = compile("\n" * above + "\n".join(block.lines), page, "exec")
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, names)
    return [line.rstrip() for line in printed.getvalue().rstrip().splitlines()]


def assert_same_output(printed: list[str], shown: list[str], where: str) -> None:
    """The same words, and numbers within one unit of the last digit that is shown: processors round differently."""
    printed_text, shown_text = "\n".join(printed), "\n".join(line.rstrip() for line in shown)
    words = [re.sub(r"\s+", " ", NUMBER.sub("0", text)) for text in (printed_text, shown_text)]
    assert words[0] == words[1], f"{where} prints\n{printed_text}"
    for printed_number, number in zip(NUMBER.findall(printed_text), NUMBER.findall(shown_text), strict=True):
        digits, _, exponent = number.lower().partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
        tolerance = 1.001 * unit if {".", "e"} & {*number.lower()} else 0.0
        assert abs(float(printed_number) - float(number)) <= tolerance, f"{where} prints\n{printed_text}"


def public_names() -> set[str]:
    """Names as the API pages write them, with their module."""
    modules = {"fastdistill": fd.__all__, "fastdistill.estimators": []}
    for room in ("theory", "kernels", "distributed", "plot"):
        modules[f"fastdistill.{room}"] = getattr(fd, room).__all__
    rooms = {"distributed", "estimators", "kernels", "plot", "theory"}
    return {f"{module}.{name}" for module, names in modules.items() for name in names if name not in rooms}


def names_in_the_api_pages() -> set[str]:
    found = set()
    for path in (DOCS / "api").glob("*.rst"):
        module = ""
        for line in path.read_text().splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif re.fullmatch(r"   [A-Za-z][\w.]*", line) and module:
                found.add(f"{module}.{line.strip()}")
            elif line.startswith("   * - ``") and module:  # the table of constants
                found |= {f"{module}.{name}" for name in re.findall(r"``(\w+)``", line)}
            found |= {*re.findall(r"``(fastdistill\.\w+)`` is the version", line)}
    return found


def test_every_public_name_is_in_the_api_pages():
    missing = public_names() - names_in_the_api_pages()
    assert not missing, f"add to docs/api: {sorted(missing)}"


def test_the_api_pages_name_nothing_that_is_gone():
    assert names_in_the_api_pages() - public_names() == {
        "fastdistill.selection.evidence.Evidence",
        "fastdistill.selection.verdict.Verdict",
    }


def test_the_estimators_are_public_names_of_the_package():
    assert {*fd.estimators.__all__} <= {*fd.__all__}


def toctree_entries(path: Path) -> list[str]:
    """Names of the pages in the toctrees of a page."""
    entries, inside = [], False
    for line in path.read_text().splitlines():
        if line.strip() == ".. toctree::":
            inside = True
        elif inside and line.strip() and not line.startswith("   "):
            inside = False
        elif inside and line.strip() and not line.strip().startswith(":"):
            entries.append(resolved(path, re.sub(r".*<(.+)>", r"\1", line.strip())))  # "title <page>", or a page
    return entries


def resolved(path: Path, target: str) -> str:
    """The name of the page that `target` means on the page at `path`."""
    if target.startswith("/"):
        return target[1:]
    return (path.parent / target).resolve().relative_to(DOCS).as_posix()


def test_every_page_is_in_one_toctree():
    entries = [entry for path in PAGES for entry in toctree_entries(path)]
    known = {name_of(path) for path in PAGES}
    assert {*entries} - known == MADE_BY_THE_BUILD, "entries without a page"
    assert known - {*entries} == {"index"}, "pages that no toctree has"
    assert len(entries) == len({*entries}), "pages in two toctrees"


def gallery_labels() -> set[str]:
    names = (path.name for path in (DOCS / "gallery").glob("plot_*.py"))
    return {f"sphx_glr_auto_gallery_{name}" for name in names}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_internal_link_has_a_target(path):
    text = path.read_text()
    pages = {name_of(page) for page in PAGES} | MADE_BY_THE_BUILD
    labels = {label for page in PAGES for label in re.findall(r"^\.\. _([\w-]+):$", page.read_text(), re.MULTILINE)}
    terms = (DOCS / "glossary.rst").read_text()
    for role, content in re.findall(r":(doc|ref|term|download):`([^`]+)`", text):
        target = re.sub(r".*<(.+)>", r"\1", content, flags=re.DOTALL).strip()
        if role == "doc":
            assert resolved(path, target) in pages, f"there is no page {target}"
        elif role == "ref":
            assert target in labels | gallery_labels(), f"there is no label {target}"
        elif role == "term":
            assert re.search(rf"^   {re.escape(target)}$", terms, re.MULTILINE), f"the glossary has no {target}"
        else:
            assert (path.parent / target).is_file(), f"there is no file {target}"
    for file in re.findall(r"\.\. (?:image|figure|literalinclude|include):: (\S+)", text):
        assert (path.parent / file).is_file(), f"there is no file {file}"


def test_there_are_enough_examples_and_each_asks_a_question():
    examples = sorted((DOCS / "gallery").glob("plot_*.py"))
    assert len(examples) >= 6
    for path in examples:
        title = path.read_text().splitlines()[1]
        assert title.endswith("?"), f"{path.name}: {title}"


WITH_CODE = [path for path in PAGES if any(block.language == "python" for block in blocks_of(path.read_text()))]


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_the_examples_print_what_the_page_shows(path):
    blocks = blocks_of(path.read_text())
    names: dict = {"__name__": "__example__"}
    for block, following in pairwise([*blocks, Block("", {}, [], 0, 0)]):
        if block.language != "python":
            continue
        where = f"{path.name}, line {block.start + 1}"
        package = block.options.get("class", "").removeprefix("needs-")
        if package and importlib.util.find_spec(package) is None:
            pytest.skip(f"{where} needs {package}")
        printed = run_block(block, where, names)
        if is_output(following):
            assert_same_output(printed, following.lines, where)
        else:
            assert not printed, f"{where} prints what is not shown: {printed}"


def test_outputs_are_shown_only_below_code():
    for path in PAGES:
        for before, block in pairwise([Block("", {}, [], 0, 0), *blocks_of(path.read_text())]):
            assert not is_output(block) or before.language == "python", f"{path.name}, line {block.start + 1}"


def test_outputs_are_compared():
    assert_same_output(["a 1.234 b 7"], ["a 1.233  b 7"], "x")
    for shown in ("a 1.232 b 7", "a 1.234 b 8", "c 1.234 b 7"):
        with pytest.raises(AssertionError):
            assert_same_output(["a 1.234 b 7"], [shown], "x")


def undefined_names(source: str) -> set[str]:
    """Names that a program reads and neither makes nor imports."""
    made, read = {*dir(builtins)}, set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(name.asname or name.name).split(".")[0] for name in node.names}
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
    return read - made


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCES[0].parent).as_posix())
def test_examples_of_docstrings_import_what_they_use(path):
    """They can be copied into a new session; doctest itself has the names of the module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
            missing = undefined_names("".join(example.source for example in examples))
            assert not missing, f"the example of {node.name} does not import {sorted(missing)}"


def test_missing_imports_are_found():
    assert undefined_names("import numpy as np\nx = np.ones(3)\nprint(f(x), [y for y in x])") == {"f"}


def entries_of_the_troubleshooting_page() -> list[str]:
    return re.findall(r"^   \* - \*(.+)\*$", (DOCS / "troubleshooting.rst").read_text(), re.MULTILINE)


def test_the_messages_of_the_troubleshooting_page_exist():
    """Each piece of a message between dots stands in the package."""
    package = Path(fd.__file__).parent
    sources = "\n".join(path.read_text() for path in package.rglob("*.py")).replace('\\"', '"')
    literals = re.sub(r"""["']\s*\n\s*f?["']""", "", sources)
    messages = entries_of_the_troubleshooting_page()
    assert len(messages) > 200
    for message in messages:
        for piece in message.split("…"):
            assert piece.strip(" :;") in literals, f"no message of the package has {piece.strip()!r}"


def text_of(node: ast.expr | None, constants: dict[str, str]) -> str:
    """What is known of a message: "…" stands for the rest."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, constants) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left, constants) + text_of(node.right, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return text_of(node.func.value, constants)
    return "…"


# Caught inside, or for those who extend the package.
NOT_FOR_USERS = {"Stalled", "pickle.UnpicklingError"}
INSIDE = {"These are the queries of a design."}


def messages_of(source: str) -> Iterator[str]:
    """What the code raises and warns of, without texts that are made elsewhere."""
    tree = ast.parse(source)
    constants = {
        node.targets[0].id: text_of(node.value, {})
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call) or not call.args or ast.unparse(call.func) in NOT_FOR_USERS:
            continue
        if not isinstance(node, ast.Raise) and ast.unparse(call.func) not in ("warnings.warn", "super().__init__"):
            continue
        text = text_of(call.args[0], constants)
        if re.search(r"[a-z]{2} .*[a-z]{2}", text) and "base class" not in text and text not in INSIDE:
            yield text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCES[0].parent).as_posix())
def test_every_message_is_on_the_troubleshooting_page(path):
    entries = [
        re.compile(".*".join(re.escape(piece.strip(" :;")) for piece in entry.split("…")), re.DOTALL)
        for entry in entries_of_the_troubleshooting_page()
    ]
    named_by_class = r"^(the weights|new targets|fitted values|leave-one-out predictions)$"  # of `NoRowsError`
    missing = [
        text
        for text in messages_of(path.read_text())
        if not re.match(named_by_class, text) and not any(entry.search(text) for entry in entries)
    ]
    assert not missing, f"add to docs/troubleshooting.rst: {missing}"


def test_messages_are_collected():
    source = (
        'HINT = "take {}"\n'
        "def f(x):\n"
        '    raise ValueError(f"x must be {x}, " "or so")\n'
        "    raise TypeError(HINT.format(x) + ' for a change')\n"
        '    warnings.warn("it was slow", UserWarning)\n'
        "    raise err\n"
        "    raise Stalled('not for users at all')\n"
    )
    assert [*messages_of(source)] == ["x must be …, or so", "take {} for a change", "it was slow"]
