"""The EDM2 network, as a function of its published weights.

    D = c_skip x + c_out F(c_in x, ln(sigma)/4, label),   sigma_data = 0.5                  (1)

F is a U-Net of magnitude-preserving layers: a stored weight w acts as w / rms(w) / sqrt(fan_in),
sums and concatenations are rescaled to keep unit variance, and attention is on unit vectors. The
unconditional reference of a published conditional network is a separate network without labels.

Source: Karras et al., Analyzing and improving the training dynamics of diffusion models,
arXiv:2312.02696; the architecture is written from the paper's formulas and the shapes of the
published tensors.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, silu

from irrev.diffusion.denoiser import NULL, DenoiserBase, edm_scaling, null_mask, sigma_column
from irrev.errors import InputError

EPS = 1e-4
CLAMP = 256.0
RESIDUAL, ATTENTION, CONCAT, EMBED = 0.3, 0.3, 0.5, 0.5  # balance of the rescaled sums
PRESETS = {"xxs": 64, "xs": 128, "s": 192, "m": 256, "l": 320, "xl": 384, "xxl": 448}


@dataclass(frozen=True)
class Edm2Config:
    """Shape of an EDM2 network; defaults are those of the published 512-pixel latents."""

    img_resolution: int = 64
    img_channels: int = 4
    label_dim: int = 1000
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    num_blocks: int = 3
    attn_resolutions: tuple[int, ...] = (16, 8)
    channels_per_head: int = 64
    sigma_data: float = 0.5
    logvar_channels: int = 128

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> "Edm2Config":
        """Read the constructor's keywords of a checkpoint; unknown ones are ignored."""
        known = {k: v for k, v in keywords.items() if k in cls.__dataclass_fields__}
        for name in ("channel_mult", "attn_resolutions"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)


@dataclass(frozen=True)
class Block:
    """One named step of encoder or decoder."""

    name: str
    kind: str  # conv, enc, dec
    in_channels: int
    out_channels: int
    resample: str = "keep"  # keep, down, up
    attention: bool = False
    takes_skip: bool = False


@dataclass(frozen=True)
class Plan:
    """Order and shapes of all blocks, derived from the configuration."""

    encoder: list[Block] = field(default_factory=list)
    decoder: list[Block] = field(default_factory=list)


def plan(config: Edm2Config) -> Plan:
    """Lay out the blocks of a network."""
    widths = [config.model_channels * m for m in config.channel_mult]
    out, skips = Plan(), []
    channels = config.img_channels + 1
    for level, width in enumerate(widths):
        res = config.img_resolution >> level
        if level == 0:
            out.encoder.append(Block(f"{res}x{res}_conv", "conv", channels, width))
            channels = width
        else:
            out.encoder.append(Block(f"{res}x{res}_down", "enc", channels, channels, "down"))
        skips.append(channels)
        for i in range(config.num_blocks):
            name, attention = f"{res}x{res}_block{i}", res in config.attn_resolutions
            out.encoder.append(Block(name, "enc", channels, width, attention=attention))
            channels = width
            skips.append(channels)
    for level, width in reversed(list(enumerate(widths))):
        res = config.img_resolution >> level
        if level == len(widths) - 1:
            out.decoder.append(
                Block(f"{res}x{res}_in0", "dec", channels, channels, attention=True)
            )
            out.decoder.append(Block(f"{res}x{res}_in1", "dec", channels, channels))
        else:
            out.decoder.append(Block(f"{res}x{res}_up", "dec", channels, channels, "up"))
        for i in range(config.num_blocks + 1):
            name, attention = f"{res}x{res}_block{i}", res in config.attn_resolutions
            joined = channels + skips.pop()
            out.decoder.append(
                Block(name, "dec", joined, width, attention=attention, takes_skip=True)
            )
            channels = width
    return out


def tensor_shapes(config: Edm2Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor by name: parameters and the Fourier buffers."""
    widths = [config.model_channels * m for m in config.channel_mult]
    first, wide = widths[0], max(widths)
    shapes: dict[str, tuple[int, ...]] = {
        "unet.out_gain": (),
        "unet.emb_fourier.freqs": (first,),
        "unet.emb_fourier.phases": (first,),
        "unet.emb_noise.weight": (wide, first),
        "unet.out_conv.weight": (config.img_channels, first, 3, 3),
        "logvar_fourier.freqs": (config.logvar_channels,),
        "logvar_fourier.phases": (config.logvar_channels,),
        "logvar_linear.weight": (1, config.logvar_channels),
    }
    if config.label_dim:
        shapes["unet.emb_label.weight"] = (wide, config.label_dim)
    layout = plan(config)
    for side, blocks in (("enc", layout.encoder), ("dec", layout.decoder)):
        for block in blocks:
            shapes |= _block_shapes(f"unet.{side}.{block.name}", block, wide)
    return shapes


def _block_shapes(name: str, block: Block, wide: int) -> dict[str, tuple[int, ...]]:
    i, o = block.in_channels, block.out_channels
    if block.kind == "conv":
        return {f"{name}.weight": (o, i, 3, 3)}
    out: dict[str, tuple[int, ...]] = {
        f"{name}.emb_gain": (),
        f"{name}.conv_res0.weight": (o, o if block.kind == "enc" else i, 3, 3),
        f"{name}.emb_linear.weight": (o, wide),
        f"{name}.conv_res1.weight": (o, o, 3, 3),
    }
    if i != o:
        out[f"{name}.conv_skip.weight"] = (o, i, 1, 1)
    if block.attention:
        out[f"{name}.attn_qkv.weight"] = (3 * o, o, 1, 1)
        out[f"{name}.attn_proj.weight"] = (o, o, 1, 1)
    return out


def unit(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Divide by the root mean square over some dimensions."""
    wide = torch.promote_types(x.dtype, torch.float32)  # halves overflow in a sum of squares
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=wide)
    return x / (EPS + norm * math.sqrt(norm.numel() / x.numel())).to(x.dtype)


def effective_weight(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the weight that acts: unit rows over the square root of the fan-in."""
    rows = unit(weight.to(dtype), tuple(range(1, weight.ndim)))
    return rows / math.sqrt(weight[0].numel())


def _mp_silu(x: Tensor) -> Tensor:
    return silu(x) / 0.596


def _mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def _mp_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    n_a, n_b = a.shape[1], b.shape[1]
    scale = math.sqrt((n_a + n_b) / ((1 - t) ** 2 + t**2))
    left, right = scale / math.sqrt(n_a) * (1 - t), scale / math.sqrt(n_b) * t
    return torch.cat([left * a, right * b], dim=1)


class Edm2Denoiser(DenoiserBase):
    """An EDM2 network, with its unconditional partner if there is one.

    Parameters
    ----------
    weights
        Tensors by published name.
    config
        Shape of the network.
    reference
        Separate unconditional network (label_dim 0) that answers the null condition; without it
        the null condition is the zero label.
    dtype
        Type that the network computes in; states stay float32, or float64 with that type.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        config: Edm2Config,
        *,
        reference: "Edm2Denoiser | None" = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        _check_shapes(weights, config)
        self.config, self.reference, self.device = config, reference, torch.device(device)
        self.dim = (config.img_channels, config.img_resolution, config.img_resolution)
        self.num_classes = config.label_dim or None
        self.sigma_range = (0.002, 80.0)
        self.compute_dtype, wide = dtype, torch.promote_types(dtype, torch.float32)
        self.dtype = wide
        self._plan = plan(config)
        self._weights = {
            name: (effective_weight(w, wide) if name.endswith(".weight") else w).to(
                self.device, wide if "fourier" in name else dtype
            )
            for name, w in weights.items()
        }

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, channel, height, width), equation (1)."""
        if self.reference is None or self.num_classes is None:
            return self._denoise(x, sigma, cond)
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        null = null_mask(cond, len(x), x.device)
        asked, rest = torch.nonzero(~null)[:, 0], torch.nonzero(null)[:, 0]
        parts: list[Tensor] = []
        if len(rest):
            parts.append(self.reference(x[rest], level[rest], None))
        if cond is not None and len(asked):
            parts.append(self._denoise(x[asked], level[asked], cond[asked]))
        # Joined and put back in order without writing in place, which derivatives do not like.
        return torch.cat(parts)[torch.argsort(torch.cat([rest, asked]))]

    def _denoise(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None) -> Tensor:
        level = sigma_column(sigma, x)
        c = edm_scaling(level, self.config.sigma_data)
        noise = torch.log(level.flatten()) / 4
        label = None
        if self.config.label_dim:
            index = torch.full((len(x),), NULL, device=x.device) if cond is None else cond
            label = torch.zeros(len(x), self.config.label_dim, device=x.device)
            rows = torch.nonzero(index != NULL)[:, 0]
            label[rows, index[rows]] = 1.0
        output = self._network((c.input * x).to(self.compute_dtype), noise, label)
        return c.skip * x + c.out * output.to(x.dtype)

    def log_variance(self, sigma: Tensor) -> Tensor:
        """Return the training head's uncertainty at noise levels (sample,)."""
        waves = self._fourier("logvar_fourier", torch.log(sigma) / 4)
        return (waves @ self._weights["logvar_linear.weight"].to(waves.dtype).T)[:, 0]

    def _fourier(self, name: str, noise: Tensor) -> Tensor:
        frequency, phase = self._weights[f"{name}.freqs"], self._weights[f"{name}.phases"]
        return math.sqrt(2) * torch.cos(noise.to(frequency.dtype)[:, None] * frequency + phase)

    def _network(self, x: Tensor, noise: Tensor, label: Tensor | None) -> Tensor:
        w = self._weights
        waves = self._fourier("unet.emb_fourier", noise).to(x.dtype)
        emb = waves @ w["unet.emb_noise.weight"].T
        if label is not None:
            scaled = (label * math.sqrt(self.config.label_dim)).to(x.dtype)
            emb = _mp_sum(emb, scaled @ w["unet.emb_label.weight"].T, EMBED)
        emb = _mp_silu(emb)
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        skips: list[Tensor] = []
        for block in self._plan.encoder:
            name = f"unet.enc.{block.name}"
            if block.kind == "conv":
                x = conv2d(x, w[f"{name}.weight"], padding=1)
            else:
                x = self._block(name, block, x, emb)
            skips.append(x)
        for block in self._plan.decoder:
            if block.takes_skip:
                x = _mp_cat(x, skips.pop(), CONCAT)
            x = self._block(f"unet.dec.{block.name}", block, x, emb)
        return conv2d(x, w["unet.out_conv.weight"], padding=1) * w["unet.out_gain"]

    def _block(self, name: str, block: Block, x: Tensor, emb: Tensor) -> Tensor:
        w = self._weights
        if block.resample == "down":
            x = torch.nn.functional.avg_pool2d(x, 2)
        elif block.resample == "up":
            x = interpolate(x, scale_factor=2, mode="nearest")
        skip = w.get(f"{name}.conv_skip.weight")
        if block.kind == "enc":
            x = x if skip is None else conv2d(x, skip)
            x = unit(x, (1,))
        y = conv2d(_mp_silu(x), w[f"{name}.conv_res0.weight"], padding=1)
        gate = 1 + (emb @ w[f"{name}.emb_linear.weight"].T) * w[f"{name}.emb_gain"]
        y = conv2d(_mp_silu(y * gate[:, :, None, None]), w[f"{name}.conv_res1.weight"], padding=1)
        if block.kind == "dec" and skip is not None:
            x = conv2d(x, skip)
        x = _mp_sum(x, y, RESIDUAL)
        if block.attention:
            x = _mp_sum(x, self._attend(name, x), ATTENTION)
        return x.clamp(-CLAMP, CLAMP)

    def _attend(self, name: str, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        per_head = self.config.channels_per_head
        heads = channels // per_head
        qkv = conv2d(x, self._weights[f"{name}.attn_qkv.weight"])
        qkv = unit(qkv.reshape(n, heads, per_head, 3, height * width), (2,))
        q, k, v = qkv.unbind(3)
        weight = torch.einsum("nhcq,nhck->nhqk", q, k / math.sqrt(per_head)).softmax(dim=3)
        y = torch.einsum("nhqk,nhck->nhcq", weight, v).reshape(n, channels, height, width)
        return conv2d(y, self._weights[f"{name}.attn_proj.weight"])


def _check_shapes(weights: dict[str, Tensor], config: Edm2Config) -> None:
    expected = tensor_shapes(config)
    missing, extra = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or extra:
        raise InputError(
            f"weights lack {missing[:3]} and have unknown {extra[:3]}; use the configuration that "
            "was stored with them."
        )
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise InputError(
                f"{name} has shape {tuple(weights[name].shape)}, expected {shape}; use the "
                "configuration that was stored with the weights."
            )
