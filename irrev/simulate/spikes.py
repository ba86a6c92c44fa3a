"""Coupled spike trains with known entropy production: logistic neurons updated together.

    p(b_i(t+1) = 1 | b(t)) = 1 / (1 + exp(-u_i)),  u = bias + W (b(t) - rate)        (1)
    ep = < sum_i [b_i' u_i(b) - ln(1 + e^{u_i(b)})] - [b_i u_i(b') - ln(1 + e^{u_i(b')})] >  (2)

in nats per step, b' the state after b; the stationary law cancels in the mean. Random W gives
several tenths of a nat per step without any structure in the rates.

Source: derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SpikeTrains:
    """Simulated 0/1 activity."""

    states: NDArray[np.bool_]  # (n_steps, unit)
    ep: float  # eq. (2) along the path, nats per step


def simulate_spikes(
    n_units: int,
    n_steps: int,
    rng: np.random.Generator,
    *,
    rate: float = 0.088,
    strength: float = 0.15,
    density: float = 0.2,
    warm_up: int = 100,
) -> SpikeTrains:
    """Simulate coupled spike trains.

    Parameters
    ----------
    n_units, n_steps
        Size of the result.
    rng
        Source of couplings and spikes.
    rate
        Probability of a spike in a bin without input.
    strength
        Standard deviation of the summed input of a unit, about.
    density
        Fraction of couplings that are not zero.
    warm_up
        Steps left out at the start.
    """
    scale = strength / np.sqrt(n_units * rate * density)
    coupling = scale * rng.standard_normal((n_units, n_units))
    coupling *= rng.random((n_units, n_units)) < density
    bias = np.log(rate / (1 - rate))
    state, states, ep = np.zeros(n_units), np.empty((n_steps, n_units), bool), 0.0
    drive = np.full(n_units, bias)
    for t in range(-warm_up, n_steps):
        new = (rng.random(n_units) * (1.0 + np.exp(-drive)) < 1.0).astype(np.float64)
        forward, drive = drive, bias + coupling @ (new - rate)
        if t >= 0:
            states[t] = new > 0
            ahead = new @ forward - np.logaddexp(0.0, forward).sum()
            ep += ahead - (state @ drive - np.logaddexp(0.0, drive).sum())
        state = new
    return SpikeTrains(states, float(ep) / n_steps)
