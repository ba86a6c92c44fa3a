"""The bound at a given well probability, against grid values and its neighbours."""

import numpy as np
import pytest

from irrev.control.bounds import erasure_bound
from irrev.control.well_bound import well_bound
from irrev.errors import InputError


@pytest.mark.parametrize(("duration", "work"), [(1, 2.00), (2, 1.39), (5, 0.98), (10, 0.84)])
def test_well_bound__matches_grid_values(duration, work):
    """The grid values are good to 0.01."""
    assert well_bound(0.0, duration) == pytest.approx(work, abs=0.01)


@pytest.mark.parametrize("error", [0.0, 0.004, 0.1])
@pytest.mark.parametrize("duration", [1.0, 5.0])
def test_well_bound__is_below_that_of_local_equilibrium(error, duration):
    assert well_bound(error, duration) < erasure_bound(error, duration)


def test_well_bound__converges_from_above():
    few, some, many = (well_bound(0.01, 2.0, n_cells=n) for n in (75, 150, 300))
    assert 0 < some - many < few - some < 5e-3


def test_well_bound__is_landauer_in_infinite_time_and_nothing_without_a_task():
    assert well_bound(0.0, 1e6) == pytest.approx(np.log(2), abs=1e-3)
    assert well_bound(0.5, 1.0) == pytest.approx(0.0, abs=1e-3)


def test_well_bound__scales_with_temperature():
    hot = well_bound(0.01, 2.0, barrier=8.0, mobility=0.5, kT=2.0)
    assert hot == pytest.approx(2 * well_bound(0.01, 2.0), rel=1e-9)


def test_well_bound__says_how_to_mend():
    with pytest.raises(InputError, match=r"in \[0, 1/2\]"):
        well_bound(0.7, 1.0)
