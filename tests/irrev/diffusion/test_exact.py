"""Exact denoisers against their definition."""

import numpy as np
import pytest
import torch

from irrev.diffusion import exact
from irrev.diffusion.exact import GaussianMixture, empirical_denoiser
from irrev.errors import InputError

RNG = np.random.default_rng(1)
X = torch.tensor(RNG.normal(size=(40, 3)) * 2)
ROOTS = RNG.normal(size=(4, 3, 3))
COVS = {
    "one variance": 0.3,
    "variances": np.array([0.1, 0.2, 0.3, 0.4]),
    "matrices": ROOTS @ ROOTS.transpose(0, 2, 1) + 0.1 * np.eye(3),
}


def make(cov):
    return GaussianMixture([1, 2, 3, 4], RNG.normal(size=(4, 3)), cov, [0, 0, 1, 1])


@pytest.mark.parametrize("name", COVS)
@pytest.mark.parametrize("cond", [None, 0, 1])
def test_gaussian_mixture__denoiser_is_the_gradient_of_its_density(name, cond):
    """Tweedie: D = x + sigma^2 grad ln p."""
    mixture, sigma = make(COVS[name]), 0.7
    index = None if cond is None else torch.full((40,), cond)
    x = X.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(mixture.log_density(x, sigma, index).sum(), x)
    torch.testing.assert_close(mixture(X, sigma, index), X + sigma**2 * slope)
    torch.testing.assert_close(mixture.score(X, sigma, index), slope)


@pytest.mark.parametrize("name", COVS)
def test_gaussian_mixture__class_denoisers_average_to_the_whole(name):
    mixture, sigma = make(COVS[name]), 1.3
    joint = mixture.log_likelihood(X, sigma) + torch.log(mixture.class_weights())
    posterior = torch.softmax(joint, 1)
    parts = [mixture(X, sigma, torch.full((40,), c)) for c in range(2)]
    total = sum(posterior[:, c, None] * parts[c] for c in range(2))
    torch.testing.assert_close(total, mixture(X, sigma))
    torch.testing.assert_close(torch.logsumexp(joint, 1), mixture.log_density(X, sigma))


def test_gaussian_mixture__takes_one_noise_level_and_condition_a_state():
    mixture = make(0.3)
    sigma = torch.linspace(0.1, 3, 40, dtype=torch.float64)
    cond = torch.arange(40) % 3 - 1
    together = mixture(X, sigma, cond)
    for i in (0, 1, 2):
        alone = mixture(X[i : i + 1], float(sigma[i]), None if cond[i] < 0 else cond[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_gaussian_mixture__log_density_integrates_to_one():
    mixture = GaussianMixture([1, 1], [[-2], [2]], 0.25)
    x = torch.linspace(-30, 30, 20001, dtype=torch.float64)[:, None]
    total = torch.trapezoid(torch.exp(mixture.log_density(x, 1.5)), x[:, 0])
    assert float(total) == pytest.approx(1, abs=1e-9)


def test_empirical_denoiser__gives_each_class_its_prior_whatever_its_rows():
    rows, labels = RNG.normal(size=(9, 2, 2)), np.array([0] * 7 + [1] * 2)
    model = empirical_denoiser(rows, labels)
    assert model.class_weights().tolist() == pytest.approx([0.5, 0.5])
    assert model.dim == (2, 2)
    assert float(model.variances[0, 0]) == pytest.approx(0.09 * np.mean(rows**2))


def test_empirical_denoiser__returns_the_row_it_stands_on():
    rows = 10 * RNG.normal(size=(5, 4))
    model = empirical_denoiser(rows, np.zeros(5, int), bandwidth=1e-3)
    out = model(torch.tensor(rows) + 0.01, 0.1)
    torch.testing.assert_close(out, torch.tensor(rows), rtol=0, atol=1e-4)


def test_empirical_denoiser__asks_for_a_row_of_every_class():
    with pytest.raises(InputError, match=r"class sizes \[1, 0, 1\].*every class a row"):
        empirical_denoiser(np.zeros((2, 3)), np.array([0, 2]))


def test_gaussian_mixture__classes_of_many_components_are_those_of_all(rng, monkeypatch):
    """Evaluated class by class or all components at once, with a derivative and mixed levels."""
    rows, labels = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    labels[:4] = range(4)
    model = empirical_denoiser(rows, labels)
    x, v = torch.as_tensor(rng.standard_normal((40, 3))), torch.ones(40, 3, dtype=torch.float64)
    cond = torch.as_tensor(rng.integers(-1, 4, 40))
    sigma = torch.as_tensor(rng.uniform(0.1, 3, 40))
    whole = model(x, sigma, cond), model.jvp(x, sigma, cond, v)[1]
    monkeypatch.setattr(exact, "MANY_COMPONENTS", 2)
    apart = model(x, sigma, cond), model.jvp(x, sigma, cond, v)[1]
    for a, b in zip(apart, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cov": -1.0}, "a variance of -1; give >= 0"),
        ({"cov": np.diag([1.0, -2.0])[None].repeat(2, axis=0)}, "a variance of -2"),
        ({"cov": [1.0, 1.0, 1.0]}, r"cov of shape \(3,\) for 2 components"),
        ({"means": [[0.0, np.nan], [1.0, 1.0]]}, "give finite means"),
        ({"weights": [1.0, np.nan]}, "give one >= 0 each"),
    ],
)
def test_gaussian_mixture__refuses_what_is_no_mixture(change, message):
    right = {"weights": [1.0, 1.0], "means": [[0.0, 0.0], [1.0, 1.0]], "cov": 1.0}
    with pytest.raises(InputError, match=message):
        GaussianMixture(**(right | change))
