"""A Zarr group written by xarray, opened without reading its arrays."""

from pathlib import Path

import xarray as xr

from irrev.errors import MissingExtraError
from irrev.readers.raw import Findings


def open_group(path: Path, findings: Findings) -> xr.Dataset:
    """Open a group; its arrays are read where they are indexed, and not kept.

    Parameters
    ----------
    path
        Folder of the group.
    findings
        Names the file in errors.

    Raises
    ------
    FormatError
        If it is no group that xarray opens.
    MissingExtraError
        If zarr is not installed.
    """
    try:
        return xr.open_dataset(path, engine="zarr", consolidated=False, cache=False)
    except ImportError as error:
        raise MissingExtraError(f"{path.name}: Zarr needs `pip install 'irrev[run]'`.") from error
    except (ValueError, KeyError, OSError) as error:
        raise findings.error(
            f"not a Zarr group that xarray opens ({error})", "write it with xarray, dims named"
        ) from error
