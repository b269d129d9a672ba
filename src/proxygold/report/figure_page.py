"""A page of one or more figures with their numbers under them: a single HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxygold import __version__
from proxygold.report.charts import Figure
from proxygold.report.pages import json_for_html, page_environment, page_scripts, page_style, script_policy
from proxygold.store import write_whole

__all__ = ["PageFigure", "write_figure_page"]


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure of `charts.py`'s kind. `columns` and `rows` are its numbers as text, for who cannot see it."""

    title: str
    figure: Figure
    about: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def write_figure_page(path: Path, title: str, figures: Sequence[PageFigure], *, about: str = "") -> None:
    """Write the page of `figures` to `path`, whole or not at all. All text is escaped, wherever it comes from.

    Raises ConfigError when plotly or jinja2 is missing.
    """
    environment, scripts = page_environment(), page_scripts()
    html = environment.get_template("figure.html.j2").render(
        about=about,
        charts=json_for_html({f"figure-{number}": item.figure for number, item in enumerate(figures, start=1)}),
        figures=figures,
        policy=script_policy(scripts),
        scripts=scripts,
        style=page_style(),
        title=title,
        version=__version__,
    )
    write_whole(path, html)
