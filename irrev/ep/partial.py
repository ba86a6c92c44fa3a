"""One fold of a nested family as a small Dataset: what a worker hands back, and what joins them.

The folds of `irrev.ep.hierarchy` are fitted independently. A fold's held-out sums over blocks are
all that the value and its interval need, so that folds may be computed apart and stored meanwhile;
the rows are the same, bit for bit, as those of all folds together.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from irrev.binning import SpikeBins
from irrev.ep.blockwise import SERIES, BlockwiseSums, merge_folds
from irrev.ep.estimates import Estimate, of_hierarchy, spikes_per_step
from irrev.ep.hierarchy import HierarchySums, finish_hierarchy

FAMILY = "partial_family"  # in a Dataset that holds folds, not rows


def fold_dataset(found: HierarchySums, family: str, bins: SpikeBins) -> xr.Dataset:
    """Return what some folds found, with all that rows of the family need."""
    n_levels, sums = len(found.names), found.sums
    same = {
        FAMILY: np.full(n_levels, family, object),
        "label": np.array(found.names, object),
        "n_observables": found.n_observables,
        "span": np.full(n_levels, found.span),
        "bin_s": np.full(n_levels, bins.bin_s),
        "spikes_per_step": np.full(n_levels, spikes_per_step(bins)),
        "certified": sums.certified,
        "train": sums.train,
    }
    return xr.Dataset(
        {name: ("level", values) for name, values in same.items()}
        | {name: (("level", "block"), getattr(sums, name)) for name in SERIES}
        | {"fold_of_block": ("block", sums.fold_of_block)}
    )


def is_partial(found: xr.Dataset) -> bool:
    """Say whether a Dataset holds folds of a family, not rows."""
    return FAMILY in found


def family_of(found: xr.Dataset) -> str:
    """Return the family of a Dataset of folds."""
    return str(found[FAMILY].values[0])


def joined_rows(
    folds: Sequence[xr.Dataset], *, level: float, draws: int, seed: int
) -> list[Estimate]:
    """Return the rows of a family from all of its folds, in their order."""
    first = folds[0]
    sums = merge_folds([_sums(one) for one in folds])
    found = HierarchySums(
        names=tuple(str(name) for name in first["label"].values),
        n_observables=first["n_observables"].values,
        span=int(first["span"][0]),
        sums=sums,
    )
    ep = finish_hierarchy(found, level=level, draws=draws, seed=seed)
    scale = (float(first["bin_s"][0]), float(first["spikes_per_step"][0]))
    return of_hierarchy(ep, family_of(first), *scale)


def _sums(found: xr.Dataset) -> BlockwiseSums:
    names = (*SERIES, "certified", "train")
    n_levels = found.sizes["level"]
    return BlockwiseSums(
        item=np.arange(n_levels),
        **{name: found[name].values for name in names},
        gram=np.zeros((n_levels, 0, 0)),
        theta=(),
        fold_of_block=found["fold_of_block"].values,
    )
