"""Folders that outlive a run: the user's data, the report's page."""

import os
from pathlib import Path

from flows.config import Pipeline
from irrev.errors import ConfigError


def data_folder() -> Path:
    """Return where local state is kept: `irrev` below XDG_DATA_HOME or ~/.local/share."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "irrev"


def page_path(pipeline: Pipeline) -> Path:
    """Make the page's folder and return the page's path.

    Raises
    ------
    ConfigError
        If nothing can be written there.
    """
    path = pipeline.folder / pipeline.report.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK) and not path.is_dir()
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(f"report.path: nothing can be written to {path}; choose another path.")
    return path
