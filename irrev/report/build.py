"""Datasets -> one self-contained HTML page: no network, no script."""

from collections.abc import Mapping

import jinja2
import xarray as xr

from irrev.report.page import Page, Section, style
from irrev.report.sections import SECTIONS, Extras


def make_sections(
    results: Mapping[str, xr.Dataset], extras: Mapping[str, Extras]
) -> list[Section]:
    """Draw one section for each result table.

    Parameters
    ----------
    results
        Schema kind -> decided result table.
    extras
        Schema kind -> shard -> further Dataset of that shard.
    """
    with style():
        return [
            SECTIONS[kind](ds, extras.get(kind, {}))
            for kind, ds in results.items()
            if kind in SECTIONS
        ]


def render(page: Page) -> str:
    """Return the page as HTML; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irrev.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(page=page)
