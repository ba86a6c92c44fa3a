"""Spin systems: couplings of your own (NPZ, CSV), or the numbers of a random model (JSON).

NPZ     arrays `coupling` (spin, spin), row driven by column, and optionally `field` (spin,)
CSV     the matrix of couplings, no header
JSON    {"n_spins": 100, "degree": 6, "mean": 0.0, "spread": 1.0, "seed": 0}; degree null: all
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from irrev.errors import FormatError, InputError
from irrev.simulate.spins import spin_couplings

KEYS = {"n_spins", "degree", "mean", "spread", "seed"}
MAX_SPINS = 20_000


def open_spins(path: Path, *, on_error: str = "quarantine") -> xr.Dataset:
    """Read one system of kind `spins`.

    Raises
    ------
    FormatError
        If the file is not as described above.
    """
    del on_error  # nothing can be mended
    path = Path(path)
    if path.suffix == ".json":
        coupling, field = _drawn(path), None
    elif path.suffix == ".npz":
        coupling, field = _stored(path)
    elif not path.read_text(errors="replace").strip():
        raise FormatError(f"{path.name}: the file is empty; give a matrix of couplings.")
    else:
        try:
            coupling, field = np.loadtxt(path, delimiter=",", ndmin=2), None
        except ValueError as error:
            raise FormatError(f"{path.name}: no matrix of numbers ({error}).") from None
    n = coupling.shape[0]
    if coupling.shape != (n, n) or n < 2 or not np.isfinite(coupling).all():
        raise FormatError(
            f"{path.name}: couplings have shape {coupling.shape}; give a square matrix of finite "
            "numbers, row driven by column."
        )
    if np.any(np.diag(coupling)):
        raise FormatError(f"{path.name}: a spin drives itself; set the diagonal to 0.")
    field = np.zeros(n) if field is None else field
    if field.shape != (n,):
        raise FormatError(f"{path.name}: {field.shape} fields for {n} spins; give one each.")
    return xr.Dataset(
        {"coupling": (("spin", "driver"), coupling.astype(np.float64)), "field": ("spin", field)},
        attrs={"reader": "spins", "reader_version": 1},
    )


def _drawn(path: Path) -> np.ndarray:
    try:
        model: Any = json.loads(path.read_text())
    except ValueError as error:
        raise FormatError(f"{path.name}: no JSON ({error}).") from None
    if not isinstance(model, dict) or not set(model) <= KEYS or "n_spins" not in model:
        raise FormatError(f"{path.name}: give n_spins and, of the others, {sorted(KEYS)}.")
    n = model["n_spins"]
    if not isinstance(n, int) or not 2 <= n <= MAX_SPINS:
        raise FormatError(f"{path.name}: n_spins is {n!r}; give 2 to {MAX_SPINS}.")
    seed = model.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise FormatError(f"{path.name}: seed is {seed!r}; give a whole number from 0 up.")
    rng = np.random.default_rng(seed)
    options = {k: model[k] for k in ("degree", "mean", "spread") if k in model}
    try:
        return spin_couplings(n, rng, **options)
    except (TypeError, ValueError, InputError) as error:
        raise FormatError(f"{path.name}: {error}.") from None


def _stored(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            field = np.asarray(file["field"], np.float64) if "field" in file else None
            return np.asarray(file["coupling"], np.float64), field
    except (KeyError, ValueError, OSError) as error:
        raise FormatError(f"{path.name}: no array `coupling` of numbers ({error}).") from None
