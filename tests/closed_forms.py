"""Systems whose entropy production is known: one table, every estimator runs through its rows.

Each row holds the states, the joint probability of (state before, state after) and the known
values; expectations over a row are exact sums. Tolerances belong to the tests.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FiniteChain:
    """Stationary Markov chain on few states."""

    name: str
    states: NDArray[np.float64]  # (state, unit)
    joint: NDArray[np.float64]  # (state before, state after), sums to 1
    ep: float  # nats per step
    known: dict[str, float] = field(default_factory=dict)  # bounds of named observable sets

    def steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return state before, state after and probability of every possible step."""
        i, j = np.nonzero(self.joint)
        return self.states[i], self.states[j], self.joint[i, j]

    def sample(self, n_steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a stationary path, shape (n_steps + 1, unit)."""
        law = self.joint.sum(axis=1)
        below = np.cumsum(self.joint / law[:, None], axis=1)
        path = np.empty(n_steps + 1, int)
        path[0] = np.searchsorted(np.cumsum(law), rng.random())
        for t, u in enumerate(rng.random(n_steps)):
            path[t + 1] = min(np.searchsorted(below[path[t]], u), law.size - 1)
        return self.states[path]


def exact_ep(joint: NDArray[np.float64]) -> float:
    """Return sum_ij p_ij ln(p_ij / p_ji) of a joint probability, nats per step."""
    i, j = np.nonzero(joint)
    return float(np.sum(joint[i, j] * np.log(joint[i, j] / joint[j, i])))


def ring(forward: float, backward: float) -> FiniteChain:
    """Walk on three states: +1 with probability `forward`, -1 with `backward`, else stay."""
    step = np.eye(3) * (1 - forward - backward)
    step += forward * np.roll(np.eye(3), 1, axis=1) + backward * np.roll(np.eye(3), -1, axis=1)
    ep = (forward - backward) * np.log(forward / backward)
    return FiniteChain(f"ring {forward} {backward}", np.eye(3), step / 3, ep)


def spins(
    name: str,
    coupling: NDArray[np.float64],
    *,
    field: float | NDArray[np.float64] = 0.0,
    beta: float = 1.0,
    synchronous: bool = False,
    known: dict[str, float] | None = None,
) -> FiniteChain:
    """Glauber spins, row of `coupling` driven by column; one random spin a step, or all."""
    n = coupling.shape[0]
    states = np.array(list(product([-1.0, 1.0], repeat=n)))
    up = (1 + np.tanh(beta * (states @ coupling.T + field))) / 2  # (state, spin)
    step = np.zeros((2**n, 2**n))
    if synchronous:
        chance = np.where(states[None] > 0, up[:, None], 1 - up[:, None])  # (before, after, spin)
        step = chance.prod(axis=2)
    else:
        for a, spin in product(range(2**n), range(n)):
            for value, chance in ((1.0, up[a, spin]), (-1.0, 1 - up[a, spin])):
                after = states[a].copy()
                after[spin] = value
                step[a, np.flatnonzero((states == after).all(axis=1))[0]] += chance / n
    system = np.vstack([step.T - np.eye(2**n), np.ones(2**n)])
    law = np.linalg.lstsq(system, np.append(np.zeros(2**n), 1.0), rcond=None)[0]
    joint = law[:, None] * step
    return FiniteChain(name, states, joint, exact_ep(joint), known or {})


CYCLE = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
MIXED = np.array([[0.0, 1, -0.5], [0.3, 0, 1], [1, 0, 0]])

SPIN_CHAINS = [
    spins(
        "directed cycle",
        CYCLE,
        known={
            "ep": 0.1466146970,
            "pair": 0.1466146970,
            "newton1": 0.1402786986,
            "tur": 0.1117771310,
            "multipartite": 0.1466146970,
            "multipartite newton1": 0.1464188266,
        },
    ),
    spins(
        "directed cycle, synchronous",
        CYCLE,
        synchronous=True,
        known={"ep": 2.2847824679, "pair": 2.2847824679},
    ),
    spins(
        "mixed couplings",
        MIXED,
        field=np.array([0.5, 0.0, 0.0]),
        known={
            "ep": 0.2002283624,
            "pair": 0.1784747977,
            "pair+lin": 0.1834517484,
            "pair+lin+triple": 0.1855255258,
            "multipartite": 0.1909509921,
            "multipartite+lin": 0.1974343720,
            "newton1": 0.1713214490,
            "tur": 0.1371216840,
        },
    ),
    spins(
        "symmetric couplings",
        (MIXED + MIXED.T) / 2,
        field=np.array([0.5, 0.0, 0.0]),
        known={"ep": 0.0, "pair": 0.0, "newton1": 0.0, "tur": 0.0, "multipartite": 0.0},
    ),
]

RING_VALUES = {"ep": 0.2748872196, "newton1": 0.2735195177, "tur": 0.2585739883}  # 0.5, 0.2
