"""Where a model runs and how exactly: device choice, batch size, precision.

Numbers must not depend on the place: noise is drawn on the CPU, TF32 is off and algorithms are
deterministic, so one device gives the same bits again for the same batch size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from irrev.diffusion.chunks import CHUNK_ROWS, default_rows
from irrev.diffusion.denoiser import Denoiser, DenoiserBase
from irrev.errors import InputError

Device = Literal["auto", "cuda", "cpu"]
SHARE_OF_FREE = 0.5  # of device memory: room for fragmentation and the caller's tensors


@dataclass(frozen=True, slots=True)
class Placement:
    """Device of a run, and the note that goes into its record."""

    device: str
    note: str


def place(device: Device) -> Placement:
    """Choose the device of a run.

    Parameters
    ----------
    device
        `cuda` insists, `cpu` never asks, `auto` takes a GPU if there is one.

    Raises
    ------
    InputError
        If `cuda` is asked for and there is none.

    Examples
    --------
    >>> place("cpu").device
    'cpu'
    """
    if device == "cpu":
        return Placement("cpu", "cpu as asked")
    if torch.cuda.is_available():
        return Placement("cuda", torch.cuda.get_device_name())
    if device == "cuda":
        raise InputError(
            "device=cuda but torch sees no GPU; use device=auto or cpu, or install a CUDA build."
        )
    return Placement("cpu", "auto: no GPU seen, ran on the CPU")


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Switch TF32 off and deterministic algorithms on while the block runs.

    On a GPU also set CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment before torch starts.
    """
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = conv
        torch.use_deterministic_algorithms(deterministic)


def rows_that_fit(denoiser: Denoiser, sigma: float = 1.0, *, probe_rows: int = 4) -> int:
    """Return how many rows of one call fit the free memory of the model's device.

    A small call measures the memory of a row on a GPU; on a CPU it goes by the size of a sample.
    """
    if denoiser.device.type != "cuda":
        return default_rows(denoiser.dim)
    x = torch.zeros((probe_rows, *denoiser.dim), dtype=denoiser.dtype, device=denoiser.device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.no_grad():
        denoiser(x, sigma, None)
    per_row = max(1, (torch.cuda.max_memory_allocated() - before) // probe_rows)
    free, _ = torch.cuda.mem_get_info()
    return int(max(1, min(CHUNK_ROWS, SHARE_OF_FREE * free // per_row)))


class MixedPrecision(DenoiserBase):
    """A denoiser whose matrix products run in half precision; states stay as they are."""

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype = torch.bfloat16) -> None:
        self.denoiser, self.half = denoiser, dtype
        self.dim, self.num_classes = denoiser.dim, denoiser.num_classes
        self.sigma_range, self.dtype = denoiser.sigma_range, denoiser.dtype
        self.device = denoiser.device

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D, in the type of x."""
        with torch.autocast(self.device.type, dtype=self.half):
            return self.denoiser(x, sigma, cond).to(x.dtype)


@dataclass(frozen=True, slots=True)
class PrecisionError:
    """Error of D relative to sigma: what enters scores, log ratios and velocities."""

    rms: float
    largest: float


def precision_error(
    denoiser: Denoiser, reference: Denoiser, x: Tensor, sigma: float, cond: Tensor | None = None
) -> PrecisionError:
    """Measure a denoiser's rounding against one in float64 on the same states.

    Parameters
    ----------
    denoiser, reference
        The model as used, and the same in float64 (`build_denoiser` with `dtype: float64`).
    x
        States, shape (sample, *dim).
    """
    with torch.no_grad():
        exact = reference(x.double(), sigma, cond)
        gap = (denoiser(x, sigma, cond).double() - exact) / sigma
    return PrecisionError(float(gap.square().mean().sqrt()), float(gap.abs().max()))
