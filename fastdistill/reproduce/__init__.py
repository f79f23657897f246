"""The papers on exact self-distillation, reproduced: published numbers beside ours, pictures, one page.

`PAPERS` names each paper, its module and the data sets it wants; `run` computes, writes and returns the reports. This
module loads nothing heavy: scikit-learn and matplotlib come with the first reproduction.

=====================  ============================================================
paper                  module
=====================  ============================================================
[M] arXiv 2002.05715   ``mobahi``: rounds constrained by a residual tolerance
[B] arXiv 2102.13088   ``borup``: rounds that keep a share of the ground truth
[P] arXiv 2407.04600   ``pareek``: excess risk of repeated distillation
[D] arXiv 2602.17565   ``dang``: the best weight of one step, and its sign
[S] arXiv 2305.17581   ``safaryan``: distillation as partial variance reduction of SGD
[M], [B], [S]          ``networks``: their networks, on images of digits
nine later papers      ``later``: claim by claim, simulated
=====================  ============================================================

A module of a paper offers ``reproduce(folder, progress) -> Report``, some with ``full`` for the published sizes. Cost:
a few seconds for each, half a minute for the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fastdistill.pages.errors import InputError
from fastdistill.reproduce.papers import PAPERS

if TYPE_CHECKING:
    from fastdistill.pages.parts import Report

__all__ = ["PAPERS", "InputError", "page_name", "run"]


def run(
    names: Sequence[str],
    out: Path,
    data: Path | None = None,
    download: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
    full: bool = False,
) -> list[Report]:
    """Reproduce papers and write their tables, pictures and page into a folder: everything, or nothing.

    Parameters
    ----------
    names : sequence of str
        Keys of `PAPERS`.
    out : Path
        Folder for CSV, PNG and the page (``<name>.html`` for one paper, ``report.html`` for several); made if missing.
    data : Path, optional
        Folder of the UCI data sets and MNIST. Without it the protocols of [P], [D] and [S] run on data that
        scikit-learn bundles.
    download : bool
        First fetch the files missing in `data`: from the UCI repository, MNIST from a mirror.
    progress : callable
        Called with a few words at the start of each stage.
    full : bool
        The published sizes where runs are kept small by default: hours instead of seconds.

    Returns
    -------
    list of Report

    Raises
    ------
    InputError
        A name, folder, file or column that cannot be used; nothing is written then.
    """
    unknown = [name for name in names if name not in PAPERS]
    if unknown:
        raise InputError(f"{unknown[0]!r} is not one of the papers {', '.join(PAPERS)}.")
    if full and not any(PAPERS[name].has_full for name in names):
        raise InputError(f"--full changes nothing for {names[0]}, whose runs always have the published sizes.")
    from fastdistill.pages import files  # loads NumPy
    from fastdistill.reproduce.report import ABOUT

    modules = [import_module(f"{__name__}.{name}") for name in names]
    with files.staged(out) as folder:
        wanted = dict.fromkeys(key for name in names for key in PAPERS[name].datasets)
        _prepare_data(list(wanted), data, download, progress)
        reports = [
            module.reproduce(data, progress, **({"full": True} if full and PAPERS[name].has_full else {}))
            for name, module in zip(names, modules, strict=True)
        ]
        files.write(reports, page_name(names), folder, ABOUT, progress)
    return reports


def page_name(names: Sequence[str]) -> str:
    """The file name of the page: that of the paper, or ``report.html`` for several."""
    return f"{names[0]}.html" if len(names) == 1 else "report.html"


def _prepare_data(keys: list[str], folder: Path | None, download: bool, progress: Callable[[str], None]) -> None:
    """Fetch what is to be fetched and check that nothing is missing, before minutes of work depend on it."""
    if folder is None:
        if download:
            raise InputError("--download needs --data DIR, the folder to keep the files in.")
        return
    from fastdistill.reproduce import data

    if download:
        data.download(keys, folder, progress)
    data.check(keys, folder)
