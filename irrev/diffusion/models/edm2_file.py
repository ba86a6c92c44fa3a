"""Read an EDM2 checkpoint without running any code that it carries.

A published file is a pickle whose every module holds its own Python source, which the original
loader executes. Here a restricted reader turns those modules into inert records, takes the
tensors and the constructor's keywords out, and refuses every name that is not on its list. Convert
a file once, outside any worker:

    python -m irrev.diffusion.models.edm2_file edm2-img512-xs-2147483-0.135.pkl edm2-xs

writes edm2-xs/edm2.safetensors and edm2-xs/config.json.

Source: the file format as seen in the public repository NVlabs/edm2 (CC BY-NC-SA 4.0); none of
its code or weights is used here, and whoever supplies a weight file accepts its licence.
"""

import argparse
import collections
import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irrev.errors import FormatError

CONFIG_KEYS = (
    "img_resolution",
    "img_channels",
    "label_dim",
    "model_channels",
    "channel_mult",
    "num_blocks",
    "attn_resolutions",
    "channels_per_head",
    "sigma_data",
    "logvar_channels",
)


class Record:
    """What is kept of a pickled module: its class's name and its attributes."""

    def __init__(self, meta: dict[str, Any] | None = None, **_: object) -> None:
        self.class_name = (meta or {}).get("class_name", "")
        self.state: dict[str, Any] = (meta or {}).get("state", {})

    def __setstate__(self, state: object) -> None:
        """Keep attributes that the pickle sets, on objects that were made without a call too."""
        if isinstance(state, dict):
            self.state = {**vars(self).get("state", {}), **state}


class _ModuleDict(Record):
    """A plain container of modules."""


def _storage_from_bytes(data: bytes) -> object:
    return torch.load(io.BytesIO(data), weights_only=True)


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Record,
    ("dnnlib.util", "EasyDict"): dict,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch.nn.modules.container", "ModuleDict"): _ModuleDict,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # pyright: ignore
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore
    ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,  # pyright: ignore
    ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,  # pyright: ignore
}


class _Reader(pickle.Unpickler):
    """Unpickler that resolves the names of ALLOWED and no others."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise FormatError(
                f"the pickle asks for {module_name}.{global_name}, which is not needed to read "
                "EDM2 weights; do not load this file."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise FormatError(
            f"the pickle refers to outside storage {pid!r}; EDM2 files hold everything inside."
        )


def read_edm2(path: str | Path, *, key: str = "ema") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and configuration from a published EDM2 pickle.

    Parameters
    ----------
    path
        The .pkl file.
    key
        Entry that holds the network.

    Returns
    -------
        Tensors by full name (`unet.enc...`), and the constructor's keywords.

    Raises
    ------
    FormatError
        If the file asks for a name that is not allowed, or holds no network.
    """
    try:
        with Path(path).open("rb") as file:
            content = _Reader(file).load()
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError,
            KeyError, IndexError, RuntimeError) as error:  # fmt: skip
        raise FormatError(f"{path}: not an EDM2 pickle ({error}); download it again.") from error
    network = content.get(key) if isinstance(content, dict) else None
    if not isinstance(network, Record):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise FormatError(f"{path}: no network under {key!r} among {found}; name the right key.")
    weights: dict[str, Tensor] = {}
    _collect(network, "", weights)
    keywords = _keywords(network)
    config = {k: keywords[k] for k in CONFIG_KEYS if k in keywords}
    return weights, config


def _keywords(network: Record) -> dict[str, Any]:
    """Merge the constructor's keywords of the preconditioning and of the network inside."""
    modules = network.state.get("_modules", {})
    inner = modules.get("unet")
    out = dict(inner.state.get("_init_kwargs", {})) if isinstance(inner, Record) else {}
    return out | dict(network.state.get("_init_kwargs", {}))


def _collect(record: Record, prefix: str, out: dict[str, Tensor]) -> None:
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (record.state.get(kind) or {}).items():
            if tensor is not None:
                out[prefix + name] = tensor.detach().clone()
    for name, child in (record.state.get("_modules") or {}).items():
        if isinstance(child, Record):
            _collect(child, f"{prefix}{name}.", out)


def write_edm2(weights: dict[str, Tensor], config: dict[str, Any], folder: str | Path) -> Path:
    """Write weights as safetensors with their configuration beside; return the weight file."""
    from safetensors.torch import save_file

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2))
    save_file({k: v.contiguous() for k, v in weights.items()}, out / "edm2.safetensors")
    return out / "edm2.safetensors"


def load_edm2(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_edm2` wrote.

    Raises
    ------
    FormatError
        If one of the two files is missing or not what it should be.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        return load_file(folder / "edm2.safetensors"), config
    except (OSError, SafetensorError, ValueError) as error:
        raise FormatError(
            f"{folder}: {error}; convert the pickle again with read_edm2 and write_edm2."
        ) from error


def main() -> int:
    """Convert the pickle named first into the folder named second."""
    parser = argparse.ArgumentParser(prog="edm2_file", description=main.__doc__)
    parser.add_argument("pickle", type=Path)
    parser.add_argument("folder", type=Path)
    names = parser.parse_args()
    try:
        weights, config = read_edm2(names.pickle)
        written = write_edm2(weights, config, names.folder)
    except (FormatError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    values = sum(w.numel() for w in weights.values())
    print(f"{written}: {len(weights)} tensors, {values:,} values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
