"""The price list of a run: what schedules cost, and what a wrong start may cost against it.

The cost of every schedule follows from the curves that the paths measured anyway; a few coupled
runs of the sampler from wrong starts give the loss of accuracy that the relation

    |Delta W1|/sqrt(tau D_0) <= sqrt(c_2 of the flow) + sqrt(1 + 1/D_0) sqrt(tau L)           (1)

bounds. Delta W1 is known between two ends, the coupled distance above and the max-sliced one
below, and L is an upper value, so the answer is `holds` if even the larger loss is allowed,
`violated` if not even the smaller one is, else `undecided`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.entropy_sums import LOSS_STATS
from irrev.diffusion.markers import percentile_interval
from irrev.diffusion.prices import FlowCurves, LossCurve, loss_curve, schedule_prices
from irrev.diffusion.schedules import SCHEDULES
from irrev.diffusion.speed_accuracy import StartSensitivity, imperfect_bound, start_sensitivity
from irrev.diffusion.study import Study
from irrev.diffusion.transport import w2_moment_bound
from irrev.errors import InputError

STARTS = {"1.1 z": {"scale": 1.1}, "z + 0.1": {"shift": 0.1}}  # wrong starts, in unit noise
PRICES = ("c2", "c2_flow")  # with an interval
OTHERS = ("c2_conditional", "c2_retimed", "velocity_error", "ep_forward")
START_VALUES = ("chi_squared", "w1_start", "w1_upper", "w1_lower", "eta_low", "eta_high")
MOST_ROWS = 4096  # rows of data for the moment bound
Array = NDArray[np.float64]
Variable = tuple[tuple[str, ...], NDArray[Any]]


def price_list(
    study: Study, losses: Array | None, schedules: Sequence[str], n_starts: int
) -> dict[str, Variable]:
    """Price schedules and test the relation; empty lists for a run without noised data.

    Parameters
    ----------
    study
        The run.
    losses
        Sums of the errors, shape (1 + draw, noise_level, loss stat), see `entropy_sums`.
    schedules
        Names of schedules.
    n_starts
        Coupled pairs of a right and a wrong start; 0 leaves the relation out.
    """
    wanted = list(schedules) if losses is not None and study.states == "data" else []
    listed = np.empty((1, len(wanted)), dtype=object)
    listed[0] = wanted
    out: dict[str, Variable] = {"schedule": (("shard", "schedule_rank"), listed)}
    values = _prices(study, losses, wanted) if losses is not None else {}
    names = [*(f"{n}{end}" for n in PRICES for end in ("", "_low", "_high")), *OTHERS]
    for name in names:
        value = values.get(name, np.zeros(0))[None]
        out[name] = (("shard", "schedule_rank"), value)
    out["w2_lower"] = (("shard",), np.array([_moment_bound(study, wanted)]))
    starts = _starts(study, n_starts) if wanted and n_starts else {}
    return out | _start_rows(starts) | _bound_rows(starts, values, len(wanted))


def _prices(study: Study, losses: Array, wanted: Sequence[str]) -> dict[str, Array]:
    """Return every price by schedule, with intervals of the resampled paths."""
    if not wanted:
        return {}
    made = [SCHEDULES[name]() for name in wanted]
    dimension = int(np.prod(study.denoiser.dim))

    def price(sums: Array) -> xr.Dataset:
        curve, flow = _curves(sums, study.grid, dimension)
        return schedule_prices(curve, made, flow=flow)

    whole = price(losses[0])
    out = {name: whole[name].to_numpy() for name in (*PRICES, *OTHERS)}
    draws = [price(sums) for sums in losses[1:] if np.all(sums[:, 0] > 0)]
    for name in PRICES:
        ends = out[name], out[name]
        if draws:
            ends = percentile_interval(np.stack([d[name].to_numpy() for d in draws]), study.level)
        out[f"{name}_low"], out[f"{name}_high"] = ends
    return out


def _curves(sums: Array, sigmas: Array, dimension: int) -> tuple[LossCurve, FlowCurves]:
    s = dict(zip(LOSS_STATS, sums.T, strict=True))
    n = s["weight"]
    power = float(s["data"][0] / n[0])
    curve = loss_curve(sigmas, s["loss"] / n, power=power, dimension=dimension)
    up = slice(None, None, -1)
    flow = FlowCurves(
        sigmas[up],
        (s["power"] / n)[up],
        (dimension - s["gain"] / n / sigmas**2)[up],
        (s["cross"] / n / sigmas)[up],
    )
    return curve, flow


def _moment_bound(study: Study, wanted: Sequence[str]) -> float:
    if not wanted or study.samples is None or len(study.samples.x) < 2:
        return float("nan")
    flat = study.samples.x[:MOST_ROWS].reshape(min(len(study.samples.x), MOST_ROWS), -1)
    return w2_moment_bound(flat)


def _starts(study: Study, n: int) -> dict[str, StartSensitivity]:
    """Run the sampler from each wrong start; one of infinite distance is left out."""
    out = {}
    for name, start in STARTS.items():
        try:
            out[name] = start_sensitivity(
                study.denoiser, study.grid, n_samples=n, seed=study.seed, batch=study.batch,
                **start,
            )  # fmt: skip
        except InputError:
            continue
    return out


def _losses_of_accuracy(start: StartSensitivity) -> tuple[float, float]:
    """Return the least and the largest |Delta W1| that the two bounds on W1 allow."""
    gaps = start.w1_lower - start.w1_start, start.w1_upper - start.w1_start
    least = 0.0 if gaps[0] <= 0 <= gaps[1] else min(map(abs, gaps))
    return least, max(map(abs, gaps))


def _start_rows(starts: dict[str, StartSensitivity]) -> dict[str, Variable]:
    table = {name: np.zeros(len(starts)) for name in START_VALUES}
    for k, start in enumerate(starts.values()):
        least, most = _losses_of_accuracy(start)
        table["chi_squared"][k], table["w1_start"][k] = start.chi_squared, start.w1_start
        table["w1_upper"][k], table["w1_lower"][k] = start.w1_upper, start.w1_lower
        table["eta_low"][k] = least**2 / start.chi_squared
        table["eta_high"][k] = most**2 / start.chi_squared
    names = np.empty((1, len(starts)), dtype=object)
    names[0] = list(starts)
    rows: dict[str, Variable] = {"start": (("shard", "start_rank"), names)}
    return rows | {n: (("shard", "start_rank"), v[None]) for n, v in table.items()}


def _bound_rows(
    starts: dict[str, StartSensitivity], prices: dict[str, Array], n: int
) -> dict[str, Variable]:
    """Check equation (1) for every schedule; the least slack over the starts is kept."""
    slack, words = np.full(n, np.nan), np.full(n, "", dtype=object)
    for i in range(n):
        checks = [
            [
                imperfect_bound(
                    loss, float(prices["c2_flow"][i]), chi_max=start.chi_squared,
                    velocity_error=float(prices["velocity_error"][i]),
                )
                for loss in _losses_of_accuracy(start)
            ]
            for start in starts.values()
        ]  # fmt: skip
        if not checks:
            continue
        slack[i] = min(most.slack for _, most in checks)
        if all(most.holds for _, most in checks):
            words[i] = "holds"
        elif all(least.holds for least, _ in checks):
            words[i] = "undecided"
        else:
            words[i] = "violated: check velocity residual"
    return {
        "bound_slack": (("shard", "schedule_rank"), slack[None]),
        "bound": (("shard", "schedule_rank"), words[None]),
    }
