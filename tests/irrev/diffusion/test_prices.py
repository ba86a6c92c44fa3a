"""Every schedule's cost from curves that were measured once."""

import numpy as np
import pytest
import torch

from irrev.diffusion.entropy_sums import LOSS_STATS, loss_sums
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.paths import NoiseStream
from irrev.diffusion.price_list import _curves
from irrev.diffusion.prices import (
    FlowCurves,
    entropy_production,
    flow_cost,
    loss_curve,
    schedule_prices,
    speed_cost,
)
from irrev.diffusion.schedules import SCHEDULES, cond_ot, cosine, vp_linear
from irrev.errors import InputError

SIGMAS = np.geomspace(0.005, 400, 400)
TIMES = np.linspace(0.02, 0.98, 25)
TWO_PEAKS = GaussianMixture([0.5, 0.5], [[-2], [2]], 0.25)


def gaussian_curve(s0, d=3):
    """N(0, s0^2 I): mmse = d s0^2 sigma^2/(s0^2 + sigma^2)."""
    mmse = d * s0**2 * SIGMAS**2 / (s0**2 + SIGMAS**2)
    return loss_curve(SIGMAS, mmse, power=d * s0**2, dimension=d)


def gaussian_flow(s0, d=3):
    """D = x s0^2/(s0^2 + sigma^2): E|D|^2, E|e|^2 and E D.e by hand."""
    v = s0**2 + SIGMAS**2
    return FlowCurves(SIGMAS, d * s0**4 / v, d * SIGMAS**2 / v, d * s0**2 * SIGMAS / v)


@pytest.mark.parametrize("name", ["cosine", "cond_ot", "vp_linear"])
@pytest.mark.parametrize("s0", [0.5, 1.0, 2.0])
def test_flow_cost__of_an_exact_denoiser_is_the_cost_from_the_loss(name, s0):
    """Both forms of E|nu|^2; interpolation on 400 nodes errs by 2e-4 relative."""
    schedule = SCHEDULES[name]()
    np.testing.assert_allclose(
        flow_cost(gaussian_flow(s0), schedule, TIMES),
        speed_cost(gaussian_curve(s0), schedule, TIMES),
        rtol=5e-4,
        atol=2e-3,
    )


@pytest.mark.parametrize("name", ["ve", "cosine", "cond_ot", "vp_linear"])
@pytest.mark.parametrize("s0", [0.5, 2.0])
def test_entropy_production__of_gaussian_data_is_a_closed_form(name, s0):
    """x_t ~ N(0, S^2): dS_sys = d S'/S, total = d (S'/S)^2 S^2/T, and total = system + bath."""
    schedule = SCHEDULES[name](**({"sigma_max": 5.0} if name == "ve" else {}))
    ds = entropy_production(gaussian_curve(s0), schedule, TIMES)
    m, s = schedule.signal(TIMES), schedule.noise(TIMES)
    spread = np.sqrt(m**2 * s0**2 + s**2)
    rate = (m * schedule.signal_rate(TIMES) * s0**2 + s * schedule.noise_rate(TIMES)) / spread
    np.testing.assert_allclose(ds.ep_system, 3 * rate / spread, rtol=1e-3, atol=5e-3)
    np.testing.assert_allclose(
        ds.ep_rate, 3 * rate**2 / schedule.temperature(TIMES), rtol=1e-3, atol=5e-3
    )
    np.testing.assert_allclose(ds.ep_rate, ds.ep_system + ds.ep_bath, rtol=1e-9, atol=1e-9)


def test_entropy_production__equilibrium_data_produce_none():
    """N(0, 1) under a variance-preserving process does not move."""
    ds = entropy_production(gaussian_curve(1.0), vp_linear(), TIMES)
    np.testing.assert_allclose(ds.ep_rate, 0, atol=2e-3)


def test_entropy_production__is_the_divergence_of_path_and_reversed_path():
    """OU process of N(0, 4), one step of 1e-3: E ln p(x, x')/p~(x', x) of Gaussian kernels.

    Forward kernel N(a x, q) of the exact step; the reversed path runs it backward from x'. The
    total over the whole relaxation is KL(start | equilibrium) = (4 - 1 - ln 4)/2 for each
    coordinate, because the bath is at equilibrium with N(0, 1).
    """
    schedule = vp_linear(beta0=2.0, beta1=2.0, duration=8.0)
    n = 40_000
    time = (np.arange(n) + 0.5) / n * 8.0
    rate = entropy_production(gaussian_curve(2.0, d=1), schedule, time)["ep_rate"]
    assert float(rate.mean()) * 8.0 == pytest.approx((4 - 1 - np.log(4)) / 2, rel=2e-3)


def test_entropy_production__refuses_times_without_noise():
    with pytest.raises(InputError, match="cond_ot has temperatures from 0"):
        entropy_production(gaussian_curve(1.0), cond_ot(), np.array([0.0, 0.5]))


def test_schedule_prices__flow_of_a_measured_exact_model_costs_what_its_loss_says():
    """Sums over 20,000 noised points of two peaks: both within 1 % of 2.1251 and 2.4795."""
    rng = np.random.default_rng(0)
    x0 = torch.tensor(
        0.5 * rng.normal(size=(20000, 1)) + np.where(rng.random((20000, 1)) < 0.5, 2, -2)
    )
    sigmas = np.geomspace(60, 0.02, 60)
    sums = loss_sums(
        TWO_PEAKS, x0, sigmas, None, noise=NoiseStream(0),
        resamples=torch.ones(1, len(x0), dtype=torch.float64),
    )  # fmt: skip
    assert sums.shape == (1, 60, len(LOSS_STATS))
    curve, flow = _curves(sums[0], sigmas, 1)
    ds = schedule_prices(curve, [cosine(), cond_ot()], flow=flow)
    np.testing.assert_allclose(ds.c2, [2.1251, 2.4795], rtol=0.015)
    np.testing.assert_allclose(ds.c2_flow, [2.1251, 2.4795], rtol=0.015)
    assert np.all(ds.velocity_error >= 0)
