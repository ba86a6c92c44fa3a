"""What a page is made of; sections fill it, the template prints it."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import StringIO
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's own text colour, so that figures follow light and dark
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "svg.hashsalt": "irrev",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(INKED, INK),
}
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure: inline SVG, what it shows, and how to read it."""

    svg: str
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class TableBlock:
    """One table."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One flow's part of the page."""

    title: str
    verdicts: list[str]  # in words, also shown at the top
    statement: str  # what is and what is not certified
    pictures: list[Picture] = field(default_factory=list)
    tables: list[TableBlock] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page."""

    project: str
    measured: str  # one sentence: what, on what
    sections: list[Section]
    quality: list[TableBlock]
    quarantine: TableBlock | None
    provenance: list[tuple[str, str]]
    inputs: TableBlock
    config: str  # pipeline file with all defaults
    repeat: str  # commands


def part_key(part: str, shard: str) -> str:
    """Name a further Dataset of a shard among the extras of its flow."""
    return f"{part}\n{shard}"


def style() -> AbstractContextManager[None]:
    """Return the context in which a page's figures are drawn."""
    return mpl.rc_context(STYLE)


def picture(ax: Axes, alt: str, caption: str) -> Picture:
    """Turn a drawn Axes into inline SVG whose text and lines take the page's colour."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.patch.set_alpha(0.0)
    for axes in figure.axes:
        axes.patch.set_alpha(0.0)
    buffer = StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    mark = f"p{next(_numbers)}-"
    svg = re.sub(r'\bid="', f'id="{mark}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{mark}", svg)
    svg = re.sub(r'<svg\b[^>]*?\bviewBox="([^"]+)"[^>]*>', _svg_open, svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return Picture(svg, alt, caption)


def _svg_open(match: re.Match[str]) -> str:
    width = float(match[1].split()[2])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{match[1]}" style="width:100%;max-width:{width * 4 / 3:.0f}px" '
        'aria-hidden="true" focusable="false">'
    )
