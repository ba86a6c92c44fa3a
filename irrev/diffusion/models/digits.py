"""The default model: a class-conditional denoiser of 8x8 digits that trains on a laptop.

Data are the 1,797 images of scikit-learn's `load_digits`, scaled to [-1, 1]; 1,437 to train, 360
held out. The network is an MLP with three modulated residual blocks and EDM preconditioning
(319,808 parameters), trained with the EDM loss and dropped labels:

    E (sigma^2 + sd^2)/(sigma sd)^2 mean|D - x_0|^2,      ln sigma ~ N(0, 1.2^2)             (1)

Training is resumable: the state holds everything, step i draws from its own stream of the seed,
and a run that was stopped and continued gives the same weights.

Source of the loss and preconditioning: Karras et al., arXiv:2206.00364. Data: E. Alpaydin, C.
Kaynak, Optical recognition of handwritten digits, UCI (1998).
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irrev.diffusion.denoiser import NULL, DenoiserBase, edm_scaling
from irrev.errors import FormatError, InputError, MissingExtraError

SHAPE = (1, 8, 8)
N_CLASSES = 10
WIDTH, N_BLOCKS, N_FREQUENCIES = 128, 3, 16
N_TRAIN = 1437
SIGMA_RANGE = (0.03, 80.0)  # ln sigma within three standard deviations of training
PEAK_RATE, WARM_UP, BATCH, LABEL_DROP = 2e-3, 200, 128, 0.15


@dataclass(frozen=True)
class Digits:
    """Images (sample, 1, 8, 8) in [-1, 1] and labels (sample,), split once for all."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def load_digits() -> Digits:
    """Return the packaged digits with the fixed split.

    Raises
    ------
    MissingExtraError
        Without scikit-learn, which ships the images.
    """
    try:
        from sklearn.datasets import load_digits as packaged
    except ImportError as error:
        raise MissingExtraError(
            "scikit-learn holds the digits; install irrev[diffusion]."
        ) from error
    images, labels = packaged(return_X_y=True)
    x = (np.asarray(images) / 8 - 1).astype(np.float32).reshape(-1, *SHAPE)
    y = np.asarray(labels, dtype=np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    first, rest = order[:N_TRAIN], order[N_TRAIN:]
    return Digits(x[first], y[first], x[rest], y[rest])


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.modulate = nn.Linear(WIDTH, 2 * WIDTH)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=-1)
        y = self.narrow(nn.functional.silu(self.widen(self.norm(h) * (1 + scale) + shift)))
        return h + y


class DigitNetwork(nn.Module):
    """F of the EDM preconditioning, for flattened images."""

    def __init__(self) -> None:
        super().__init__()
        n_pixels = math.prod(SHAPE)
        frequencies = torch.logspace(math.log10(0.25), math.log10(8.0), N_FREQUENCIES)
        self.register_buffer("frequencies", frequencies)
        self.enter = nn.Linear(n_pixels, WIDTH)
        self.noise = nn.Linear(2 * N_FREQUENCIES, WIDTH)
        self.label = nn.Embedding(N_CLASSES + 1, WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(N_BLOCKS))
        self.leave = nn.Linear(WIDTH, n_pixels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        """Return F for images (sample, 64), ln sigma (sample,), label (sample,); 10 is null."""
        phase = noise[:, None] * self.get_buffer("frequencies")
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        embedding = nn.functional.silu(self.noise(waves) + self.label(label))
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(h)


class DigitDenoiser(DenoiserBase):
    """The trained network as a denoiser."""

    dim: tuple[int, ...] = SHAPE
    num_classes: int | None = N_CLASSES
    sigma_range = SIGMA_RANGE

    def __init__(
        self, network: DigitNetwork, sigma_data: float, *, device: str | torch.device = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.sigma_data = sigma_data

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for images (sample, 1, 8, 8)."""
        n = len(x)
        label = torch.full((n,), NULL, device=x.device) if cond is None else cond
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(n)
        return _denoise(self.network, x.flatten(1), level, label, self.sigma_data).reshape(x.shape)


def _denoise(
    network: DigitNetwork, x: Tensor, sigma: Tensor, label: Tensor, sigma_data: float
) -> Tensor:
    c = edm_scaling(sigma[:, None], sigma_data)
    null = torch.where(label == NULL, N_CLASSES, label)
    return c.skip * x + c.out * network(c.input * x, torch.log(sigma), null)


class DigitTrainer:
    """Training of the digit model in pieces of any length.

    Parameters
    ----------
    steps
        Steps of the whole training; the learning rate falls to zero at the end.
    seed
        Seed of weights and noise.
    images, labels
        Training data; default: the packaged digits.
    """

    def __init__(
        self,
        *,
        steps: int = 8000,
        seed: int = 0,
        images: NDArray[np.floating] | None = None,
        labels: NDArray[np.integer] | None = None,
    ) -> None:
        if images is None or labels is None:
            digits = load_digits()
            images, labels = digits.train, digits.train_labels
        if steps < 1 or len(images) != len(labels):
            raise InputError(
                f"steps={steps}, {len(images)} images, {len(labels)} labels; "
                "train at least one step on as many labels as images."
            )
        self.steps, self.seed, self.step = steps, seed, 0
        self._x = torch.as_tensor(images, dtype=torch.float32).flatten(1)
        self._y = torch.as_tensor(np.asarray(labels, dtype=np.int64))
        self.sigma_data = float(self._x.square().mean().sqrt())
        with torch.random.fork_rng(devices=[]):  # nn.Module knows no generator argument
            torch.manual_seed(seed)
            self.network, self.average = DigitNetwork(), DigitNetwork()
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=PEAK_RATE, weight_decay=1e-2
        )

    def run(
        self, n_steps: int | None = None, *, every: int = 500,
        checkpoint: Callable[[dict[str, Tensor]], None] | None = None,
    ) -> float:  # fmt: skip
        """Train further and return the mean loss of these steps.

        Parameters
        ----------
        n_steps
            Steps to make now, at most those left; default all of them.
        every, checkpoint
            Call `checkpoint(state())` after every so many steps and at the end.
        """
        end = self.steps if n_steps is None else min(self.steps, self.step + n_steps)
        losses = torch.zeros(max(end - self.step, 1))
        for i, step in enumerate(range(self.step, end)):
            losses[i] = self._advance(step)
            self.step = step + 1
            if checkpoint and (self.step % every == 0 or self.step == end):
                checkpoint(self.state())
        return float(losses.mean())

    def _advance(self, step: int) -> Tensor:
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = torch.randint(len(self._x), (BATCH,), generator=rng)
        sigma = torch.exp(1.2 * torch.randn(BATCH, generator=rng))
        noise = torch.randn(BATCH, self._x.shape[1], generator=rng)
        drop = torch.rand(BATCH, generator=rng) < LABEL_DROP
        label = torch.where(drop, NULL, self._y[rows])
        x0 = self._x[rows]
        for group in self.optimiser.param_groups:
            warm = min(1.0, (step + 1) / WARM_UP)
            group["lr"] = PEAK_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        out = _denoise(self.network, x0 + sigma[:, None] * noise, sigma, label, self.sigma_data)
        weight = (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        loss = (weight[:, None] * (out - x0).square()).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
            for average, current in pairs:
                average.lerp_(current, 1 - decay)
        return loss.detach()

    def denoiser(self, *, device: str | torch.device = "cpu") -> DigitDenoiser:
        """Return the denoiser of the averaged weights so far."""
        network = DigitNetwork()
        network.load_state_dict(self.average.state_dict())
        return DigitDenoiser(network, self.sigma_data, device=device)

    def state(self) -> dict[str, Tensor]:
        """Return everything that training needs to go on, as named tensors."""
        out = {f"network.{k}": v.clone() for k, v in self.network.state_dict().items()}
        out |= {f"average.{k}": v.clone() for k, v in self.average.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            out |= {f"adam.{index}.{k}": v.clone() for k, v in moments.items()}
        out["progress"] = torch.tensor([self.step, self.steps, self.seed])
        return out

    def resume(self, state: dict[str, Tensor]) -> None:
        """Continue from a state of the same training.

        Raises
        ------
        InputError
            If the state is of another number of steps or seed.
        """
        step, steps, seed = (int(v) for v in state["progress"])
        if (steps, seed) != (self.steps, self.seed):
            raise InputError(
                f"state of a training of {steps} steps and seed {seed}, this one has {self.steps} "
                f"and {self.seed}; use the same or start anew."
            )
        self.network.load_state_dict(_under(state, "network."))
        self.average.load_state_dict(_under(state, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(state, "adam.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict(
            {"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.step = step


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def digits_to_bytes(model: DigitDenoiser) -> bytes:
    """Return the weights as a safetensors file with what is needed to read them back."""
    from safetensors.torch import save

    weights = {k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items()}
    return save(weights, metadata={"irrev": json.dumps({"sigma_data": model.sigma_data})})


def digits_from_bytes(data: bytes, *, device: str | torch.device = "cpu") -> DigitDenoiser:
    """Read the weights back; no code is executed.

    Raises
    ------
    FormatError
        If the bytes are not weights of the digit model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        meta = json.loads(header["__metadata__"]["irrev"])
        network = DigitNetwork()
        network.load_state_dict(load(data))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise FormatError(
            f"{len(data)} bytes are not weights of the digit model ({error}); train it anew."
        ) from error
    return DigitDenoiser(network, float(meta["sigma_data"]), device=device)


def weights_hash(model: DigitDenoiser) -> str:
    """Return the SHA-256 of the weights, by which stored models are named."""
    return hashlib.sha256(digits_to_bytes(model)).hexdigest()
