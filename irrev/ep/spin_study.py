"""Entropy production of a spin model against temperature: batches of units, joined and compared.

Every stored state is redrawn once at every spin (`irrev.simulate.spins.virtual_flips`), so states
x spins attempts. The units of a batch are cross-fitted (`irrev.ep.multipartite`); beside the full
bound each fold evaluates its one-step bounds on the same test flips. The exact value comes from
the rates on the same states and units. Where only some units are measured, all values are scaled
to the whole: sum over the units x N / (number of units).

Only theta_ij - theta_ji is a physical quantity; it is compared with beta (J_ij - J_ji) by
R^2 = 1 - mean(residual^2) / var(theta_ij - theta_ji).

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep.ascent import MAX_SCALE
from irrev.ep.blockwise import BlockwiseSums, join
from irrev.ep.explicit import AntisymmetricTable
from irrev.ep.multipartite import MIN_FLIPS, fit_units, flip_table, solve
from irrev.ep.objective import Dual
from irrev.ep.tur import one_step, tur_bound
from irrev.ep.validation import held_out
from irrev.simulate.spins import simulate_spins, spin_ep_by_unit, virtual_flips
from irrev.stats import deal_blocks

METHOD_VERSION = 3  # raise it when numbers change
MAX_PAIRS = 20_000  # of couplings kept for a figure


@dataclass(frozen=True, slots=True)
class SpinData:
    """Stored states of a system and one redraw of every spin."""

    states: NDArray[np.int8]  # (state, spin)
    flips: NDArray[np.bool_]  # (state, spin)


def simulate_study(
    system: xr.Dataset, *, beta: float, n_states: int, n_chains: int, warm_up: int, seed: int
) -> SpinData:
    """Simulate chains of stationary states of a system of kind `spins`, and redraw each spin.

    Parameters
    ----------
    system
        Couplings and fields.
    beta
        Inverse temperature.
    n_states, n_chains
        States in all, over independent chains.
    warm_up
        Sweeps before the first state of a chain.
    seed
        The same seed gives the same numbers, whatever is measured of them.
    """
    coupling, field = (system[n].to_numpy().astype(np.float64) for n in ("coupling", "field"))
    sizes = np.diff(np.arange(n_chains + 1) * n_states // n_chains)
    model = {"beta": beta, "field": field}
    chains = [
        simulate_spins(coupling, **model, n_states=int(n), seed=seed, chunk=chain, warm_up=warm_up)
        for chain, n in enumerate(sizes)
    ]
    states = np.concatenate(chains)
    rng = np.random.default_rng([seed, 1])
    return SpinData(states, virtual_flips(states, coupling, rng, **model))


def chosen_units(n_spins: int, n_units: int | None) -> NDArray[np.int64]:
    """Return the units that are measured: all, or some at even distances."""
    if n_units is None or n_units >= n_spins:
        return np.arange(n_spins)
    return np.arange(n_units) * n_spins // n_units


def fit_batch(
    data: SpinData, units: NDArray[np.int64], *, folds: int, n_blocks: int, seed: int
) -> xr.Dataset:
    """Cross-fit some units; give their sums over blocks and one-step values, along `unit`."""
    fold_of_block = deal_blocks(n_blocks, folds, np.random.default_rng(seed))
    enough = units[data.flips[:, units].sum(axis=0) >= MIN_FLIPS]
    n_spins = data.states.shape[1]
    if not enough.size:
        return _packed(None, fold_of_block, n_spins, np.zeros((0, 2)))
    sums = fit_units(data.states, data.flips, enough, fold_of_block)
    steps = [_one_step_terms(data, int(u), fold_of_block) for u in enough]
    return _packed(sums, fold_of_block, n_spins, np.array(steps))


def _packed(
    sums: BlockwiseSums | None,
    fold_of_block: NDArray[np.int64],
    n_spins: int,
    steps: NDArray[np.float64],
) -> xr.Dataset:
    n_blocks = fold_of_block.size
    empty = {
        "item": np.zeros(0, np.int64),
        "certified": np.zeros(0),
        "train": np.zeros(0),
        "gram": np.zeros((0, n_blocks, n_blocks)),
        "theta": np.zeros((0, n_spins)),
        **{n: np.zeros((0, n_blocks)) for n in ("n", "forward", "square", "reverse", "shift")},
    }
    dims = {"gram": ("unit", "block", "block_to"), "theta": ("unit", "spin")}
    dims |= dict.fromkeys(("item", "certified", "train"), ("unit",))
    values = empty if sums is None else {n: np.asarray(getattr(sums, n)) for n in empty}
    return xr.Dataset(
        {
            **{n: (dims.get(n, ("unit", "block")), x) for n, x in values.items()},
            "newton1": ("unit", steps[:, 0]),
            "tur": ("unit", steps[:, 1]),
            "fold_of_block": ("block", fold_of_block),
        }
    )


def _unpacked(parts: Sequence[xr.Dataset]) -> BlockwiseSums:
    found = []
    for part in parts:
        names = ("n", "forward", "square", "reverse", "shift", "certified", "train", "gram")
        arrays = {n: part[n].to_numpy() for n in ("item", *names)}
        theta = tuple(part["theta"].to_numpy())
        found.append(
            BlockwiseSums(**arrays, theta=theta, fold_of_block=part["fold_of_block"].to_numpy())
        )
    return join(found)


def _one_step_terms(
    data: SpinData, unit: int, fold_of_block: NDArray[np.int64]
) -> tuple[float, float]:
    """Return held-out Newton and uncertainty-relation sums of one unit, nats x flips."""
    rows = np.flatnonzero(data.flips[:, unit])
    table = np.delete(flip_table(data.states[rows], unit).table, unit, axis=1)
    g = AntisymmetricTable(table)
    metric = g.metric()
    fold = fold_of_block[rows * fold_of_block.size // data.states.shape[0]]
    n_folds = int(fold_of_block.max()) + 1
    inside = [np.flatnonzero(fold == k) for k in range(n_folds)]
    # Entries are -2 and 2: sums of products are exact in single precision.
    seconds = np.stack([table[own].T @ table[own] for own in inside])
    sums = np.stack([table[own].sum(axis=0, dtype=np.float64) for own in inside])
    newton = tur = 0.0
    for k in range(n_folds):
        held = (k + 1) % n_folds
        rest = [j for j in range(n_folds) if j not in (k, held)]
        n_train = sum(inside[j].size for j in rest)
        if min(inside[k].size, inside[held].size, n_train) < 2:
            continue
        mean = sums[rest].sum(axis=0) / n_train
        cov = seconds[rest].sum(axis=0, dtype=np.float64) / n_train - np.outer(mean, mean)
        current = one_step(mean, cov, metric)
        values = g.take(inside[k]).values(current)
        tur += values.size * tur_bound(values)
        check = g.take(inside[held])
        seen = check.values(current)
        scale = Dual(check, mean).search(
            0.0, np.zeros_like(seen), float(seen.mean()), -seen, upper=2.0 * MAX_SCALE
        )
        newton += values.size * held_out(scale * values, -scale * values, 0.0).value
    return newton, tur


def study_result(
    parts: Sequence[xr.Dataset],
    system: xr.Dataset,
    data: SpinData,
    units: NDArray[np.int64],
    *,
    beta: float,
    level: float,
    draws: int,
    null_draws: int,
    seed: int,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Join the batches of one system at one temperature.

    Returns
    -------
        One row of kind `spins/multipartite` without its identity, and couplings of kind
        `spins/couplings`.
    """
    n_states, n_spins = data.states.shape
    attempts = float(n_states * units.size)  # of the measured units: values scale to the whole
    ep = solve(
        _unpacked(parts),
        n_units=n_spins,
        n_attempts=attempts,
        level=level,
        draws=draws,
        null_draws=null_draws,
        seed=seed,
    )
    coupling, field = (system[n].to_numpy().astype(np.float64) for n in ("coupling", "field"))
    true_ep = spin_ep_by_unit(data.states, coupling, beta=beta, field=field)
    fitted = units[np.isfinite(ep.unit_values[units])]  # others flip too rarely: no couplings
    true, found = antisymmetric_couplings(beta * coupling, ep.theta, fitted)
    scalars = {
        "beta": beta,
        "ep_per_attempt": ep.value,
        "ep_per_attempt_low": ep.low,
        "ep_per_attempt_high": ep.high,
        "ep_certified": ep.certified,
        "ep_train": ep.train,
        "ep_newton1": float(sum(p["newton1"].sum() for p in parts)) / attempts,
        "ep_tur": float(sum(p["tur"].sum() for p in parts)) / attempts,
        "ep_true": float(true_ep[units].mean()),
        "ep_true_whole": float(true_ep.mean()),
        "p": ep.p,
        "r_squared": r_squared(true, found),
    }
    counts = {"n_spins": n_spins, "n_states": n_states, "n_units": units.size}
    counts |= {"n_skipped": int(np.isnan(ep.unit_values[units]).sum())}
    row = xr.Dataset(
        {
            **{n: ("shard", np.array([x], np.float64)) for n, x in scalars.items()},
            **{n: ("shard", np.array([x], np.int64)) for n, x in counts.items()},
        },
        attrs={"level": level},
    )
    kept = np.linspace(0, max(true.size - 1, 0), min(true.size, MAX_PAIRS)).astype(np.int64)
    pairs = xr.Dataset({"true": ("pair", true[kept]), "found": ("pair", found[kept])})
    return row, pairs


def antisymmetric_couplings(
    coupling: NDArray[np.float64], theta: NDArray[np.float64], units: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coupling_ij - coupling_ji and theta_ij - theta_ji of measured pairs i < j."""
    i, j = np.triu_indices(units.size, 1)
    i, j = units[i], units[j]
    return coupling[i, j] - coupling[j, i], theta[i, j] - theta[j, i]


def r_squared(true: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Return 1 - mean(residual^2) / var(found); NaN without couplings."""
    spread = float(np.var(found)) if found.size else 0.0
    return 1.0 - float(np.mean((true - found) ** 2)) / spread if spread > 0 else float("nan")
