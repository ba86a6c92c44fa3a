"""Network calls cut to the memory there is: a denoiser that splits its batch, and halves on need.

A call of n rows becomes calls of at most `rows`; when memory runs out the number is halved, for
this call and all later ones. Memory of a run is then that of one chunk, whatever the batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser, DenoiserBase
from irrev.errors import InputError

CHUNK_ROWS = 16384  # rows of one call at most: more are no faster anywhere
CHUNK_VALUES = 2**22  # coordinates of one call: 256 rows of latents of 4 x 64 x 64
CPU_VALUES = 2**17  # on a CPU, whose caches a longer call only overflows
CPU_MEMORY = "can't allocate memory"  # how torch says on a CPU that memory ran out
T = TypeVar("T")


def default_rows(dim: tuple[int, ...], device: str = "cpu") -> int:
    """Return the rows of one call to begin with, for samples of a shape.

    Examples
    --------
    >>> default_rows((4, 64, 64), "cuda"), default_rows((4, 64, 64))
    (256, 8)
    """
    values = CPU_VALUES if device == "cpu" else CHUNK_VALUES
    return max(1, min(CHUNK_ROWS, values // max(1, math.prod(dim))))


class Chunked(DenoiserBase):
    """A denoiser called on at most `rows` states at once.

    Parameters
    ----------
    denoiser
        The model.
    rows
        Rows of one call to begin with; by default what suits the device, see `default_rows`.
    """

    def __init__(self, denoiser: Denoiser, rows: int | None = None) -> None:
        self.denoiser = denoiser
        self.rows = rows or default_rows(denoiser.dim, denoiser.device.type)
        self.dim, self.num_classes = denoiser.dim, denoiser.num_classes
        self.sigma_range, self.dtype = denoiser.sigma_range, denoiser.dtype
        self.device = denoiser.device

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim).

        Raises
        ------
        InputError
            If the model returns another shape.
        """
        out = _join(
            self._each(len(x), lambda p: self.denoiser(x[p], _part(sigma, p), _rows(cond, p)))
        )
        if out.shape != x.shape:
            raise InputError(
                f"the model returned shape {tuple(out.shape)} for states of {tuple(x.shape)}; it "
                "must return the denoised states, in their shape."
            )
        return out

    def jvp(
        self, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return D and its derivative along v."""
        pairs = self._each(
            len(x), lambda p: self.denoiser.jvp(x[p], _part(sigma, p), _rows(cond, p), v[p])
        )
        values, slopes = zip(*pairs, strict=True)
        return _join(values), _join(slopes)

    def vjp(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor) -> Tensor:
        """Return the derivative of D . v by x; only one chunk's graph is alive."""
        return _join(
            self._each(
                len(x), lambda p: vjp(self.denoiser, x[p], _part(sigma, p), _rows(cond, p), v[p])
            )
        )

    def _each(self, n: int, call: Callable[[slice], T]) -> list[T]:
        out: list[T] = []
        start = 0
        while start < n:
            part = slice(start, min(start + self.rows, n))
            try:
                out.append(call(part))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if self.rows == 1 or not _memory_ran_out(error):
                    raise
                self.rows = max(1, min(self.rows, n) // 2)
                continue
            start = part.stop
        return out


def chunked(denoiser: Denoiser, rows: int | None = None) -> Chunked:
    """Return the denoiser with its calls cut; one that is cut already stays as it is."""
    return denoiser if isinstance(denoiser, Chunked) else Chunked(denoiser, rows)


def vjp(
    denoiser: Denoiser, x: Tensor, sigma: float | Tensor, cond: Tensor | None, v: Tensor
) -> Tensor:
    """Return the derivative of D(x) . v by x, shape of x: one reverse pass."""
    if isinstance(denoiser, Chunked):
        return denoiser.vjp(x, sigma, cond, v)
    with torch.enable_grad():
        at = x.detach().clone().requires_grad_(True)
        (out,) = torch.autograd.grad(denoiser(at, sigma, cond), at, grad_outputs=v)
    return out


def _memory_ran_out(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or CPU_MEMORY in str(error)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))  # no copy of a single one


def _part(sigma: float | Tensor, part: slice) -> float | Tensor:
    return sigma[part] if isinstance(sigma, Tensor) and sigma.ndim else sigma


def _rows(cond: Tensor | None, part: slice) -> Tensor | None:
    return None if cond is None else cond[part]
