"""Options that no estimate can be made with are refused in one line, before the work."""

import inspect

import numpy as np
import pytest

import irrev
from irrev.errors import InputError
from irrev.stats import generators

BITS = np.random.default_rng(0).random((400, 3)) < 0.3
PATHS = np.random.default_rng(1).normal(size=(12, 30, 2)).cumsum(axis=1)
FLIPS = np.zeros((400, 3), bool)
CALLS = {
    "area_ep": (BITS, ["a", "a", "b"]),
    "compare_ep": (BITS,),
    "conditioned_ep": (BITS, np.zeros(400, int)),
    "hierarchy_ep": (BITS,),
    "learn_ep": (PATHS,),
    "maxent_ep": (BITS,),
    "multipartite_ep": (2 * BITS - 1, FLIPS),
    "neep_ep": (BITS,),
    "network_ep": (PATHS,),
    "stream_ep": (irrev.SpikeBins.from_dense(BITS, 0.01),),
    "witness": (PATHS[0],),
}
NEEDED = {"dt": 0.01, "fs": 1.0}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_estimators__refuse_a_seed_that_is_no_whole_number(name, seed):
    function = getattr(irrev, name)
    known = inspect.signature(function).parameters
    needed = {k: v for k, v in NEEDED.items() if k in known}
    with pytest.raises(InputError, match=r"seed.*whole number|seed.*integer"):
        function(*CALLS[name], **needed, seed=seed)


HELD_OUT = [n for n in CALLS if "n_blocks" in inspect.signature(getattr(irrev, n)).parameters]


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize(
    "option",
    [
        {"folds": 2},
        {"folds": 3.5},
        {"folds": 60},
        {"n_blocks": 7.5},
        {"draws": 0},
        {"null_draws": -1},
        {"level": 95},
        {"level": "95 %"},
        {"solver": "magic"},
    ],
    ids=str,
)
def test_held_out_estimators__refuse_options_that_no_estimate_can_be_made_with(name, option):
    """2 or 3.5 folds gave a value of zero, others an error of numpy."""
    function = getattr(irrev, name)
    (key,) = option
    if key not in inspect.signature(function).parameters:
        pytest.skip("has no such option")
    with pytest.raises(InputError, match=rf"{key} is |{key} of 50 blocks; use 3"):
        function(*CALLS[name], **option)


def test_generators__are_those_of_the_seed_and_independent():
    first, second = generators(np.int64(3), 2)
    assert first.random() == np.random.default_rng(np.random.SeedSequence(3).spawn(2)[0]).random()
    assert first.random() != second.random()
