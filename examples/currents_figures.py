"""Figure of docs/methods/currents.md: entropy production of single trajectories.

    python examples/currents_figures.py

A breathing trap away from steady state: fields are learned from 10,000 trajectories and measured
on others. Writes to docs/figures.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import irrev
from irrev.ep.features import InTime, polynomial
from irrev.plots import BLUE, ORANGE
from irrev.simulate.chains import simulate
from irrev.simulate.driven import BreathingTrap

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DT, N_STEPS = 0.01, 100


def main() -> None:
    """Draw learned against exact values, with and without h."""
    trap = BreathingTrap()
    run = {"n_steps": N_STEPS}
    train = simulate(trap.chain(DT, N_STEPS), n_trajectories=10_000, seed=2, **run)
    test = simulate(trap.chain(DT, N_STEPS), n_trajectories=2_000, seed=3, **run)
    force_basis = InTime(polynomial(1, 3, powers=[[1], [3]]), 3)
    score_basis = InTime(polynomial(1, 2, powers=[[0], [2]]), 3)
    force = irrev.learn_force(train, force_basis, np.eye(1), dt=DT)
    score = irrev.learn_temporal_score(train, score_basis, dt=DT)
    found = irrev.path_ep(test, force, score, dt=DT)
    exact = irrev.path_ep(
        test,
        lambda x, t: trap.force(x, t[:, None]),
        lambda x, t: trap.temporal_score(x[:, 0], t),
        dt=DT,
        exact=True,
    ).ep
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    panel(left, exact, found.ep, "with h", BLUE)
    panel(right, exact, found.without_h, "current alone", ORANGE)
    left.set_ylabel("learned EP (nat)")
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "currents_single_paths.png", dpi=110)


def panel(ax: Axes, exact: np.ndarray, found: np.ndarray, name: str, colour: str) -> None:
    """Draw one scatter with the line of agreement and the average of the theorem."""
    share = 1 - np.sum((found - exact) ** 2) / np.sum((exact - exact.mean()) ** 2)
    ax.plot(exact, found, ".", color=colour, markersize=2, alpha=0.5)
    ends = [exact.min(), exact.max()]
    ax.plot(ends, ends, "--", color="0.4", linewidth=1)
    theorem = np.exp(-found)
    error = theorem.std() / np.sqrt(len(theorem))
    ax.set_title(
        f"{name}: R² = {share:.2f}, <exp(-EP)> = {theorem.mean():.3f} ± {error:.3f}", size=8
    )
    ax.set_xlabel("exact EP of the trajectory (nat)")


if __name__ == "__main__":
    main()
