"""The site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``. Nothing is downloaded."""

from __future__ import annotations

import inspect
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # pictures of the gallery do not depend on the machine's cores

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import fastdistill as fd

project, author = "fastdistill", "The fastdistill developers"
copyright = author
version = release = fd.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "reproduced",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "gallery", "measured", "**sg_execution_times.rst"]
templates_path, html_static_path, html_css_files = ["_templates"], ["_static"], ["site.css"]
default_role = "py:obj"
highlight_language = "text"  # of blocks that name none: equations

html_theme, html_title = "pydata_sphinx_theme", f"fastdistill {release}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
ALONE = ("start", "choose", "performance", "troubleshooting", "design", "glossary", "changelog")  # pages of no section
html_sidebars: dict[str, list[str]] = {name: [] for name in ALONE}

numpydoc_show_class_members = False
numpydoc_xref_param_type = False
autodoc_typehints = "none"
autosummary_generate = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "within_subsection_order": "FileNameSortKey",
}


def own_members(cls: type) -> dict[str, list[str]]:
    """Public methods and properties that a class has from this package; those of scikit-learn stand in its pages."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("fastdistill")]
    found = {name for base in own for name in vars(base) if not name.startswith("_") and not name.endswith("_request")}
    documented = sorted(name for name in found if inspect.getdoc(inspect.getattr_static(cls, name)))
    methods = [name for name in documented if callable(getattr(cls, name))]
    return {"methods": methods, "properties": [name for name in documented if name not in methods]}


def public_classes() -> dict[str, dict[str, list[str]]]:
    """Of every public class its members, for the template of classes."""
    named = [(f"fastdistill.{name}", getattr(fd, name)) for name in fd.__all__]
    for room in (fd.plot, fd.theory):
        named += [(f"{room.__name__}.{name}", getattr(room, name)) for name in room.__all__]
    for path in ("selection.evidence.Evidence", "selection.verdict.Verdict"):
        module, _, name = path.rpartition(".")
        named.append((f"fastdistill.{path}", getattr(import_module(f"fastdistill.{module}"), name)))
    return {name: own_members(value) for name, value in named if inspect.isclass(value)}


autosummary_context = {"own": public_classes()}

MARKUP = re.compile(r"(``.*?``|`[^`]*`)|(\||(?<=\w)_(?![\w`*]))")


def plain_equations(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Equations of docstrings are plain text: ``|ξ|`` is no substitution and ``coef_`` no link, outside of literals."""
    literal: int | None = None  # the indentation of the line that opened a literal block
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith((">>>", "...")):
            lines[i] = MARKUP.sub(lambda found: found[1] or "\\" + found[2], line)
            literal = indent if line.endswith("::") else None


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", plain_equations, priority=900)  # after numpydoc
