"""Entropy production against bin width: what a recording shows depends on it.

Too narrow a bin leaves no coincidence at lag one, too wide a one loses spikes to binarisation and
averages over time. Compare rates (per second) and values per spike, not values per bin.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import bin_spikes
from irrev.ep.maxent import maxent_ep
from irrev.ep.result import MaxEntEp

WIDTHS = (0.002, 0.005, 0.01, 0.02, 0.05)  # s


def sweep_bins(
    ds: xr.Dataset,
    *,
    widths: Sequence[float] = WIDTHS,
    intervals: NDArray[np.float64] | None = None,
    **options: Any,
) -> tuple[MaxEntEp, ...]:
    """Estimate the entropy production at several bin widths.

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    widths
        Bin widths, s.
    intervals
        Starts and stops, s, shape (interval, 2); default all recorded spans.
    options
        Options of `irrev.maxent_ep`.

    Returns
    -------
        One estimate a width, in the same order; `rate` and `per_spike` compare them.
    """
    return tuple(
        maxent_ep(bin_spikes(ds, bin_s=width, intervals=intervals), **options) for width in widths
    )
