"""The two products of `pair` on a GPU (or any torch device); data stay int8 there.

    values   rowsum((S1 Theta) o S0)          totals   S1' diag(w) S0, antisymmetrised   (1)

Products of a chunk are float32, sums over chunks float64. Everything else (metric, tables) is
asked from the same set on the host. On 0/1 spikes the sparse loops of the CPU do far less
arithmetic: a GPU pays off for many units, dense states or high rates.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irrev.ep.composite import Joint, Restricted, Windows
from irrev.ep.explicit import Antisymmetric, AntisymmetricTable
from irrev.ep.metric import PairMetric, pair_matrix, pair_vector
from irrev.ep.observables import DensePairs, Observables, SpikePairs

CHUNK_ROWS = 1 << 16  # samples a product: 260 MB of float32 at 500 units


@dataclass(frozen=True, slots=True)
class TorchPairs(Antisymmetric):
    """`pair` on a torch device."""

    host: SpikePairs | DensePairs
    before: Tensor  # (time, unit) int8, or float32 for real states
    after: Tensor  # the same tensor where both ends come from one record
    at: Tensor  # (n_samples,) row of `before`
    shift: int  # from there to the row of `after`

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.host.n_samples

    @property
    def n_observables(self) -> int:
        """Number of pairs of units."""
        return self.host.n_observables

    def take(self, rows: NDArray[np.int64]) -> "TorchPairs":
        """Return the given samples only; the states on the device are shared."""
        at = self.at[torch.as_tensor(rows, device=self.at.device)]
        return replace(self, host=self.host.take(rows), at=at)

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each sample, nats."""
        device = self.before.device
        matrix = torch.as_tensor(
            pair_matrix(theta, self.host.n_units), dtype=torch.float32, device=device
        )
        out = torch.empty(self.n_samples, dtype=torch.float64, device=device)
        for part in self._parts():
            before, after = self._ends(part)
            out[part] = torch.einsum("ti,ti->t", after @ matrix, before).double()
        return out.cpu().numpy()

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        device, n = self.before.device, self.host.n_units
        # In units of the largest, so that small weights do not vanish in float32.
        top = float(np.abs(weights).max(initial=0.0)) or 1.0
        w = torch.as_tensor(weights / top, dtype=torch.float32, device=device)
        out = torch.zeros((n, n), dtype=torch.float64, device=device)
        for part in self._parts():
            before, after = self._ends(part)
            out += ((after * w[part, None]).T @ before).double()
        matrix = out.cpu().numpy()
        return top * pair_vector(matrix - matrix.T)

    def metric(self) -> PairMetric:
        """Return the covariance of independent units."""
        return self.host.metric()

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples."""
        return self.host.columns(rows)

    def select(self, chosen: NDArray[np.int64]) -> AntisymmetricTable:
        """Return the given pairs as a table on the host."""
        return self.host.select(chosen)

    def _parts(self) -> list[slice]:
        n = self.n_samples
        return [slice(k, min(k + CHUNK_ROWS, n)) for k in range(0, n, CHUNK_ROWS)]

    def _ends(self, part: slice) -> tuple[Tensor, Tensor]:
        at = self.at[part]
        return self.before[at].float(), self.after[at + self.shift].float()


def torch_pairs(host: SpikePairs | DensePairs, device: str) -> TorchPairs:
    """Put the states of a set of pairs on a device.

    Parameters
    ----------
    host
        The set; spikes are coded -1/+1 on the device.
    device
        A torch device, e.g. "cuda" or "cpu".
    """
    if isinstance(host, SpikePairs):
        record = torch.as_tensor(_coded(host), device=device)
        return TorchPairs(
            host, record, record, torch.as_tensor(host.starts, device=device), host.lag
        )
    kind = np.int8 if all(map(_small, (host.before, host.after))) else np.float32
    before, after = (
        torch.as_tensor(np.ascontiguousarray(x.astype(kind)), device=device)
        for x in (host.before, host.after)
    )
    return TorchPairs(host, before, after, torch.arange(host.n_samples, device=device), 0)


def _small(states: NDArray[np.number]) -> bool:
    """Tell whether int8 holds the states."""
    return bool(np.all((np.abs(states) <= 127) & (states == np.rint(states))))


def _coded(host: SpikePairs) -> NDArray[np.int8]:
    """Return the whole record coded -1/+1."""
    n_bins = host.indptr.size - 1
    out = np.full((n_bins, host.n_units), -1, np.int8)
    out[np.repeat(np.arange(n_bins), np.diff(host.indptr)), host.indices] = 1
    return out


def on_device(observables: Observables, device: str) -> Observables:
    """Return the same observables with their pairs on a torch device."""
    if isinstance(observables, SpikePairs | DensePairs):
        return torch_pairs(observables, device)
    if isinstance(observables, Joint):
        return Joint(tuple(on_device(part, device) for part in observables.parts))
    if isinstance(observables, Windows | Restricted):
        return replace(observables, base=on_device(observables.base, device))
    return observables
