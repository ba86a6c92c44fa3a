"""Denoisers by name and TorchScript archives."""

import warnings

import pytest
import torch

from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.models.module import import_denoiser, load_torchscript
from irrev.errors import FormatError, InputError


class Shrink(torch.nn.Module):
    """The exact denoiser of N(c, 1): D = (x + sigma^2 c)/(1 + sigma^2), null c = 0."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        v = sigma[:, None] ** 2
        return (x + v * cond.clamp_min(0)[:, None]) / (1 + v)


def test_import_denoiser__calls_a_factory():
    model = import_denoiser(
        "irrev.diffusion.exact:GaussianMixture", weights=[1.0], means=[[0.0]], cov=1.0
    )
    assert model.dim == (1,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("irrev.diffusion.exact", "not of the form"),
        ("irrev.diffusion.nothing:x", "check the spelling"),
        ("irrev.diffusion.exact:Nothing", "check the spelling"),
        ("irrev.errors:__doc__", r"gives a str without \['dim'"),
        ("builtins:dict", r"gives a dict without \['dim'"),
    ],
)
def test_import_denoiser__says_what_is_wrong_with_the_name(name, message):
    with pytest.raises(InputError, match=message):
        import_denoiser(name)


def test_load_torchscript__passes_state_time_and_class(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Shrink()), str(tmp_path / "m.pt"))
    model = load_torchscript(tmp_path / "m.pt", dim=(2,), num_classes=3)
    x = torch.ones(2, 2)
    assert model(x, 2.0, torch.tensor([2, -1])).tolist() == [
        pytest.approx([1.8, 1.8]),
        pytest.approx([0.2, 0.2]),
    ]
    torch.testing.assert_close(model(x, 2.0, None), torch.full((2, 2), 0.2))


def test_load_torchscript__refuses_other_files(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"not an archive")
    with pytest.raises(FormatError, match="not a TorchScript archive"):
        load_torchscript(tmp_path / "m.pt", dim=(2,))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "mixture"}, "a model of kind mixture needs weights, means, cov too"),
        ({"kind": "torchscript", "path": "x.pt"}, "needs dim too"),
        ({"kind": "dit", "path": "x", "dtype": "float8"}, "dtype 'float8' is not known"),
        ({}, "model kind None is not known; choose digits"),
    ],
)
def test_build_denoiser__says_what_a_description_lacks(model, message):
    with pytest.raises(InputError, match=message):
        build_denoiser(model)
