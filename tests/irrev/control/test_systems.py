"""What has no physics is refused in one line that names it."""

import pytest

from irrev.control.protocols import learn_protocol, parametrise
from irrev.control.systems import carry_particle, erase_bit, stiffen_trap, translate_trap
from irrev.control.well_bound import well_bound
from irrev.errors import InputError


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (translate_trap, {"mass": -1.0}),  # would move as if it had a law of its own
        (translate_trap, {"mass": 0.0}),
        (translate_trap, {"kT": 0.0}),
        (translate_trap, {"substeps": 0}),
        (translate_trap, {"distance": float("nan")}),
        (carry_particle, {"target": 0.0}),
        (stiffen_trap, {"start": 0.0}),
        (erase_bit, {"barrier": 0.0}),
        (erase_bit, {"width": -1.0}),
        (erase_bit, {"goal": "left"}),
    ],
)
def test_tasks__refuse_what_has_no_physics(make, wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name} is"):
        make(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"method": "foo"}, {"error_weight": -3.0}, {"n_evaluation": 1}, {"start": [1.0]}]
)
def test_learn_protocol__refuses_options_without_meaning(wrong):
    with pytest.raises(InputError):
        learn_protocol(translate_trap(), **{"n_iterations": 2, "n_trajectories": 200, **wrong})


def test_parametrise__refuses_an_unknown_shape():
    with pytest.raises(InputError, match="steps, linear, polynomial"):
        parametrise("spline", 5)


def test_well_bound__refuses_a_barrier_of_nothing():
    with pytest.raises(InputError, match="barrier is 0"):
        well_bound(0.1, 1.0, barrier=0.0)
