"""Spike-sorting folder of Kilosort and Phy: one array per column, times in samples.

`params.py` gives the sampling rate. It is parsed as a list of assignments of literals and never
executed. Labels come from `cluster_info.tsv`, `cluster_group.tsv` and `cluster_KSLabel.tsv`;
every column of these tables becomes a unit column. The recording counts as observed from sample
0 to the sample of the last spike.
"""

import ast
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irrev.errors import FormatError
from irrev.readers.arrays import read_npy
from irrev.readers.raw import Findings, RawSpikes
from irrev.readers.trains import ragged

VERSION = 1
CLUSTER_FILES = ("spike_clusters.npy", "spike_templates.npy")  # curated first
MAX_PARAMS = 1 << 16  # bytes; a real params.py has a few hundred
MAX_TABLE = 1 << 26  # bytes of a cluster table


def read_kilosort(
    folder: Path, findings: Findings, *, sample_rate: float | None = None
) -> RawSpikes:
    """Read a Kilosort or Phy folder: one unit per cluster that has spikes.

    Parameters
    ----------
    folder
        Folder with `spike_times.npy` and `spike_clusters.npy` or `spike_templates.npy`.
    findings
        Collects what is wrong.
    sample_rate
        Samples per second; default from `params.py`.

    Raises
    ------
    FormatError
        If a file is missing or damaged, or the sampling rate is nowhere.
    """
    samples = _column(folder, ("spike_times.npy",))
    clusters = _column(folder, CLUSTER_FILES)
    if samples.size != clusters.size:
        raise findings.error(
            f"there are {samples.size:,} spike times but {clusters.size:,} cluster numbers",
            "export the folder again",
        )
    if clusters.dtype.kind not in "iu":
        raise findings.error(
            f"cluster numbers have type {clusters.dtype}", "export them as whole numbers"
        )
    rate = sample_rate or _sample_rate(folder)
    times, index, ids = ragged(samples.astype(np.float64) / rate, clusters)
    raw = RawSpikes(times=times, index=index, ids=[str(i) for i in ids], unit_is_given=True)
    last = times[np.isfinite(times)].max(initial=0.0)
    if last > 0:
        raw.stated, raw.stated_unit = np.array([[0.0, last + 1 / rate]]), np.array([-1])
    raw.columns = _cluster_columns(folder, raw.ids)
    return raw


def is_kilosort(folder: Path) -> bool:
    """Say whether a folder has spike times as Kilosort writes them."""
    return (folder / "spike_times.npy").is_file()


def _column(folder: Path, names: tuple[str, ...]) -> NDArray[np.generic]:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise FormatError(f"{folder.name}: there is no {names[0]}; export the folder again.")
    values = read_npy(path)
    if values.dtype.kind not in "fiu" or values.size != max(values.shape, default=1):
        raise FormatError(
            f"{folder.name}: {path.name} has type {values.dtype} and shape {values.shape}; "
            "one number per spike is expected."
        )
    return values.ravel()


def _sample_rate(folder: Path) -> float:
    """Return `sample_rate` of params.py, read as a literal."""
    path = folder / "params.py"
    mend = "set sample_rate in the source"
    if not path.is_file():
        raise FormatError(f"{folder.name}: there is no params.py; {mend}.")
    if path.stat().st_size > MAX_PARAMS:
        raise FormatError(f"{folder.name}: params.py has {path.stat().st_size:,} bytes; {mend}.")
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormatError(
            f"{folder.name}: params.py is not readable ({error}); {mend}."
        ) from error
    rate: object = None
    for line in body:
        match line:
            case ast.Assign(targets=[ast.Name(id="sample_rate")], value=value):
                rate = _literal(value)
    if isinstance(rate, int | float) and np.isfinite(rate) and rate > 0:
        return float(rate)
    raise FormatError(f"{folder.name}: params.py has no number sample_rate; {mend}.")


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def _cluster_columns(folder: Path, ids: list[str]) -> dict[str, NDArray[np.generic]]:
    """Read all cluster tables; a cluster without a row has NaN or an empty text."""
    columns: dict[str, NDArray[np.generic]] = {}
    tables = [folder / "cluster_info.tsv", *sorted(folder.glob("cluster_*.tsv"))]
    for path in tables:
        if path.is_file():
            columns = {**_table(path, folder, ids), **columns}
    return columns


def _table(path: Path, folder: Path, ids: list[str]) -> dict[str, NDArray[np.generic]]:
    if path.stat().st_size > MAX_TABLE:
        raise FormatError(f"{folder.name}: {path.name} is too large for a table of clusters.")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream, delimiter="\t"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(
            f"{folder.name}: {path.name} is not a table ({error}); export it again."
        ) from error
    header = rows[0] if rows else []
    key = next((n for n in ("cluster_id", "id") if n in header), None)
    if key is None:
        raise FormatError(f"{folder.name}: {path.name} has no column cluster_id; export it again.")
    at = header.index(key)
    by_id = {row[at]: row for row in rows[1:] if len(row) == len(header)}
    blank = [""] * len(header)
    cells = np.array([by_id.get(name, blank) for name in ids], dtype=object).reshape(len(ids), -1)
    return {
        name: _numbers_or_text(cells[:, j])
        for j, name in enumerate(header)
        if name and name != key
    }


def _numbers_or_text(cells: NDArray[np.object_]) -> NDArray[np.generic]:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return cells
