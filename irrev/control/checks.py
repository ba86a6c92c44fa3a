"""Refuse what has no physics or no meaning, before anything is divided by it."""

from typing import Any, get_args

import numpy as np

from irrev.errors import InputError


def require_positive(**values: float) -> None:
    """Raise an error that names the first value that is not above zero."""
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name} is {value}; it must be positive.")


def require_physics(
    duration: float,
    mobility: float,
    kT: float,
    n_intervals: int,
    substeps: int,
    **more: float,
) -> None:
    """Check what every task needs, and more constants that must be positive."""
    require_positive(duration=duration, mobility=mobility, kT=kT, **more)
    require_positive(n_intervals=n_intervals, substeps=substeps)


def require_way(**values: float) -> None:
    """Check distances: finite and not zero."""
    for name, value in values.items():
        if not np.isfinite(value) or value == 0:
            raise InputError(f"{name} is {value}; give a finite number that is not 0.")


def require_choice(name: str, value: object, choices: Any) -> None:
    """Check that a value is one of a Literal type's."""
    known = get_args(choices)
    if value not in known:
        raise InputError(f"{name} is {value!r}; use one of {', '.join(known)}.")
