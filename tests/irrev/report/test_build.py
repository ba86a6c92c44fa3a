"""The page: self-contained, escaped, complete; looked at by a real browser where there is one."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from irrev import schema
from irrev.ep.maxent import maxent_ep
from irrev.ep.records import couplings, maxent_row
from irrev.report.build import make_sections, render
from irrev.report.page import Page, TableBlock
from irrev.verdicts import decide
from storage.results import stack_rows
from tests.flows.conftest import write_recording

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<script>alert(1)</script>"
WIDE = TableBlock(
    "As wide as any",
    ["source", *(f"measure {k}" for k in range(11)), "notes"],
    [["a recording", *["0.00715 (-0.00192 … 0.0172) nat/s"] * 11, "some words about it"]],
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """A page over two measured recordings and a failed one with a hostile name."""
    from irrev.binning import bin_spikes
    from irrev.readers import open_source

    rows, extras = [], {}
    for k, name in enumerate(("driven", "still")):
        path = write_recording(tmp_path_factory.mktemp("data") / "a.npz", k, driven=k == 0)
        ds = open_source(path)
        ep = maxent_ep(bin_spikes(ds, bin_s=0.01), null_draws=99, draws=200)
        rows.append(_identified(maxent_row(ep, ds), name, "done"))
        extras[f"{name}:all"] = couplings(ep, ds)
    rows.append(_identified(schema.blank("spikes/maxent", "shard"), HOSTILE, "failed"))
    table = schema.validate(decide(stack_rows(rows), fdr=0.05), "spikes/maxent")
    sections = make_sections({"spikes/maxent": table}, {"spikes/maxent": extras})
    return render(
        Page(
            project="test",
            measured="Two recordings.",
            sections=sections,
            quality=[TableBlock("Checks", ["item", "found"], [["driven", HOSTILE]]), WIDE],
            quarantine=TableBlock("Quarantine", ["item", "reason"], [[HOSTILE, "bad & odd"]]),
            provenance=[("Seed", "7")],
            inputs=TableBlock("Inputs", ["item", "SHA-256"], [["driven", "ab" * 32]]),
            config="bin: 10 ms",
            repeat="python -m flows run",
        )
    )


def _identified(row, name, status):
    texts = {"shard": f"{name}:all", "source": name, "condition": "all", "status": status}
    texts |= {"error": "it <b>broke</b>" if status == "failed" else "", "input_hash": "0"}
    texts |= {"config_hash": "0", "config": "{}", "units_removed": '{"where": 2}'}
    numbers = {"method_version": 1, "seed": 0}
    return row.assign(
        {k: ("shard", np.array([v], dtype=object)) for k, v in texts.items()}
        | {k: ("shard", np.array([v])) for k, v in numbers.items()}
        | {"seconds": ("shard", np.array([0.1]))}
    )


class Outline(HTMLParser):
    """Collects what a screen reader would need."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_render__needs_no_network_and_no_script(page):
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "@import" not in page


def test_render__escapes_every_text(page):
    assert HOSTILE not in page
    assert "<b>broke" not in page
    assert "&lt;script&gt;" in page


def test_render__can_be_read_aloud(page):
    outline = Outline()
    outline.feed(page)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    pictures = [attrs for tag, attrs in outline.tags if attrs.get("role") == "img"]
    assert len(pictures) >= 7  # one over all, three a measured recording
    assert all(attrs["aria-label"] for attrs in pictures)
    tables = [tag for tag, _ in outline.tags if tag == "table"]
    captions = [tag for tag, _ in outline.tags if tag == "caption"]
    assert len(tables) == len(captions)
    assert all(attrs.get("scope") for tag, attrs in outline.tags if tag == "th")


def test_render__identifiers_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_make_sections__says_how_many_units_each_rule_removed(page):
    assert "`where` removed 2 units" in page


def test_make_sections__says_verdicts_in_words_and_what_is_not_certified(page):
    assert "driven, all" in page
    assert "significant (FDR 5 %)" in page
    assert "not significant" in page
    assert "do not show that one unit drives another" in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 1000, 400])
def test_page__renders_in_a_browser_without_errors_overflow_or_clipped_labels(
    page, width, tmp_path
):
    report = look(page, width, tmp_path)
    assert int(report["pictures"]) >= 7
    assert int(report["empty"]) == 0
    assert int(report["scroll"]) <= width  # the page itself never scrolls sideways
    assert float(report["smallest"]) >= 8.0  # px, of any label in a figure
    assert int(report["clipped"]) == 0
    assert int(report["cells"]) > 40
    assert int(report["hidden"]) == 0  # every column is in sight, verdicts and notes too
    assert int(report["listed"]) == {1280: 0, 1000: 12}.get(width, int(report["values"]))


def look(page: str, width: int, folder: Path) -> dict[str, str]:
    """Load a page in a frame of the given width and measure it from outside."""
    folder.mkdir(exist_ok=True)
    framed = folder / "frame.html"
    source = base64.b64encode(page.encode()).decode()
    framed.write_text(PROBE.replace("WIDTH", str(width)).replace("SOURCE", source))
    return dict(re.findall(r'data-(\w+)="([^"]*)"', _dump(framed, folder)))


def _dump(path: Path, profile: Path) -> str:
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile / 'profile'}", "--enable-logging=stderr", "--v=0"]
    command += ["--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    return done.stdout


PROBE = """<!doctype html><html><body>
<iframe id="f" style="width:WIDTHpx;height:900px;border:0"></iframe>
<script>
const html = new TextDecoder().decode(Uint8Array.from(atob("SOURCE"), c => c.charCodeAt(0)));
const frame = document.getElementById("f");
frame.srcdoc = html;
frame.onload = () => {
  const page = frame.contentDocument, data = document.body.dataset;
  const pictures = [...page.querySelectorAll("figure svg")];
  data.pictures = pictures.length;
  data.empty = pictures.filter(p => p.getBoundingClientRect().height < 40).length;
  data.scroll = page.documentElement.scrollWidth;
  let hidden = 0;
  const cells = [...page.querySelectorAll("tbody th, tbody td")];
  for (const cell of cells) {
    const view = cell.closest(".scroll").getBoundingClientRect();
    const r = cell.getBoundingClientRect();
    if (r.width && (r.left < view.left - 1 || r.right > view.right + 1)) hidden += 1;
  }
  data.cells = cells.length;
  const values = cells.filter(c => c.tagName === "TD" && c.textContent);
  data.values = values.length;  // as lists they stand beside the name of their column
  data.listed = values.filter(c => getComputedStyle(c).display === "grid").length;
  data.hidden = hidden;
  let smallest = 99, clipped = 0;
  for (const picture of pictures) {
    const box = picture.getBoundingClientRect();
    for (const label of picture.querySelectorAll("text")) {
      const r = label.getBoundingClientRect();
      const size = parseFloat(getComputedStyle(label).fontSize);
      smallest = Math.min(smallest, size * box.width / picture.viewBox.baseVal.width);
      if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 ||
          r.bottom > box.bottom + 1) clipped += 1;
    }
  }
  data.smallest = smallest;
  data.clipped = clipped;
};
</script></body></html>"""
