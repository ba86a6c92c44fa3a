"""Spike times in seconds -> sparse 0/1 bins and the transitions that may be used."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SpikeBins:
    """Binarised spikes in compressed-row form: memory follows the spikes, not bins x units."""

    indptr: NDArray[np.int64]  # (n_bins + 1,) row starts in `indices`
    indices: NDArray[np.int32]  # (n_active,) units active in each bin, ascending within a bin
    n_units: int
    bin_s: float  # width of a bin, s
    segments: NDArray[np.int64]  # (n_segments, 2) half-open bin ranges without a gap
    n_spikes: int  # spikes inside the segments, before binarisation
    lost: float  # fraction of these that fell on an already active cell
