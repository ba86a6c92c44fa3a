"""Fixtures shared by all tests."""

import os
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import flows  # noqa: F401  sets Prefect's and BLAS's environment first

os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="prefect-test-"))
hypothesis.settings.register_profile(
    "irrev", deadline=None, derandomize=bool(os.environ.get("CI")), database=None
)
hypothesis.settings.load_profile("irrev")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings that are not shipped; tests that need it skip without it."""
    folder = os.environ.get("IRREV_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("IRREV_DATA_DIR is not set: real data are not here")
    return Path(folder)


@pytest.fixture(scope="session")
def example_nwb() -> Path:
    """The recording that ships with the repository."""
    return Path(__file__).parents[1] / "examples" / "data" / "A2929-200711_units.nwb"
