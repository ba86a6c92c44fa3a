"""Somebody else's model: a `module:attribute` of theirs, or a TorchScript archive.

A configuration file that names `package.module:attribute` runs that package's code, as any import
does: name only what you would import yourself. A TorchScript archive holds a graph that torch's
own interpreter runs; no Python of the archive is executed.
"""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser, NetworkDenoiser, Prediction, Process
from irrev.errors import FormatError, InputError

REQUIRED = ("dim", "num_classes", "sigma_range", "dtype", "device", "jvp")


def import_denoiser(name: str, **arguments: Any) -> Denoiser:
    """Import a denoiser, or a function that makes one.

    Parameters
    ----------
    name
        `package.module:attribute`; an object with the attributes of `Denoiser`, or a callable that
        returns one.
    arguments
        Passed to the callable.

    Raises
    ------
    InputError
        If the name does not resolve or what it gives is no denoiser.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} is not of the form package.module:attribute.")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name!r}: {error}; check the spelling and the Python path.") from error
    made = _is_denoiser(found) and not isinstance(found, type)
    model: Any = found if made or not callable(found) else found(**arguments)
    if not _is_denoiser(model):
        missing = [a for a in REQUIRED if not hasattr(model, a)]
        raise InputError(
            f"{name!r} gives a {type(model).__name__} without {missing}; see Denoiser."
        )
    return model


def _is_denoiser(thing: object) -> bool:
    return callable(thing) and all(hasattr(thing, a) for a in REQUIRED)


def load_torchscript(
    path: str | Path,
    *,
    dim: tuple[int, ...],
    num_classes: int | None = None,
    prediction: Prediction = "x0",
    process: Process = "ve",
    sigma_range: tuple[float, float] = (2e-3, 80.0),
    device: str | torch.device = "cpu",
) -> NetworkDenoiser:
    """Load an archive whose forward takes (x_t, time, class index) and declare what it returns.

    Parameters
    ----------
    path
        File of `torch.jit.save`. Its class index is int64, -1 for the null condition; a forward of
        two arguments is taken to be unconditional.
    dim, num_classes, prediction, process, sigma_range, device
        As in `NetworkDenoiser`.

    Raises
    ------
    FormatError
        If the file is not a TorchScript archive.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit; the format stays
        try:
            module = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise FormatError(
                f"{path}: not a TorchScript archive ({str(error).splitlines()[0]}); save it with "
                "torch.jit.save."
            ) from error
        conditional = len(module.forward.schema.arguments) > 3  # self, x, time, class

    def network(x: Tensor, time: Tensor, cond: Tensor | None) -> Tensor:
        if not conditional:
            return module(x, time)
        index = torch.full((len(x),), -1, device=x.device) if cond is None else cond
        return module(x, time, index)

    return NetworkDenoiser(
        network, dim=dim, num_classes=num_classes, prediction=prediction, process=process,
        sigma_range=sigma_range, device=device,
    )  # fmt: skip
