"""Figures of docs/methods/witness.md: simulated drive, power, and real recordings.

    python examples/witness_figures.py [--data FOLDER]

Simulated figures need nothing. FOLDER holds the recordings of docs/methods/witness.md in the
subfolder timeseries; without it the real ones are left out. Writes to docs/figures.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import irrev
from irrev import plots_witness as plots
from irrev.ep.witness_null import detection_threshold
from irrev.plots import BLUE, ORANGE, new_axes
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DAY = 86_400.0


def driven(coupling: float, poles: tuple[float, float]) -> SharedDrive:
    """Two channels with a common drive of pole 0.8."""
    return SharedDrive(coupling, poles, (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)


def coupling_curve(ax: Axes) -> Axes:
    """W against coupling: exact, estimated with two standard errors, leading order."""
    rng = np.random.default_rng(0)
    line = np.geomspace(0.08, 1.0, 60)
    exact = [driven(c, (0.8, 0.8)).witness() for c in line]
    leading = driven(1.0, (0.8, 0.8)).leading_coefficient() * line**4
    ax.loglog(line, exact, "--", color="0.4", label="exact")
    ax.loglog(line, leading, ":", color="0.6", label="fourth power")
    styles = (((0.8, 0.8), BLUE, "o"), ((0.3, 0.9), ORANGE, "s"))
    for k, (poles, colour, marker) in enumerate(styles):
        for coupling in np.geomspace(0.1, 0.9, 8) * (1 + 0.02 * k):
            x = simulate_shared_drive(driven(coupling, poles), 65_536, rng=rng)
            ds = irrev.witness(x, fs=1.0)
            w, error = float(ds["W"][0]), 2 * float(ds["W_se"][0])
            down = min(error, 0.9 * w)
            ax.errorbar(
                coupling, w, yerr=[[down], [error]], fmt=marker, color=colour, markersize=4
            )
        ax.plot([], [], marker, color=colour, label=f"channel poles {poles[0]}, {poles[1]}")
    ax.set(xlabel="coupling", ylabel="W (nat per sample)", ylim=(1e-4, 1))
    ax.legend(frameon=False, fontsize=8)
    return ax


def power_curve(ax: Axes) -> Axes:
    """Weakest coupling found with power one half, against length, with the bands as parameter."""
    n = np.geomspace(500, 1e6, 40)
    leading = driven(1.0, (0.8, 0.8)).leading_coefficient()
    for bands, style in ((8, "-"), (16, "--"), (64, ":")):
        threshold = [detection_threshold(int(k), leading, n_bands=bands) for k in n]
        ax.loglog(n, threshold, style, color=BLUE, label=f"M = {bands}")
    ax.set(xlabel="samples", ylabel="coupling found with power 0.5")
    ax.legend(frameon=False, fontsize=8)
    return ax


def save(ax: Axes, name: str) -> None:
    """Write one figure as PNG, a few tens of kB."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.savefig(FIGURES / f"{name}.png", dpi=110)


def main() -> None:
    """Draw all figures that the data at hand allow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the subfolder timeseries")
    data = parser.parse_args().data
    FIGURES.mkdir(parents=True, exist_ok=True)
    save(coupling_curve(new_axes(5.2, 3.6)), "witness_coupling")
    save(power_curve(new_axes(5.2, 3.4)), "witness_power")
    if data is None:
        return
    folder = data / "timeseries"
    wind = irrev.open_source(folder / "irish_wind_daily_1961_1978.csv", kind="timeseries")
    ds = irrev.witness(wind, periods=[365.25 * DAY], keep_coherence=True)
    save(plots.drive_network(ds), "witness_wind_network")
    save(plots.pair_matrix(ds, name="sigma"), "witness_wind_sigma")
    eeg = irrev.open_source(
        folder / "eeglab_data.set", kind="timeseries", epoch_length=385, first_join=89
    )
    ds = irrev.witness(eeg, keep_coherence=True)
    save(plots.pair_matrix(ds), "witness_eeg_w")
    save(plots.coherence_spectra(ds), "witness_eeg_coherence")
    ecg = irrev.open_source(
        folder / "ecg_ptb_s0010_15ch_1kHz.npz", kind="timeseries", shared_reference=True
    )
    save(convergence(ecg, new_axes(5.2, 3.4)), "witness_ecg_convergence")


def convergence(ds: object, ax: Axes) -> Axes:
    """W and sigma of leads v1 and v2 against the number of bands: neither settles."""
    bands = [16, 32, 64, 128, 256, 512]
    runs = [irrev.witness(ds, n_bands=m).set_index(pair="pair").sel(pair="v1|v2") for m in bands]
    for name, colour, style in (("W", BLUE, "o-"), ("sigma", ORANGE, "s--")):
        value = np.array([float(r[name]) for r in runs])
        error = np.array([float(r[f"{name}_se"]) for r in runs])
        ax.errorbar(bands, value, yerr=error, fmt=style, color=colour, markersize=4, label=name)
    ax.set(xlabel="bands", ylabel="nat per sample", xscale="log", yscale="log")
    ax.set_xticks(bands, list(map(str, bands)))
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8)
    return ax


if __name__ == "__main__":
    main()
