"""Options of the witness, refused in one line before any work: what, its value, how to mend."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from irrev.errors import InputError

CHOICES = {
    "fdr_method": ("bh", "by"),
    "null": ("analytic", "shift", "phase"),
    "nan": ("raise", "drop_segment", "split"),
    "precision": ("float64", "float32"),
}
LEAST = {"n_bands": 1, "test_bands": 1, "harmonics": 1, "seed": 0, "first_join": 0}


def check_options(options: Mapping[str, object]) -> None:
    """Refuse options of `witness` that have no meaning.

    Parameters
    ----------
    options
        Name -> value, as passed to `witness`.

    Raises
    ------
    InputError
        Naming the first option that is wrong.
    """
    for name, known in CHOICES.items():
        if options[name] not in known:
            raise InputError(f"{name}={options[name]!r}; use one of {', '.join(known)}.")
    for name in ("level", "fdr"):
        value = options[name]
        if not (is_number(value) and 0 < float(value) < 1):  # pyright: ignore[reportArgumentType]
            raise InputError(f"{name}={value!r}; use a number between 0 and 1, both excluded.")
    for name, least in LEAST.items():
        _require_integer(name, options[name], least)
    if options["null"] != "analytic":
        _require_integer("draws", options["draws"], 1)
    if options["epoch_length"] is not None:
        _require_integer("epoch_length", options["epoch_length"], 2)
        if options["segments"] is not None:
            raise InputError("segments and epoch_length are both given; pass only one of them.")
    elif options["first_join"]:
        raise InputError(
            f"first_join={options['first_join']} without epoch_length; pass epoch_length too."
        )
    _require_band(options["band"])


def is_number(value: object) -> bool:
    """Return whether a value is a finite real number, no boolean.

    Examples
    --------
    >>> is_number(2.0), is_number(True), is_number("2"), is_number(float("inf"))
    (True, False, False, False)
    """
    return (
        isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))
    )


def check_periods(periods: object, fs: float) -> None:
    """Refuse periods that are no numbers or shorter than two samples."""
    if not isinstance(periods, list | tuple | np.ndarray):
        raise InputError(f"periods={periods!r}; give a sequence of seconds, e.g. (0.02,).")
    for period in periods:
        if not is_number(period) or period * fs < 2:
            raise InputError(
                f"period {period!r} s; give seconds, at least two samples = {2 / fs:g} s."
            )


def _require_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name}={value!r}; use an integer of at least {least}.")


def _require_band(band: object) -> None:
    if band is None:
        return
    fits = isinstance(band, list | tuple | np.ndarray) and len(band) == 2
    if not (fits and all(map(is_number, band))):  # pyright: ignore[reportArgumentType]
        raise InputError(f"band={band!r}; give two frequencies in Hz, e.g. band=(8.0, 12.0).")
