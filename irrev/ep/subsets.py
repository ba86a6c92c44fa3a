"""Entropy production against population size: random subsets of the units of a recording.

The units that are active in at least a given part of the bins are the candidates; subsets of each
size are drawn from them without replacement, several times. A subset depends on the candidates, a
seed of draws, its size and its number only, so that conditions of a recording are compared over
the same units. The protocol of the published neural study: bins of 10 ms,
units active in at least 2 % of them, 50 to 300 units, 10 draws, nats per spike.

Draws of one recording overlap, so their spread is no standard error of the recording's value. The
p-value of a recording is twice the median of those of the draws at the largest size, which is
valid whatever their dependence.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026) for the protocol; the
combined p-value after L. Rueschendorf, Adv. Appl. Probab. 14, 623 (1982).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import SpikeBins
from irrev.ep.maxent import maxent_ep
from irrev.errors import InputError

METHOD_VERSION = 4  # raise it when numbers change


def draw_subset(units: NDArray[np.int64], size: int, draw: int, seed: int) -> NDArray[np.int64]:
    """Draw `size` of the units, ascending; the same for all conditions of a recording."""
    rng = np.random.default_rng([seed, size, draw])
    return np.sort(rng.choice(units, size, replace=False))


def take_units(bins: SpikeBins, units: NDArray[np.int64]) -> SpikeBins:
    """Keep some units of a binned recording, numbered anew in the given order.

    Examples
    --------
    >>> bins = SpikeBins.from_dense([[1, 0, 1], [0, 1, 0]], 0.01)
    >>> take_units(bins, np.array([1, 2])).to_dense().astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    number = np.full(bins.n_units, -1, np.int32)
    number[units] = np.arange(units.size)
    new = number[bins.indices]
    kept = new >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    indptr = before[bins.indptr].astype(np.int64)
    n_active = int(before[-1])
    return SpikeBins(
        indptr=indptr,
        indices=new[kept],
        n_units=units.size,
        bin_s=bins.bin_s,
        segments=bins.segments,
        n_spikes=round(n_active / max(1.0 - bins.lost, 1e-9)),
        lost=bins.lost,
    )


def measure_subset(
    bins: SpikeBins,
    units: NDArray[np.int64],
    *,
    size: int,
    draw: int,
    draw_seed: int,
    seed: int,
    options: dict[str, Any],
) -> xr.Dataset:
    """Estimate the entropy production of one subset; one row along `subset`."""
    chosen = draw_subset(units, size, draw, draw_seed)
    ep = maxent_ep(take_units(bins, chosen), seed=seed, **options)
    scalars = {
        "subset_size": size,
        "subset_draw": draw,
        "subset_ep_per_step": ep.value,
        "subset_ep_per_step_low": ep.low,
        "subset_ep_per_step_high": ep.high,
        "subset_ep_per_spike": ep.per_spike,
        "subset_ep_per_spike_low": ep.per_spike_low,
        "subset_ep_per_spike_high": ep.per_spike_high,
        "subset_spikes_per_step": ep.spikes_per_step,
        "subset_p": ep.p,
        "subset_ess": ep.ess,
    }
    return xr.Dataset(
        {name: ("subset", np.array([x])) for name, x in scalars.items()}, {}, {"level": ep.level}
    )


def subsets_row(parts: Sequence[xr.Dataset], bins: xr.Dataset) -> xr.Dataset:
    """Join the subsets of one recording into a row of kind `study/subsets`, without identity.

    Parameters
    ----------
    parts
        What `measure_subset` returned.
    bins
        With `n_candidates`, `n_units`, `n_steps`, `bin_s`, `lost`.

    Raises
    ------
    InputError
        If there is no subset: too few units are active enough.
    """
    if not parts:
        raise InputError(
            f"{int(bins['n_candidates'])} of {int(bins['n_units'])} units are active enough, "
            "fewer than the smallest size; lower min_active or add a smaller size."
        )
    table = xr.concat(parts, "subset")
    largest = int(table["subset_size"].max())
    top = table.isel(subset=np.flatnonzero(table["subset_size"].to_numpy() == largest))
    values = top["subset_ep_per_spike"].to_numpy()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    rate = top["subset_ep_per_step"].to_numpy() / float(bins["bin_s"])
    scalars = {
        "ep_per_spike": values.mean(),
        "ep_per_spike_low": values.mean() - spread,
        "ep_per_spike_high": values.mean() + spread,
        "ep_rate": rate.mean(),
        "p": min(1.0, 2.0 * float(np.median(top["subset_p"].to_numpy()))),
        "bin_s": float(bins["bin_s"]),
        "lost": float(bins["lost"]),
    }
    counts = {"size": largest, "n_subsets": table.sizes["subset"]}
    counts |= {name: int(bins[name]) for name in ("n_candidates", "n_units", "n_steps")}
    series = {name: (("shard", "subset"), table[name].to_numpy()[None]) for name in table}
    return xr.Dataset(
        {
            **{n: ("shard", np.array([x], np.float64)) for n, x in scalars.items()},
            **{n: ("shard", np.array([x], np.int64)) for n, x in counts.items()},
            **series,
        },
        attrs=parts[0].attrs,
    )
