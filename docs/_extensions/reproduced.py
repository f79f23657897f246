"""The directive ``.. reproduced:: PAPER``: tables and pictures of ``fastdistill reproduce PAPER``, made while building.

On data that scikit-learn bundles, as the command without ``--data``; half a minute for all five papers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from fastdistill import reproduce

FOLDER = "auto_reproduced"  # beside the pages, for Sphinx to copy the pictures
MADE: dict[str, Any] = {}  # reports of this build, by paper


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def table_lines(table: Any) -> list[str]:
    """A list-table with the title and the notes of a table of a report."""
    lines = [f".. rubric:: {plain(table.title)}", "", ".. list-table::", "   :header-rows: 1", ""]
    for row in (table.headings, *table.shown):
        lines += [f"   {'* -' if i == 0 else '  -'} {plain(str(cell)) or '–'}" for i, cell in enumerate(row)]
    return [*lines, "", *(f"* {plain(note)}" for note in table.notes), ""]


def picture_lines(picture: Any, stem: str) -> list[str]:
    paper = f"*In the paper:* {plain(picture.in_paper)} " if picture.in_paper else ""
    return [
        f".. figure:: /{FOLDER}/{stem}.png",
        f"   :alt: {plain(picture.title)}",
        "",
        f"   **{plain(picture.title)}.** {paper}*What we see:* {plain(picture.we_see)}",
        "",
    ]


class Reproduced(SphinxDirective):
    """Tables first, then pictures."""

    required_arguments: ClassVar[int] = 1  # type: ignore[misc]  # docutils declares an instance variable

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in MADE:
            (MADE[name],) = reproduce.run([name], Path(self.env.srcdir) / FOLDER)
        report = MADE[name]
        lines = ["What was assumed:", "", *(f"* {plain(line)}" for line in report.assumptions), ""]
        for table in report.tables:
            lines += table_lines(table)
        for picture in report.pictures:
            lines += picture_lines(picture, f"{report.name}-{picture.name}")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("reproduced", Reproduced)
    return {"parallel_read_safe": False}
