"""Stored samples of a diffusion model, or labelled data to noise: arrays and image folders.

Formats: NPY, NPZ, Zarr written by xarray, and a folder of images with one subfolder a class. Whole
sampling paths come as an array (noise_level, sample, ...) beside their noise levels; the last
level is then the sample. Labels are class indices of the model that shall judge them.
"""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import InputError, MissingExtraError
from irrev.readers import OnError, arrays
from irrev.readers.raw import Findings

VERSION = 1
SAMPLE_NAMES = ("samples", "images", "x", "data", "latents", "arr_0")
LABEL_NAMES = ("labels", "label", "y", "classes")
PATH_NAMES = ("paths", "path", "trajectory", "trajectories")
SIGMA_NAMES = ("sigmas", "sigma", "noise_levels")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_IMAGE_PIXELS = 64_000_000  # of one image; more is a mistake or an attack
BYTE_RANGE = (0.0, 255.0)


def open_samples(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    array: str | None = None,
    labels: str | None = None,
    value_range: tuple[float, float] | None = None,
    image_size: int | None = None,
) -> xr.Dataset:
    """Read samples or paths with their labels.

    Parameters
    ----------
    path
        NPY, NPZ or Zarr, or a folder of images.
    on_error
        `quarantine` drops samples that cannot be used and lists them; `stop` raises.
    array, labels
        Names of the arrays in NPZ or Zarr; by default the usual ones are looked for.
    value_range
        Stored values that stand for -1 and 1; by default floats are kept as they are and bytes
        run from 0 to 255.
    image_size
        Side, pixels, to which images of a folder are scaled; needed if they differ in size.

    Returns
    -------
        Dataset of kind "samples"; attribute `shape` holds the shape of one sample as JSON.

    Raises
    ------
    FormatError
        If the content is not samples, or labels or noise levels do not belong to them.
    InputError
        If an option does not fit.
    """
    findings = Findings(path.name, on_error == "stop")
    if value_range is not None and not value_range[0] < value_range[1]:
        raise InputError(f"value_range is {value_range}; give the smaller value first.")
    names: list[str] = []
    if path.is_dir() and not (path / "zarr.json").is_file():
        found, names = _read_folder(path, findings, image_size)
        reader = "images"
    else:
        reader, found = _read_arrays(path, findings)
    x, levels, sigma = _samples(found, findings, array)
    label = _labels(found, findings, labels, len(x))
    x, levels = (_scaled(a, value_range) if a is not None else None for a in (x, levels))
    assert x is not None
    return _to_dataset(x, levels, sigma, label, names, findings, reader)


def _read_arrays(path: Path, findings: Findings) -> tuple[str, dict[str, NDArray[np.generic]]]:
    if path.is_dir():
        return "zarr", _read_zarr(path, findings)
    if path.suffix.lower() == ".npz":
        return "npz", arrays.read_npz(path)
    return "npy", {"samples": arrays.read_npy(path)}


def _read_zarr(path: Path, findings: Findings) -> dict[str, NDArray[np.generic]]:
    try:
        with xr.open_zarr(path, consolidated=False) as ds:
            return {str(k): np.asarray(v) for k, v in ds.variables.items()}
    except ImportError as error:
        raise MissingExtraError(f"{path.name}: Zarr needs `pip install 'irrev[run]'`.") from error
    except (ValueError, KeyError, OSError) as error:
        raise findings.error(
            f"not a Zarr group that xarray opens ({error})", "write it with xarray, dims named"
        ) from error


def _read_folder(
    path: Path, findings: Findings, image_size: int | None
) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """Read images; a subfolder is a class, in alphabetical order."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("images need Pillow: `pip install 'irrev[report]'`.") from error
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise findings.error("no images in this folder", f"name a folder of {IMAGE_SUFFIXES}")
    names = sorted({p.parent.name for p in files if p.parent != path})
    images, labels, broken = [], [], []
    for file in files:
        try:
            pixels = _pixels(file, image_size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            broken.append(f"{file.name}: {error}")
            continue
        images.append(pixels)
        labels.append(names.index(file.parent.name) if file.parent != path else -1)
    if broken:
        findings.fault(
            "unreadable_image", len(broken), "removed", broken[0], "remove or export it again"
        )
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise findings.error(
            f"images of {len(shapes)} shapes: {sorted(shapes)[:3]}", "set image_size, or one mode"
        )
    found: dict[str, NDArray[np.generic]] = {"samples": np.stack(images)}
    if names and min(labels) >= 0:
        found["labels"] = np.array(labels)
    return found, names


def _pixels(file: Path, image_size: int | None) -> NDArray[np.uint8]:
    """Return one image, (1 or 3, height, width)."""
    from PIL import Image

    with Image.open(file) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        gray = image.mode in ("1", "L", "I", "I;16", "F")
        picture = image.convert("L" if gray else "RGB")
        if image_size:
            picture = picture.resize((image_size, image_size))
        pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if gray else pixels.transpose(2, 0, 1)


def _samples(
    found: dict[str, NDArray[np.generic]], findings: Findings, array: str | None
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None, NDArray[np.float64] | None]:
    """Return samples, and whole paths with their noise levels if the file has them."""
    levels = None if array in found else _pick(found, PATH_NAMES)
    if levels is None:
        x = found.get(array) if array else _pick(found, SAMPLE_NAMES)
        if x is None:
            raise findings.error(
                f"it holds the arrays {', '.join(found) or 'none'}",
                "name the one of the samples: `array: ...`",
            )
        sigma = None
    else:
        sigma = _pick(found, SIGMA_NAMES)
        if sigma is None or sigma.shape != levels.shape[:1]:
            shape = None if sigma is None else sigma.shape
            raise findings.error(
                f"paths of shape {levels.shape} but noise levels of shape {shape}",
                "store one noise level for each row of `paths`, as `sigmas`",
            )
        sigma = sigma.astype(np.float64)
        if len(sigma) < 2 or np.any(np.diff(sigma) >= 0) or not sigma[-1] > 0:
            raise findings.error(
                f"noise levels from {sigma[0]:g} to {sigma[-1]:g} are not positive and falling",
                "store paths from large noise to small",
            )
        x = levels[-1]
    for values in (x, levels):
        if values is not None and (values.dtype.kind not in "fiu" or values.ndim < 2):
            raise findings.error(
                f"samples of type {values.dtype} and shape {values.shape}",
                "store numbers, one sample a row",
            )
    if len(x) == 0:
        raise findings.error("no samples", "write at least one")
    return x, levels, sigma


def _pick(
    found: dict[str, NDArray[np.generic]], names: tuple[str, ...]
) -> NDArray[np.generic] | None:
    return next((found[name] for name in names if name in found), None)


def _labels(
    found: dict[str, NDArray[np.generic]], findings: Findings, name: str | None, n: int
) -> NDArray[np.int64] | None:
    label = found.get(name) if name else _pick(found, LABEL_NAMES)
    if name and label is None:
        raise findings.error(f"no array {name} among {', '.join(found)}", "name the labels' array")
    if label is None:
        return None
    if label.shape != (n,) or label.dtype.kind not in "iu":
        raise findings.error(
            f"{n} samples but labels of shape {label.shape} and type {label.dtype}",
            "store one whole number a sample",
        )
    return label.astype(np.int64)


def _scaled(
    values: NDArray[np.generic], value_range: tuple[float, float] | None
) -> NDArray[np.float32]:
    """Map the range to [-1, 1]; floats without a range stay."""
    if value_range is None:
        if values.dtype.kind == "f":
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # the checks find what is not finite
                return values.astype(np.float32)
        value_range = BYTE_RANGE
    low, high = value_range
    return ((values.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)


def _to_dataset(
    x: NDArray[np.float32],
    levels: NDArray[np.float32] | None,
    sigma: NDArray[np.float64] | None,
    label: NDArray[np.int64] | None,
    names: list[str],
    findings: Findings,
    reader: str,
) -> xr.Dataset:
    shape = x.shape[1:]
    flat = x.reshape(len(x), -1)
    paths = None if levels is None else levels.reshape(len(levels), len(x), -1)
    good = np.asarray(np.isfinite(flat).all(axis=1), dtype=bool)
    if paths is not None:
        good &= np.asarray(np.isfinite(paths).all(axis=(0, 2)))
    if not good.all():
        findings.fault(
            "not_finite", int((~good).sum()), "removed",
            f"{int((~good).sum())} of {len(good)} samples hold NaN or infinity",
            "remove these samples",
        )  # fmt: skip
    if label is not None and np.any(label < 0):
        findings.fault(
            "no_class", int((label < 0).sum()), "removed",
            f"{int((label < 0).sum())} labels are negative", "label every sample 0, 1, ...",
        )  # fmt: skip
        good &= label >= 0
    if not good.any():
        raise findings.error("no sample can be used", "look at the values and labels")
    flat = flat[good]
    repeated = len(flat) - len(np.unique(flat, axis=0))
    if repeated:
        findings.note("duplicate", repeated, f"{repeated} samples occur more than once")
    checks = list(zip(*findings.rows, strict=True)) or [(), (), (), ()]
    variables: dict[str, tuple[tuple[str, ...], NDArray[np.generic]]] = {
        "x": (("sample", "feature"), flat),
        "check": (("check",), np.array(checks[0], dtype=object)),
        "check_count": (("check",), np.array(checks[1], dtype=np.int64)),
        "check_action": (("check",), np.array(checks[2], dtype=object)),
        "check_detail": (("check",), np.array(checks[3], dtype=object)),
    }
    if label is not None:
        variables["label"] = (("sample",), label[good])
    if names:
        variables["class_name"] = (("class",), np.array(names, dtype=object))
    if paths is not None and sigma is not None:
        variables["path"] = (("noise_level", "sample", "feature"), paths[:, good])
        variables["sigma"] = (("noise_level",), sigma)
    attrs = {"shape": json.dumps(list(shape)), "reader": reader, "reader_version": VERSION}
    return xr.Dataset(variables, attrs=attrs)
