"""A seed that no generator takes is refused by every estimator in one line, before the work."""

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


def test_generators__are_those_of_the_seed_and_independent():
    first, second = generators(np.int64(3), 2)
    assert first.random() == np.random.default_rng(np.random.SeedSequence(3).spawn(2)[0]).random()
    assert first.random() != second.random()
