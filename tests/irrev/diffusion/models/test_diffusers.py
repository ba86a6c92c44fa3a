"""Diffusers adapters on tiny pipelines of the real classes."""

import os
import warnings

import numpy as np
import pytest
import torch

from irrev.diffusion.class_entropy import class_entropy
from irrev.diffusion.guidance import prompt_entropy
from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.models.diffusers import (
    DitDenoiser,
    decode_latents,
    encode_images,
    load_stable_diffusion,
    stable_diffusion_from_pipeline,
)
from irrev.diffusion.records import diffusion_piece
from irrev.diffusion.schedules import edm_grid
from irrev.errors import FormatError, InputError
from tests.irrev.diffusion.models.tiny import tiny_dit, tiny_stable_diffusion

pytest.importorskip("diffusers")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Diffusers' and Transformers' own imports
        return tiny_stable_diffusion(tmp_path_factory.mktemp("tokenizer"))


def test_stable_diffusion__is_the_network_in_our_coordinates(pipe):
    """D = x - sigma e_hat(x/sqrt(1 + sigma^2), t) at a tabulated step, float32."""
    model = stable_diffusion_from_pipeline(pipe, ["a cat", "a dog"])
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 4, 8, 8)), dtype=torch.float32)
    sigma = float(model.sigmas[500])
    assert model.sigma_range == pytest.approx((0.029168, 14.614647), rel=3e-5)
    with torch.no_grad():
        text = pipe.encode_prompt("a dog", "cpu", 1, True)[0]
        noise = pipe.unet(
            x / (1 + sigma**2) ** 0.5, 500, encoder_hidden_states=text.expand(2, -1, -1)
        )
        got = model(x, sigma, torch.tensor([1, 1]))
        torch.testing.assert_close(got, x - sigma * noise.sample, rtol=1e-4, atol=1e-4)
        assert not torch.equal(got, model(x, sigma, None))


def test_stable_diffusion__answers_a_prompt_question(pipe):
    model = stable_diffusion_from_pipeline(pipe, ["a cat", "a dog"])
    grid = edm_grid(6, sigma_min=0.05, sigma_max=14.0)
    ds = prompt_entropy(model, [0, 1], grid, n_paths=8, draws=5, guidance=2.0)
    assert ds.attrs["n_rows"] == 2 * 6 * 8
    assert np.all((ds.entropy_mean >= 0) & (ds.entropy_mean <= np.log(2) + 1e-12))


def test_stable_diffusion__has_directional_derivatives(pipe):
    """Forward mode against a central difference in float32."""
    model = stable_diffusion_from_pipeline(pipe, ["a cat"])
    rng = np.random.default_rng(0)
    x, v = torch.tensor(rng.normal(size=(2, 1, 4, 8, 8)), dtype=torch.float32)
    _, slope = model.jvp(x, 1.0, None, v)
    difference = model._central_difference(x, 1.0, None, v)
    torch.testing.assert_close(slope, difference, rtol=0.05, atol=0.02)


def test_load_stable_diffusion__from_a_folder_of_safetensors(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, safe_serialization=True)
    model = load_stable_diffusion(tmp_path, ["a cat"])
    x = torch.zeros(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            model(x, 1.0, None), stable_diffusion_from_pipeline(pipe, ["a cat"])(x, 1.0, None)
        )
    assert not list(tmp_path.rglob("*.bin"))


def test_diffusion_piece__asks_a_folder_of_prompts_in_half_precision(pipe, tmp_path):
    """The path that a GPU node takes: folder, prompts against the null condition, bfloat16."""
    pipe.save_pretrained(tmp_path, safe_serialization=True)
    made = diffusion_piece(
        None, model={"kind": "stable_diffusion", "path": str(tmp_path), "dtype": "bfloat16",
                     "prompts": ["a cat", "a dog"]},
        piece={"states": "generate", "guidance": 7.5}, against="unconditional",
        levels={"n": 4, "sigma_min": 0.03, "sigma_max": 14.6}, partitions={}, schedules=[],
        trace_states=0, n_paths=6, batch=4, level=0.95, draws=5, seed=0,
    )  # fmt: skip
    row = made["row"]
    assert row.partition.to_numpy().tolist() == [["a cat", "a dog"]]
    assert int(row.n_rows[0]) == 2 * 4 * 12
    # Unit roundoff of bfloat16 is 4e-3; the tiny network amplifies it by less than ten.
    assert 1e-5 < float(row.precision_rms[0]) < 0.04
    assert made["profile"].example_shape.to_numpy().tolist() == [4, 8, 8]


def test_load_dit__from_a_folder_of_safetensors(pipe, tmp_path):
    from diffusers import DDIMScheduler, DiTPipeline

    network = tiny_dit()
    DiTPipeline(network, pipe.vae, DDIMScheduler()).save_pretrained(tmp_path)
    model = build_denoiser({"kind": "dit", "path": str(tmp_path)})
    x = torch.ones(2, 4, 8, 8)
    again = DitDenoiser(network, DDIMScheduler().alphas_cumprod)
    cond = torch.tensor([-1, 2])
    torch.testing.assert_close(model(x, 1.0, cond), again(x, 1.0, cond))
    assert not list(tmp_path.rglob("*.bin"))


def test_load_stable_diffusion__says_what_is_missing(tmp_path):
    with pytest.raises(FormatError, match="save_pretrained with safetensors"):
        load_stable_diffusion(tmp_path / "nothing", ["a cat"])


def test_stable_diffusion__asks_for_prompts(pipe):
    with pytest.raises(InputError, match="name at least one text"):
        stable_diffusion_from_pipeline(pipe, [])


def test_encode_images__is_undone_by_the_decoder_in_shape(pipe):
    latents = encode_images(pipe, torch.zeros(2, 3, 16, 16))
    assert latents.shape == (2, 4, 8, 8)
    assert decode_latents(pipe, latents).shape == (2, 3, 16, 16)


def test_dit__uses_the_first_channels_and_the_last_label():
    network = tiny_dit()
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    model = DitDenoiser(network, alphas)
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 4, 8, 8)), dtype=torch.float32)
    sigma = float(model.sigmas[300])
    with torch.no_grad():
        state = x / (1 + sigma**2) ** 0.5
        out = network(
            state, timestep=torch.tensor([300, 300]), class_labels=torch.tensor([4, 2])
        ).sample
        expected = x - sigma * out[:, :4]
        torch.testing.assert_close(
            model(x, sigma, torch.tensor([-1, 2])), expected, rtol=1e-4, atol=1e-4
        )
    assert model.num_classes == 4
    grid = edm_grid(4, sigma_min=0.05, sigma_max=14.0)
    ds = class_entropy(model, np.arange(8) % 4, grid, draws=0)
    assert ds.attrs["n_rows"] == 5 * 4 * 8
