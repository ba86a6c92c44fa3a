"""Counting estimate against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from irrev.ep.plugin import plugin_ep
from irrev.errors import InputError

sequences = hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 3))


@pytest.mark.parametrize("forward", [0.5, 0.6, 0.75, 0.9])
def test_plugin_ep__biased_ring_matches_closed_form(forward):
    """Walk on a ring of 5: ep = (p - q) ln(p / q) with q = 1 - p."""
    n_steps, backward = 200_000, 1 - forward
    steps = np.where(np.random.default_rng(0).random(n_steps) < forward, 1, -1)
    expected = (forward - backward) * np.log(forward / backward)
    slope = 2 * np.log(forward / backward) + (forward - backward) / (forward * backward)
    stderr = slope * np.sqrt(forward * backward / n_steps)  # delta method
    bias = 10 / n_steps
    assert plugin_ep(np.cumsum(steps) % 5) == pytest.approx(expected, abs=4 * stderr + 2 * bias)


@given(sequences)
def test_plugin_ep__ignores_the_direction_of_reading_and_is_not_negative(states):
    forward = plugin_ep(states)
    assert forward >= -1e-12
    assert plugin_ep(states[::-1]) == pytest.approx(forward, abs=1e-12)


@given(sequences)
def test_plugin_ep__is_the_divergence_of_padded_counts(states):
    counts = np.zeros((4, 4))
    np.add.at(counts, (states[:-1], states[1:]), 1.0)
    counts[(counts + counts.T) > 0] += 0.5
    joint = counts / counts.sum()
    i, j = np.nonzero(joint)
    expected = np.sum(joint[i, j] * np.log(joint[i, j] / joint[j, i]))
    assert plugin_ep(states) == pytest.approx(expected, abs=1e-12)


def test_plugin_ep__units_are_states_in_binary(rng):
    spikes = rng.random((500, 3)) < 0.4
    assert plugin_ep(spikes) == plugin_ep(spikes @ np.array([1, 2, 4]))


def test_plugin_ep__leaves_out_transitions_across_gaps():
    states = np.array([0, 0, 1, 1])
    assert plugin_ep(states, starts=np.array([0, 2])) == 0.0
    assert plugin_ep(states) > 0.0


def test_plugin_ep__says_how_to_mend_bad_input():
    with pytest.raises(InputError, match="at most 12 units"):
        plugin_ep(np.zeros((5, 13), int))
    with pytest.raises(InputError, match="number them from 0"):
        plugin_ep(np.array([-1, 0]))
    with pytest.raises(InputError, match="binarise them"):
        plugin_ep(np.array([[0.5, 1.0], [1.0, 0.0]]))
    with pytest.raises(InputError, match="starts reach from 5 to 5 of 3 steps"):
        plugin_ep(np.array([0, 1, 2]), starts=np.array([5]))
    with pytest.raises(InputError, match="pseudocount is 0; use a number above 0"):
        plugin_ep(np.array([0, 1, 2]), pseudocount=0)
