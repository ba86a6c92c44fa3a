"""The EDM2 network: golden values, counts, and the null condition."""

import math

import numpy as np
import pytest
import torch

from irrev.diffusion.models.edm2 import Edm2Config, Edm2Denoiser, tensor_shapes
from irrev.errors import InputError
from tests.irrev.diffusion.models.tiny import EDM2, edm2_weights

X = torch.tensor(np.sin(0.05 * np.arange(384)).astype(np.float32).reshape(2, 3, 8, 8))
SIGMA = torch.tensor([0.7, 5.0])
WEIGHTS = edm2_weights()


def test_edm2_denoiser__golden_values():
    """Outputs of the original network on the same fill; tolerance 2e-3 (float32)."""
    model = Edm2Denoiser(WEIGHTS, EDM2)
    out = model(X, SIGMA, torch.tensor([1, 3]))
    first = [-12.36798, -20.08324, -23.66751, -24.73146]
    last = [-21.70343, -1.94679, 33.06206, 47.88486]
    assert out[0, 0, 0, :4].tolist() == pytest.approx(first, abs=2e-3)
    assert out[1, 2, 7, 4:].tolist() == pytest.approx(last, abs=2e-3)
    assert float(out.mean()) == pytest.approx(-4.581245, abs=2e-3)
    assert float(out.std()) == pytest.approx(37.49821, abs=2e-3)
    assert model.log_variance(SIGMA).tolist() == pytest.approx([-0.404956, -0.568992], abs=1e-4)


def test_edm2_denoiser__golden_values_of_the_zero_label():
    out = Edm2Denoiser(WEIGHTS, EDM2)(X, SIGMA, None)
    first = [-14.24972, -20.22627, -22.02421, -21.94794]
    assert out[0, 0, 0, :4].tolist() == pytest.approx(first, abs=2e-3)
    assert float(out.mean()) == pytest.approx(-3.802066, abs=2e-3)


def test_edm2_denoiser__null_rows_go_to_the_reference_network():
    config = Edm2Config(**{**EDM2.__dict__, "label_dim": 0})
    reference = Edm2Denoiser(edm2_weights(config), config)
    model = Edm2Denoiser(WEIGHTS, EDM2, reference=reference)
    mixed = model(X, SIGMA, torch.tensor([1, -1]))
    alone = Edm2Denoiser(WEIGHTS, EDM2)
    torch.testing.assert_close(mixed[:1], alone(X[:1], SIGMA[:1], torch.tensor([1])))
    torch.testing.assert_close(mixed[1:], reference(X[1:], SIGMA[1:], None))
    torch.testing.assert_close(model(X, SIGMA, None), reference(X, SIGMA, None))


@pytest.mark.parametrize(
    ("label_dim", "tensors", "parameters", "values"),
    [(1000, 203, 199, 124_713_253), (0, 202, 198, 124_201_253)],
)
def test_tensor_shapes__published_counts_of_xs(label_dim, tensors, parameters, values):
    shapes = tensor_shapes(Edm2Config(label_dim=label_dim))
    learned = {k: v for k, v in shapes.items() if "fourier" not in k}
    assert (len(shapes), len(learned)) == (tensors, parameters)
    assert sum(math.prod(v) for v in learned.values()) == values
    assert sum(math.prod(v) for k, v in shapes.items() if k not in learned) == 512


def test_edm2_denoiser__jvp_agrees_with_differences():
    """A central difference of step 1e-3 errs by 1.2 in slopes of 250 on this wild fill."""
    model, cond, h = Edm2Denoiser(WEIGHTS, EDM2), torch.tensor([1, 3]), 1e-3
    v = torch.tensor(np.cos(0.3 * np.arange(384)).astype(np.float32).reshape(2, 3, 8, 8))
    _, slope = model.jvp(X, SIGMA, cond, v)
    difference = (model(X + h * v, SIGMA, cond) - model(X - h * v, SIGMA, cond)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=0, atol=0.01 * float(slope.abs().max()))


def test_edm2_denoiser__names_tensors_that_do_not_fit():
    with pytest.raises(InputError, match=r"lack \['unet.out_gain'\]"):
        Edm2Denoiser({k: v for k, v in WEIGHTS.items() if k != "unet.out_gain"}, EDM2)


def test_edm2_denoiser__jvp_passes_through_both_networks():
    """Rows of the null condition go to the partner; each row's slope is that of its network."""
    config = Edm2Config(**{**EDM2.__dict__, "label_dim": 0})
    reference = Edm2Denoiser(edm2_weights(config), config)
    model, v = Edm2Denoiser(WEIGHTS, EDM2, reference=reference), torch.ones_like(X)
    _, slope = model.jvp(X, SIGMA, torch.tensor([-1, 3]), v)
    _, alone = Edm2Denoiser(WEIGHTS, EDM2).jvp(X, SIGMA, torch.tensor([1, 3]), v)
    _, partner = reference.jvp(X, SIGMA, None, v)
    torch.testing.assert_close(slope, torch.cat([partner[:1], alone[1:]]), rtol=1e-3, atol=1e-2)


def test_edm2_denoiser__float64_agrees_with_float32_to_rounding():
    """The reference of mixed precision: golden values differ by 2e-3 at most."""
    double = Edm2Denoiser(WEIGHTS, EDM2, dtype=torch.float64)
    out = double(X.double(), SIGMA.double(), torch.tensor([1, 3]))
    assert (out.dtype, double.dtype) == (torch.float64, torch.float64)
    single = Edm2Denoiser(WEIGHTS, EDM2)(X, SIGMA, torch.tensor([1, 3]))
    torch.testing.assert_close(out.float(), single, rtol=0, atol=2e-3)
