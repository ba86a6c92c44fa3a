"""A description of a model -> its denoiser. The one place that knows every kind of model.

{"kind": "digits"}                       trained weights come as bytes
{"kind": "empirical", ...}               from labelled data, no network
{"kind": "mixture", "weights": ..., "means": ..., "cov": ...}
{"kind": "edm2", "path": folder, "reference": folder}
{"kind": "stable_diffusion", "path": folder, "prompts": [...]}
{"kind": "dit", "path": folder}
{"kind": "module", "name": "package.module:attribute", "arguments": {...}}
{"kind": "torchscript", "path": file, "dim": [...], ...}
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.device import MixedPrecision
from irrev.diffusion.exact import GaussianMixture, empirical_denoiser
from irrev.errors import InputError

TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
NEEDED = {
    "mixture": ("weights", "means", "cov"),
    "edm2": ("path",),
    "stable_diffusion": ("path", "prompts"),
    "dit": ("path",),
    "module": ("name",),
    "torchscript": ("path", "dim"),
}
OWN_TYPE = frozenset({"edm2", "stable_diffusion", "dit"})  # these take their type themselves


def build_denoiser(
    model: Mapping[str, Any],
    *,
    weights: bytes = b"",
    data: NDArray[np.floating] | None = None,
    labels: NDArray[np.integer] | None = None,
    device: str = "cpu",
) -> Denoiser:
    """Make the denoiser that a description names.

    Parameters
    ----------
    model
        `kind` and what that kind needs, see the head of this module; `dtype` (float64, float32,
        float16, bfloat16) is what the network computes in.
    weights
        safetensors file of a model that was trained here.
    data, labels
        Reference rows of the empirical model.
    device
        cpu or cuda.

    Raises
    ------
    InputError
        If the kind is unknown or needs something that is not there.
    """
    kind, name = model.get("kind"), model.get("dtype", "float32")
    options = {k: v for k, v in model.items() if k not in ("kind", "dtype")}
    if name not in TYPES:
        raise InputError(f"dtype {name!r} is not known; choose {', '.join(TYPES)}.")
    missing = [k for k in NEEDED.get(str(kind), ()) if k not in options]
    if missing:
        raise InputError(f"a model of kind {kind} needs {', '.join(missing)} too.")
    dtype = TYPES[name]
    if kind == "digits":
        if not weights:
            raise InputError("the digit model has no weights yet; train it first.")
        from irrev.diffusion.models.digits import digits_from_bytes

        out: Denoiser = digits_from_bytes(weights, device=device)
    elif kind == "empirical":
        if data is None or labels is None:
            raise InputError("the empirical model reads labelled data; give samples with labels.")
        out = empirical_denoiser(data, labels, bandwidth=options.get("bandwidth"), device=device)
    elif kind in BUILDERS:
        out = BUILDERS[kind](options, dtype, device)
    else:
        known = ", ".join(["digits", "empirical", *BUILDERS])
        raise InputError(f"model kind {kind!r} is not known; choose {known}.")
    if dtype == torch.float32 or kind in OWN_TYPE:
        return out
    return in_double(out) if dtype == torch.float64 else MixedPrecision(out, dtype)


def in_double(denoiser: Denoiser) -> Denoiser:
    """Return a copy of a denoiser whose torch modules and weights are float64."""
    out = copy.deepcopy(denoiser)
    for value in vars(out).values():
        if isinstance(value, torch.nn.Module):
            value.double()
    out.dtype = torch.float64
    return out


def _mixture(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    return GaussianMixture(
        options["weights"], options["means"], options["cov"], options.get("labels"), device=device
    )


def _edm2(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    from irrev.diffusion.models.edm2 import Edm2Config, Edm2Denoiser
    from irrev.diffusion.models.edm2_file import load_edm2

    def load(folder: str, reference: Edm2Denoiser | None) -> Edm2Denoiser:
        weights, keywords = load_edm2(folder)
        config = Edm2Config.from_keywords(keywords)
        return Edm2Denoiser(weights, config, reference=reference, dtype=dtype, device=device)

    partner = options.get("reference")
    return load(options["path"], load(partner, None) if partner else None)


def _stable_diffusion(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    from irrev.diffusion.models.diffusers import load_stable_diffusion

    return load_stable_diffusion(options["path"], options["prompts"], dtype=dtype, device=device)


def _dit(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    from irrev.diffusion.models.diffusers import load_dit

    return load_dit(options["path"], dtype=dtype, device=device)


def _module(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    from irrev.diffusion.models.module import import_denoiser

    return import_denoiser(options["name"], **options.get("arguments", {}))


def _torchscript(options: dict[str, Any], dtype: torch.dtype, device: str) -> Denoiser:
    from irrev.diffusion.models.module import load_torchscript

    known = {k: v for k, v in options.items() if v is not None and k != "path"}
    known["dim"] = tuple(known["dim"])
    return load_torchscript(options["path"], device=device, **known)


BUILDERS: dict[str, Callable[[dict[str, Any], torch.dtype, str], Denoiser]] = {
    "mixture": _mixture,
    "edm2": _edm2,
    "stable_diffusion": _stable_diffusion,
    "dit": _dit,
    "module": _module,
    "torchscript": _torchscript,
}
