"""Denoisers: the one interface that every model-based step talks to, and the way into it.

    D(x, sigma, c) = E[x_0 | x_sigma = x, c],   x_sigma = x_0 + sigma e,   e ~ N(0, I)      (1)
    grad ln p_sigma(x | c) = (D - x) / sigma^2                                             (2)

Everything inside irrev uses these variance-exploding coordinates. A process
x_t = alpha x_0 + noise e has sigma = noise / alpha and x_sigma = x_t / alpha, so

    epsilon  D = x - sigma e_hat
    v        D = alpha x_t - noise v_hat          (variance preserving: alpha = 1/sqrt(1+sigma^2))
    velocity D = x_t - t u_hat                    (conditional OT: t = sigma/(1+sigma))
    EDM      D = c_skip x + c_out F(c_in x, c_noise, c)

Entropies of a label are the same number in all of these coordinates.

Sources: Karras et al., arXiv:2206.00364 (EDM); Song et al., arXiv:2011.13456 (VE, VP); Salimans,
Ho, arXiv:2202.00512 (v); Lipman et al., arXiv:2210.02747 (conditional OT).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from irrev.derivatives import FORWARD
from irrev.errors import InputError

Prediction = Literal["epsilon", "v", "x0", "velocity"]
Process = Literal["ve", "vp", "cond_ot"]

NULL = -1  # class index of the null condition inside a batch of mixed conditions
FINITE_STEP = 1e-2  # of sigma: float32 rounding and curvature are about equal there


class Denoiser(Protocol):
    """A trained or exact denoiser in the coordinates of equation (1)."""

    dim: tuple[int, ...]
    num_classes: int | None
    sigma_range: tuple[float, float]
    dtype: torch.dtype
    device: torch.device

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim); `cond=None` or index -1 is the null condition."""
        ...

    def jvp(
        self, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return D and the derivative of D along v."""
        ...


class DenoiserBase:
    """Forward-mode derivative and bookkeeping shared by all denoisers."""

    dim: tuple[int, ...] = ()
    num_classes: int | None = None
    sigma_range: tuple[float, float] = (0.0, float("inf"))
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim)."""
        raise NotImplementedError

    def jvp(
        self, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return D and the derivative of D along v, shapes as x.

        Forward-mode differentiation with plain attention; a kernel without a forward rule is
        replaced by a central difference of step 1e-2 sigma.
        """
        x, v = x.clone(), v.clone()  # an expanded tensor has no storage of its own
        try:
            with FORWARD, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                value, slope = torch.func.jvp(lambda y: self(y, sigma, cond), (x,), (v,))[:2]
                return value, slope
        except NotImplementedError:
            return self(x, sigma, cond), self._central_difference(x, sigma, cond, v)

    def _central_difference(
        self, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor
    ) -> Tensor:
        rms = v.flatten(1).square().mean(1).sqrt().clamp_min(torch.finfo(v.dtype).tiny)
        h = FINITE_STEP * sigma_column(sigma, x) / column(rms, x)
        return (self(x + h * v, sigma, cond) - self(x - h * v, sigma, cond)) / (2 * h)


def column(values: Tensor, x: Tensor) -> Tensor:
    """Reshape one value a sample so that it multiplies states of the shape of x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def sigma_column(sigma: float | Tensor, x: Tensor) -> Tensor:
    """Return the noise level as a tensor that multiplies states of the shape of x."""
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return column(level.expand(x.shape[0]) if level.ndim == 0 else level, x)


def null_mask(cond: Tensor | None, n: int, device: torch.device) -> Tensor:
    """Return which of n samples carry the null condition, shape (sample,)."""
    if cond is None:
        return torch.ones(n, dtype=torch.bool, device=device)
    return cond.to(device) == NULL


# --- processes ----------------------------------------------------------------------------------


def ou_time(sigma: Tensor) -> Tensor:
    """Return the time of dx = -x dt + sqrt(2) dW at which the noise ratio is sigma.

    Examples
    --------
    >>> ou_time(torch.tensor(0.0)).item()
    0.0
    """
    return 0.5 * torch.log1p(sigma**2)


def ou_sigma(time: Tensor) -> Tensor:
    """Return the noise ratio of dx = -x dt + sqrt(2) dW after `time`; inverse of `ou_time`."""
    return torch.sqrt(torch.expm1(2 * time))


def ddpm_sigmas(alphas_cumprod: Tensor) -> Tensor:
    """Return the noise ratio of each step of a DDPM, shape as the cumulative alphas."""
    return torch.sqrt((1 - alphas_cumprod) / alphas_cumprod)


def time_of_sigma(sigma: Tensor, sigmas: Tensor) -> Tensor:
    """Return the fractional step index of a noise level, linear in ln sigma.

    Parameters
    ----------
    sigma
        Noise level, any shape; clamped to the table.
    sigmas
        Increasing table of noise levels, shape (step,).
    """
    log, table = torch.log(sigma.double()), torch.log(sigmas.double())
    right = torch.searchsorted(table, log.clamp(table[0], table[-1])).clamp(1, len(table) - 1)
    left = right - 1
    share = (log - table[left]) / (table[right] - table[left])
    return left + share.clamp(0, 1)


def process_coefficients(sigma: Tensor, process: Process) -> tuple[Tensor, Tensor]:
    """Return (alpha, noise) of a process at noise ratio sigma."""
    if process == "ve":
        return torch.ones_like(sigma), sigma
    alpha = 1 / torch.sqrt(1 + sigma**2) if process == "vp" else 1 / (1 + sigma)
    return alpha, alpha * sigma


def to_denoised(x: Tensor, output: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """Turn a network's output into D.

    Parameters
    ----------
    x
        States in variance-exploding coordinates, shape (sample, *dim).
    output
        What the network predicts, same shape.
    sigma
        Noise level, broadcastable to x.
    prediction
        `epsilon` and `x0` for any process, `v` for variance preserving, `velocity` (dx/dt =
        e - x_0) for conditional OT.
    """
    if prediction == "epsilon":
        return x - sigma * output
    if prediction == "x0":
        return output
    alpha, noise = process_coefficients(sigma, "vp" if prediction == "v" else "cond_ot")
    if prediction == "v":
        return alpha * (alpha * x) - noise * output
    return alpha * x - noise * output  # conditional OT: t is the noise amplitude


@dataclass(frozen=True)
class EdmScaling:
    """Coefficients of the EDM preconditioning at one noise level."""

    skip: Tensor
    out: Tensor
    input: Tensor


def edm_scaling(sigma: Tensor, sigma_data: float) -> EdmScaling:
    """Return c_skip, c_out, c_in of EDM for data of standard deviation sigma_data."""
    total = sigma**2 + sigma_data**2
    return EdmScaling(
        skip=sigma_data**2 / total, out=sigma * sigma_data / total.sqrt(), input=1 / total.sqrt()
    )


Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class NetworkDenoiser(DenoiserBase):
    """Any function `network(x_t, time, cond)` with a declared process and prediction.

    Parameters
    ----------
    network
        Gets the process's own state and time, and the class indices (None = null condition).
    dim
        Shape of one sample.
    num_classes
        Number of classes, or None.
    prediction, process
        What the network returns and the process whose states it gets.
    time
        Noise level (sample,) -> the network's time argument; default: sigma for `ve`,
        `ou_time` for `vp`, sigma/(1+sigma) for `cond_ot`.
    sigma_range
        Noise levels on which the network was trained.
    """

    def __init__(
        self,
        network: Network,
        *,
        dim: tuple[int, ...],
        num_classes: int | None = None,
        prediction: Prediction = "x0",
        process: Process = "ve",
        time: Callable[[Tensor], Tensor] | None = None,
        sigma_range: tuple[float, float] = (2e-3, 80.0),
        device: str | torch.device = "cpu",
    ) -> None:
        required = {"v": "vp", "velocity": "cond_ot"}.get(prediction, process)
        if required != process:
            raise InputError(
                f"prediction={prediction!r} needs process={required!r}, not {process!r}; "
                "a v-prediction is variance preserving, a velocity is conditional OT."
            )
        default = {"ve": lambda s: s, "vp": ou_time, "cond_ot": lambda s: s / (1 + s)}
        self.network: Network = network
        self.prediction: Prediction = prediction
        self.process: Process = process
        self.time = time or default[process]
        self.dim, self.num_classes, self.sigma_range = dim, num_classes, sigma_range
        self.device = torch.device(device)

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim)."""
        level = sigma_column(sigma, x)
        alpha, _ = process_coefficients(level, self.process)
        output = self.network(alpha * x, self.time(level.flatten()), cond)
        return to_denoised(x, output.to(x.dtype), level, self.prediction)


class EdmDenoiser(DenoiserBase):
    """A network F with EDM preconditioning.

    Parameters
    ----------
    network
        F(c_in x, c_noise, cond).
    sigma_data
        Standard deviation of the data per coordinate.
    noise_input
        Noise level (sample,) -> c_noise; default ln(sigma)/4.
    """

    def __init__(
        self,
        network: Network,
        *,
        dim: tuple[int, ...],
        sigma_data: float,
        num_classes: int | None = None,
        noise_input: Callable[[Tensor], Tensor] | None = None,
        sigma_range: tuple[float, float] = (2e-3, 80.0),
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.sigma_data = network, sigma_data
        self.noise_input = noise_input or (lambda sigma: torch.log(sigma) / 4)
        self.dim, self.num_classes, self.sigma_range = dim, num_classes, sigma_range
        self.device = torch.device(device)

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim)."""
        level = sigma_column(sigma, x)
        c = edm_scaling(level, self.sigma_data)
        output = self.network(c.input * x, self.noise_input(level.flatten()), cond)
        return c.skip * x + c.out * output.to(x.dtype)
