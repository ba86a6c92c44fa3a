"""Figures of docs/methods/maxent_studies.md, from the stores of the example pipelines.

python -m flows run -c examples/spins.yaml       # then study.yaml, neuro.yaml
python examples/maxent_figures.py results/spins results/study results/neuro docs/figures
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from irrev import plots_spikes as plots
from storage.layout import node_name
from storage.repository import Repository, StoreRef


def save(ax: Axes, path: Path) -> None:
    """Write one figure."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    print(path)


def opened(url: str) -> Repository | None:
    """Open a store if it is there."""
    return Repository.open(StoreRef(url)) if Path(url).exists() else None


def done(ds: xr.Dataset) -> xr.Dataset:
    """Keep the rows that have values."""
    return ds.isel(shard=np.flatnonzero(ds["status"].to_numpy().astype(str) == "done"))


def spins(repo: Repository, folder: Path) -> None:
    """Draw every system against temperature, and its couplings where R^2 is largest."""
    ds = done(repo.read("results/spins/multipartite").load())
    sources = ds["source"].to_numpy().astype(str)
    for name in dict.fromkeys(sources):
        part = ds.isel(shard=np.flatnonzero(sources == name))
        stem = name.rsplit("/", 1)[-1]
        save(plots.ep_against_beta(part), folder / f"maxent_spins_{stem}.png")
        row = part.isel(shard=int(np.argmax(part["r_squared"].to_numpy())))
        condition = node_name(str(row["condition"].item()))
        group = f"results/spins/couplings/{name}/{condition}"
        pairs = repo.read(group).load()
        save(plots.recovered_couplings(pairs), folder / f"maxent_couplings_{stem}.png")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("spins", "study", "neuro", "folder"):
        parser.add_argument(name)
    options = parser.parse_args()
    folder = Path(options.folder)
    if (repo := opened(options.spins)) is not None:
        spins(repo, folder)
    if (repo := opened(options.study)) is not None:
        ds = repo.read("results/study/subsets").load()
        save(plots.population_size(ds), folder / "maxent_population_size.png")
    if (repo := opened(options.neuro)) is not None:
        ds = repo.read("results/spikes/maxent").load()
        for value in ("ep_rate", "ep_per_spike"):
            save(plots.over_days(ds, value=value), folder / f"maxent_days_{value}.png")


if __name__ == "__main__":
    main()
