"""Information about x_0: the two-dimensional table, the three bandwidths, branching."""

import numpy as np
import pytest
import torch

from irrev.diffusion.denoiser import DenoiserBase
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.information import (
    count_fixed_points,
    information_from_rate,
    information_profile,
    pathwise_entropy,
    process_rate,
)
from irrev.diffusion.jacobian import exact_trace
from irrev.errors import InputError
from irrev.simulate.mixtures import binary_mixture, three_class_mixture

TABLE = {  # sigma: E div score, mmse, dH/dsigma, H(C|x), dH(C|x)/dlnsigma, E lambda_max
    1.0: (-1.368184, 0.631816, 0.631816, 0.049284, 0.231816, 0.41862),
    2.0: (-0.297009, 3.247851, 0.405981, 0.407891, 0.694316, 0.63880),
}


@pytest.mark.parametrize("sigma", TABLE)
def test_denoiser__two_dimensional_table(make_denoiser, sigma):
    """Quadrature on 301^2 nodes of [-16, 16]^2, spectrally accurate; printed digits."""
    mixture = three_class_mixture()
    model = make_denoiser(mixture)
    n = torch.linspace(-16, 16, 301, dtype=torch.float64)
    x, cell = torch.cartesian_prod(n, n), float((n[1] - n[0]) ** 2)
    p = torch.exp(model.log_density(x, sigma)) * cell
    e = torch.eye(2, dtype=torch.float64)
    jacobian = torch.stack([model.jvp(x, sigma, None, e[i].expand_as(x))[1] for i in range(2)], 1)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    top = torch.linalg.eigvalsh(0.5 * (jacobian + jacobian.mT))[:, 1]
    denoised = model(x, sigma)
    posterior = torch.log_softmax(
        model.log_likelihood(x, sigma) + torch.log(model.class_weights()), 1
    )
    gaps = [
        posterior[:, c].exp()
        * (model(x, sigma, torch.full((len(x),), c)) - denoised).square().sum(1)
        for c in range(3)
    ]
    got = (
        float((p * (trace - 2)).sum()) / sigma**2,
        float((p * sigma**2 * trace).sum()),
        float((p * trace).sum()) / sigma,
        float(-(p[:, None] * posterior.exp() * posterior).sum()),
        float((p * sum(gaps)).sum()) / sigma**2,
        float((p * top).sum()),
    )
    assert got == pytest.approx(TABLE[sigma], abs=1e-5)
    np.testing.assert_allclose(trace[:5], exact_trace(model, x[:5], sigma))


def test_information_profile__three_bandwidths_agree_for_an_exact_model(make_denoiser):
    """Each within four of its own standard errors of the exact value."""
    x, _ = three_class_mixture().sample(4000, np.random.default_rng(0))
    ds = information_profile(
        make_denoiser(three_class_mixture()), x, np.array([2.0, 1.0]), trace_states=400
    )
    for k, sigma in enumerate((2.0, 1.0)):
        exact = TABLE[sigma][1] / sigma**2
        for name in ("bandwidth_loss", "bandwidth_div", "bandwidth_score"):
            assert float(ds[name][k]) == pytest.approx(exact, abs=4 * float(ds[f"{name}_se"][k]))
    assert float(ds.lambda_max[0]) == pytest.approx(TABLE[2.0][5], abs=0.15)


def test_information_profile__three_bandwidths_disagree_for_a_wrong_model():
    """D = x/2: (a) (|x_0|^2 + 2)/4 = 2.8, (b) 1, (c) 2 - 2.8 = -0.8 at sigma = 1."""

    class Half(DenoiserBase):
        dim, dtype = (2,), torch.float64

        def __call__(self, x, sigma, cond=None):
            return 0.5 * x

    x, _ = three_class_mixture().sample(2000, np.random.default_rng(0))
    ds = information_profile(Half(), x, np.array([2.0, 1.0])).isel(noise_level=1)
    quarter = (np.mean(np.sum(x**2, axis=1)) + 2) / 4
    assert float(ds.bandwidth_div) == pytest.approx(1)
    assert float(ds.bandwidth_loss) == pytest.approx(quarter, abs=4 * float(ds.bandwidth_loss_se))
    assert float(ds.bandwidth_score) == pytest.approx(
        2 - quarter, abs=4 * float(ds.bandwidth_score_se)
    )
    assert float(ds.bandwidth_spread) == pytest.approx((2 * quarter - 2) / quarter, rel=0.1)


def test_information_profile__refuses_data_of_another_shape(make_denoiser):
    with pytest.raises(InputError, match="reshape to"):
        information_profile(
            make_denoiser(three_class_mixture()), np.zeros((3, 5)), np.array([2.0, 1.0])
        )


def test_information_profile__refuses_data_without_a_value(make_denoiser):
    data = np.array([[0.0, 1.0], [np.inf, 0.0]])
    with pytest.raises(InputError, match="in 1 of 2 rows, first in row 1"):
        information_profile(make_denoiser(three_class_mixture()), data, np.array([2.0, 1.0]))


def test_information_from_rate__gaussian_channel():
    """N(0, 1): bandwidth 1/(1 + sigma^2), I = 1/2 ln((1 + s^-2)/(1 + S^-2)); trapezoid 1e-5."""
    sigmas = np.geomspace(50, 0.1, 400)
    got = information_from_rate(1 / (1 + sigmas**2), sigmas)
    expected = 0.5 * np.log((1 + sigmas**-2) / (1 + sigmas[0] ** -2))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_process_rate__ou_process_of_a_gaussian():
    """OU, x_0 ~ N(0, v): H(x_0|x_t) = 1/2 ln(v s^2/(v a^2 + s^2)) up to a constant."""
    t, v = np.linspace(0.1, 2, 400), 3.0
    a2 = np.exp(-2 * t)
    s2 = 1 - a2
    ratio = np.sqrt(s2 / a2)
    rate = process_rate(v / (v + ratio**2), diffusion_squared=2 * np.ones(400), noise=np.sqrt(s2))
    entropy = 0.5 * np.log(v * s2 / (v * a2 + s2))
    np.testing.assert_allclose(rate[1:-1], np.gradient(entropy, t)[1:-1], rtol=2e-3)


def test_count_fixed_points__one_becomes_two_at_the_critical_noise(make_denoiser):
    """Binary mixture: one limit above sigma^2 = |mu|^2 - s0^2 = 15, two below."""
    model = make_denoiser(binary_mixture(1, distance=4.0))
    starts = torch.linspace(-5, 5, 10, dtype=torch.float64)[:, None]
    counts = count_fixed_points(model, starts, [6.0, 4.5, 3.2, 2.0])
    assert counts.tolist() == [1, 1, 2, 2]


def test_pathwise_entropy__mean_is_the_gaussian_posterior_entropy():
    """N(0, 1) in 3-D at sigma = 1: posterior variance 1/2, H = 3/2 ln(pi e); sd sqrt(3/2)."""
    model = GaussianMixture([1.0], [[0.0] * 3], 1.0)
    rng = np.random.default_rng(0)
    x0 = torch.tensor(rng.normal(size=(4000, 3)))
    x = x0 + torch.tensor(rng.normal(size=(4000, 3)))
    values = pathwise_entropy(model, x0, x, 1.0)
    expected = 1.5 * np.log(np.pi * np.e)
    assert float(values.mean()) == pytest.approx(expected, abs=4 * (1.5 / 4000) ** 0.5)
