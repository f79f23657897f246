"""The HTML page of reports: one file that holds its pictures, for a browser or a printer.

Cost: a third more bytes than the pictures have.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from fastdistill.pages.parts import PageText, Picture, Report, Table

READABLE = 64  # pixels on the screen for an inch of a picture, so that letters of 9 points have 8 pixels

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2430; background: #fff; margin: 0 auto; max-width: 58rem;
  padding: 0 1rem 4rem; overflow-wrap: break-word; }
h1 { line-height: 1.25; margin-top: 2rem; } h2 { line-height: 1.3; margin-top: 3rem; border-top: 2px solid #0072b2;
  padding-top: 1rem; } h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
.plain { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem 1rem; margin: 1.2rem 0; }
.reference, figcaption, .notes, footer { color: #4a5361; font-size: .92rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; border-bottom: 1px solid #e2e5ea; white-space: nowrap; }
th { border-bottom: 2px solid #aab2bf; } figure { margin: 1.5rem 0 2.2rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { margin-top: .5rem; }
""".strip()


def page_of(reports: Sequence[Report], images: dict[str, bytes], text: PageText) -> str:
    """The page of some reports, whose pictures are the PNG `images`, by file name."""
    from fastdistill import __version__

    heading = html.escape(text.heading)
    links = "".join(f'<li><a href="#{report.name}">{html.escape(report.title)}</a></li>' for report in reports)
    contents = f"<nav><ul>{links}</ul></nav>" if len(reports) > 1 else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title>\n<style>\n{_STYLE}\n</style></head>\n<body>\n<h1>{heading}</h1>\n"
        f'<p class="plain">{html.escape(text.warning)}</p>\n{contents}\n'
        + "\n".join(_section(report, images, text.remarks) for report in reports)
        + f"\n<footer>fastdistill {__version__}. {html.escape(text.footer)}</footer>\n</body></html>\n"
    )


def _section(report: Report, images: dict[str, bytes], remarks: str) -> str:
    parts = [
        f'<section id="{report.name}"><h2>{html.escape(report.title)}</h2>',
        f'<p class="reference">{html.escape(report.reference)}</p><p>{html.escape(report.summary)}</p>',
        f"<h3>{html.escape(remarks)}</h3>" + _list(report.assumptions),
        *(_html_table(table) for table in report.tables),
        *(_html_picture(picture, f"{report.name}-{picture.name}", images) for picture in report.pictures),
        "</section>",
    ]
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.headings)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.shown)
    notes = f'<div class="notes">{_list(table.notes)}</div>' if table.notes else ""
    return (
        f'<h3>{html.escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def _html_picture(picture: Picture, stem: str, images: dict[str, bytes]) -> str:
    """A figure that scrolls rather than shrink beyond reading, and opens in full size."""
    encoded = base64.b64encode(images[stem]).decode("ascii")
    title, caption = html.escape(picture.title), html.escape(picture.we_see)
    if picture.in_paper:
        caption = f"<b>In the paper:</b> {html.escape(picture.in_paper)}<br><b>What we see:</b> {caption}"
    least = round(READABLE * float(picture.figure.get_size_inches()[0]))
    return (
        f'<figure><h3>{title}</h3><div class="scroll"><a href="{stem}.png"><img alt="{title}" '
        f'style="min-width: {least}px" src="data:image/png;base64,{encoded}"></a></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
