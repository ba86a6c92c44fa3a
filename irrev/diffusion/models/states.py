"""The state of a training as one Dataset of bytes, so that a store can keep it."""

import numpy as np
import xarray as xr
from torch import Tensor


def state_to_dataset(state: dict[str, Tensor]) -> xr.Dataset:
    """Pack named tensors; kind "model"."""
    from safetensors.torch import save

    data = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
    return xr.Dataset({"weights": ("byte", np.frombuffer(data, dtype=np.uint8))})


def state_from_dataset(ds: xr.Dataset) -> dict[str, Tensor]:
    """Unpack what `state_to_dataset` packed."""
    from safetensors.torch import load

    return load(ds["weights"].to_numpy().tobytes())
