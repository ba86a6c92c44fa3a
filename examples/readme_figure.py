"""Draw the README's figure from the store that `make run` leaves."""

from pathlib import Path

from matplotlib.figure import Figure

from flows.config import load
from flows.show import open_store, results
from irrev import plots
from irrev.report.page import picture, style

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write docs/figures/readme.svg: values with intervals, and the couplings of one condition."""
    repo = open_store(load(ROOT / "pipeline.yaml"))
    ds = results(repo)["spikes"]
    with style():
        figure = Figure(figsize=(9.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        plots.ep_by_shard(ds, left)
        strongest = ds.isel(shard=int(ds["ep_rate"].to_numpy().argmax()))
        group = f"results/spikes/couplings/{strongest['source'].item()}"
        plots.coupling_map(repo.read(f"{group}/{strongest['condition'].item()}"), right)
        svg = picture(left, "", "").svg
    # on a page of its own the figure needs a ground and an ink
    svg = svg.replace("currentColor", "#1a1a1a").replace(' aria-hidden="true"', "")
    svg = svg.replace('style="', 'style="background:#ffffff;', 1)
    (ROOT / "docs" / "figures" / "readme.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
