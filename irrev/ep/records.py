"""Results of entropy-production inference as Datasets of `irrev.schema`: one row a shard."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep.result import MaxEntEp

TOP_PAIRS = 100  # strongest pairs kept in the row; the whole map is a Dataset of its own


def maxent_row(ep: MaxEntEp, units: xr.Dataset) -> xr.Dataset:
    """Return one row of kind `spikes/maxent`, without its identity.

    Parameters
    ----------
    ep
        The estimate.
    units
        The recording with the units used, of kind `spikes`, in the order of the estimate.
    """
    scalars = {
        "ep_per_step": ep.value,
        "ep_per_step_low": ep.low,
        "ep_per_step_high": ep.high,
        "ep_rate": ep.rate,
        "ep_rate_low": ep.rate_low,
        "ep_rate_high": ep.rate_high,
        "ep_per_spike": ep.per_spike,
        "ep_per_spike_low": ep.per_spike_low,
        "ep_per_spike_high": ep.per_spike_high,
        "ep_certified": ep.certified,
        "ep_train": ep.train,
        "ep_newton1": ep.newton1,
        "ep_tur": ep.tur,
        "p": ep.p,
        "statistic": ep.statistic,
        "ess": ep.ess,
        "bin_s": ep.bin_s,
        "lost": ep.lost,
        "drift": ep.drift,
    }
    counts = {"n_units": ep.n_units, "n_steps": ep.n_steps, "n_spikes": ep.n_spikes}
    texts = {"solver": ep.solver, "coding": ep.coding, "notes": "; ".join(ep.notes)}
    series = {
        "fold_value": ("fold", ep.fold_values),
        "fold_limit": ("fold", ep.fold_limits),
        "null_value": ("draw", ep.null_values),
        "curve_train": ("iteration", ep.curve_train),
        "curve_validation": ("iteration", ep.curve_validation),
    }
    return xr.Dataset(
        {
            **{name: ("shard", np.array([value], np.float64)) for name, value in scalars.items()},
            **{name: ("shard", np.array([value], np.int64)) for name, value in counts.items()},
            **{name: ("shard", np.array([text], object)) for name, text in texts.items()},
            "saturated": ("shard", np.array([ep.saturated])),
            **{name: (("shard", dim), values[None]) for name, (dim, values) in series.items()},
            **_top_pairs(ep, units),
        },
        attrs={"level": ep.level},
    )


def couplings(ep: MaxEntEp, units: xr.Dataset) -> xr.Dataset:
    """Return the directed coupling map, of kind `spikes/couplings`."""
    names, areas = _labels(units)
    return xr.Dataset(
        {
            "unit_to": ("unit_to", names),
            "unit_from": ("unit_from", names),
            "area_to": ("unit_to", areas),
            "area_from": ("unit_from", areas),
            "theta": (("unit_to", "unit_from"), ep.theta),
            "share": (("unit_to", "unit_from"), ep.share),
        }
    )


def trajectory(ep: MaxEntEp) -> xr.Dataset:
    """Return the held-out estimate of every sample, of kind `spikes/trajectory`."""
    assert ep.step is not None
    assert ep.trajectory is not None
    return xr.Dataset(
        {
            "step": ("step", ep.step),
            "ep": ("step", ep.trajectory.astype(np.float32)),
            "bin_s": ep.bin_s,
        }
    )


def _labels(units: xr.Dataset) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    names = units["unit"].to_numpy().astype(str).astype(object)
    if "area" not in units:
        return names, np.full(names.size, "", dtype=object)
    return names, units["area"].to_numpy().astype(str).astype(object)


def _top_pairs(
    ep: MaxEntEp, units: xr.Dataset
) -> dict[str, tuple[tuple[str, str], NDArray[np.generic]]]:
    """Rank pairs by what they contribute; the earlier unit is the one whose coupling is > 0."""
    names, areas = _labels(units)
    later, earlier = np.nonzero(ep.theta > 0)
    order = np.argsort(-ep.share[later, earlier], kind="stable")[:TOP_PAIRS]
    later, earlier = later[order], earlier[order]
    dims = ("shard", "rank")
    return {
        "pair_from": (dims, names[earlier][None]),
        "pair_to": (dims, names[later][None]),
        "pair_from_area": (dims, areas[earlier][None]),
        "pair_to_area": (dims, areas[later][None]),
        "pair_theta": (dims, ep.theta[later, earlier][None]),
        "pair_share": (dims, ep.share[later, earlier][None]),
    }
