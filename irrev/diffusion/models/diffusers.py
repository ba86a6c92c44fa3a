"""Stable Diffusion 1.x and DiT of the Diffusers library as denoisers.

    sigma_t = sqrt((1 - abar_t)/abar_t),  x_t = x/sqrt(1 + sigma^2),  D = x - sigma e_hat     (1)

from the scheduler's cumulative alphas; the network's time is the fractional step, linear in
ln sigma. Conditions index a table of prompts that is encoded once; the null condition is the empty
prompt. sigma runs to 14.6 only, in latents of unit scale: log ratios that start from zero there
are a little wrong, so report the entropy at the first level.

Weights are read from safetensors only and from the local disk unless told otherwise.

Source: Rombach et al., arXiv:2112.10752; Peebles, Xie, arXiv:2212.09748; the Diffusers library.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from irrev.diffusion.denoiser import (
    NULL,
    DenoiserBase,
    ddpm_sigmas,
    null_mask,
    sigma_column,
    time_of_sigma,
    to_denoised,
)
from irrev.errors import FormatError, InputError, MissingExtraError


class _LatentDenoiser(DenoiserBase):
    """Noise table and preconditioning shared by both adapters."""

    def __init__(
        self,
        network: Any,
        alphas_cumprod: Tensor,
        *,
        dim: tuple[int, ...],
        num_classes: int | None,
        dtype: torch.dtype,
        device: str | torch.device,
    ) -> None:
        self.device, self.compute_dtype = torch.device(device), dtype
        self.dtype = torch.promote_types(dtype, torch.float32)
        with _quiet():
            self.network = network.to(self.device, dtype).eval().requires_grad_(False)
        self.sigmas = ddpm_sigmas(alphas_cumprod.double()).to(self.device)
        self.sigma_range = (float(self.sigmas[0]), float(self.sigmas[-1]))
        self.dim, self.num_classes = dim, num_classes

    def _prepare(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the noise level, the network's state and its time."""
        level = sigma_column(sigma, x)
        state = (x / torch.sqrt(1 + level**2)).to(self.compute_dtype)
        time = time_of_sigma(level.flatten(), self.sigmas).to(x.dtype)
        return level, state, time


class StableDiffusionDenoiser(_LatentDenoiser):
    """A text-conditional U-Net.

    Parameters
    ----------
    unet
        `UNet2DConditionModel`.
    alphas_cumprod
        Of the scheduler, shape (step,).
    prompts
        Embedding of each prompt, shape (prompt, token, feature).
    empty
        Embedding of the empty prompt, shape (token, feature).
    prediction
        `epsilon` or `v`.
    """

    def __init__(
        self,
        unet: Any,
        alphas_cumprod: Tensor,
        prompts: Tensor,
        empty: Tensor,
        *,
        prediction: Literal["epsilon", "v"] = "epsilon",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        size, channels = unet.config.sample_size, unet.config.in_channels
        super().__init__(
            unet, alphas_cumprod, dim=(channels, size, size), num_classes=len(prompts),
            dtype=dtype, device=device,
        )  # fmt: skip
        self.prediction: Literal["epsilon", "v"] = prediction
        # The null condition is the last row, so that index -1 finds it.
        self.table = torch.cat([prompts, empty[None]]).to(self.device, dtype)

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for latents (sample, channel, height, width)."""
        level, state, time = self._prepare(x, sigma)
        index = torch.full((len(x),), NULL, device=x.device) if cond is None else cond
        output = self.network(state, time, encoder_hidden_states=self.table[index]).sample
        return to_denoised(x, output.to(x.dtype), level, self.prediction)


class DitDenoiser(_LatentDenoiser):
    """A class-conditional diffusion transformer; it predicts noise and a variance.

    Parameters
    ----------
    transformer
        `DiTTransformer2DModel`.
    alphas_cumprod
        Of the scheduler, shape (step,).
    """

    def __init__(
        self,
        transformer: Any,
        alphas_cumprod: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        size, channels = transformer.config.sample_size, transformer.config.in_channels
        super().__init__(
            transformer, alphas_cumprod, dim=(channels, size, size),
            num_classes=transformer.config.num_embeds_ada_norm, dtype=dtype, device=device,
        )  # fmt: skip

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for latents (sample, channel, height, width)."""
        level, state, time = self._prepare(x, sigma)
        null = null_mask(cond, len(x), x.device)
        label = torch.full((len(x),), NULL, device=x.device) if cond is None else cond
        label = torch.where(null, self.num_classes or 0, label)  # the null label is the last one
        output = self.network(state, timestep=time, class_labels=label).sample
        return to_denoised(x, output[:, : x.shape[1]].to(x.dtype), level, "epsilon")


def stable_diffusion_from_pipeline(
    pipe: Any, prompts: Sequence[str], *, dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> StableDiffusionDenoiser:  # fmt: skip
    """Make a denoiser from a loaded `StableDiffusionPipeline`.

    Parameters
    ----------
    pipe
        The pipeline; only its text encoder, U-Net and scheduler are used.
    prompts
        Texts; the condition of each is its position.
    """
    if len(prompts) == 0:
        raise InputError("no prompts; name at least one text.")
    kinds: dict[str, Literal["epsilon", "v"]] = {"epsilon": "epsilon", "v_prediction": "v"}
    kind = pipe.scheduler.config.prediction_type
    if kind not in kinds:
        raise InputError(f"the scheduler predicts {kind!r}; epsilon and v_prediction are known.")
    with torch.no_grad():
        encoded = [pipe.encode_prompt(text, "cpu", 1, True) for text in prompts]
    texts = torch.cat([pair[0] for pair in encoded])
    return StableDiffusionDenoiser(
        pipe.unet, pipe.scheduler.alphas_cumprod, texts, encoded[0][1][0],
        prediction=kinds[kind], dtype=dtype, device=device,
    )  # fmt: skip


def load_stable_diffusion(
    model: str | Path, prompts: Sequence[str], *, dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu", download: bool = False,
) -> StableDiffusionDenoiser:  # fmt: skip
    """Load Stable Diffusion 1.x from a folder, or from the hub if told to.

    Parameters
    ----------
    model
        Folder of a saved pipeline, or a hub name with `download`.
    prompts
        Texts; the condition of each is its position.
    dtype
        Type that the U-Net computes in, e.g. torch.float16 on a GPU.
    download
        Allow network access.
    """
    pipe = _load("StableDiffusionPipeline", model, download, safety_checker=None)
    return stable_diffusion_from_pipeline(pipe, prompts, dtype=dtype, device=device)


def load_dit(
    model: str | Path, *, dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu", download: bool = False,
) -> DitDenoiser:  # fmt: skip
    """Load a DiT pipeline from a folder, or from the hub if told to."""
    pipe = _load("DiTPipeline", model, download)
    alphas = pipe.scheduler.alphas_cumprod
    return DitDenoiser(pipe.transformer, alphas, dtype=dtype, device=device)


def _load(name: str, model: str | Path, download: bool, **options: Any) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtraError(
            "Stable Diffusion and DiT need Diffusers; install irrev[diffusers]."
        ) from error
    try:
        with _quiet():
            return getattr(diffusers, name).from_pretrained(
                str(model), local_files_only=not download, use_safetensors=True, **options
            )
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{model}: {error}; give a folder written by save_pretrained with safetensors, or "
            "allow the download."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and advice of the two libraries off the terminal; errors stay."""
    logs: list[Any] = []
    for name in ("diffusers", "transformers"):
        with suppress(ImportError):
            logs.append(import_module(f"{name}.utils.logging"))
    before = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            log.enable_progress_bar()


def encode_images(pipe: Any, images: Tensor) -> Tensor:
    """Return the latents of images (sample, 3, height, width) in [-1, 1], unit scale."""
    with torch.no_grad():
        mean = pipe.vae.encode(images.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mean
    return mean.float() * pipe.vae.config.scaling_factor


def decode_latents(pipe: Any, latents: Tensor) -> Tensor:
    """Return images (sample, 3, height, width) of latents, for a person to look at."""
    with torch.no_grad():
        scaled = latents.to(pipe.vae.device, pipe.vae.dtype) / pipe.vae.config.scaling_factor
        return pipe.vae.decode(scaled).sample.float()
