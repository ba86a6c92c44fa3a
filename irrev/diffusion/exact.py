"""Exact denoisers: Gaussian mixtures, and labelled data read as one.

    p_sigma(x) = sum_k w_k N(x; mu_k, Sigma_k + sigma^2 I)                                 (1)
    D(x, sigma) = sum_k r_k(x) [mu_k + Sigma_k (Sigma_k + sigma^2 I)^-1 (x - mu_k)]        (2)

with responsibilities r_k of equation (1). A class is a set of components; its denoiser uses these
alone, and D = sum_c p(c|x) D_c holds to rounding. `empirical_denoiser` puts one narrow Gaussian on
each row of labelled data: the empirical-Bayes posterior, which needs no network and is an
independent check of one (evaluate it on rows that it has not seen).

Source: elementary; Tweedie's formula, e.g. Efron, JASA 106, 1602 (2011).
"""

import math
from copy import copy

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from irrev.diffusion.denoiser import DenoiserBase
from irrev.errors import InputError

BANDWIDTH = 0.3  # of the data's rms: narrower than a class, wider than the gap between rows
ROUNDING = 1e-9  # of the largest variance: a singular matrix may have one this far below zero
MANY_COMPONENTS = 256  # from here on, classes are worth telling apart before they are evaluated


class GaussianMixture(DenoiserBase):
    """Exact denoiser, score, density and class posterior of a Gaussian mixture.

    Parameters
    ----------
    weights
        Component weights, shape (component,); normalised here.
    means
        Component means, shape (component, d).
    cov
        One variance, variances (component,), or covariance matrices (component, d, d).
    labels
        Class of each component, shape (component,); default one class each.
    dtype, device
        Where and how it computes; float64 on the CPU by default.
    """

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        cov: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        dim: tuple[int, ...] | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        self.dtype, self.device = dtype, torch.device(device)
        w, mu = np.asarray(weights, dtype=float), np.asarray(means, dtype=float)
        var = np.asarray(cov, dtype=float)
        if mu.ndim != 2 or not (np.isfinite(mu).all() and np.isfinite(var).all()):
            raise InputError(
                f"means of shape {mu.shape}; give finite means (component, d) and a finite cov."
            )
        k, d = mu.shape
        if w.shape != (k,) or not np.all(w >= 0) or not 0 < w.sum() < np.inf:
            raise InputError(f"weights {w.tolist()} for {k} components; give one >= 0 each.")
        lab = np.arange(k) if labels is None else np.asarray(labels, dtype=int)
        self.log_weights = self._tensor(np.log(w / w.sum()))
        self.means = self._tensor(mu)
        self.labels = torch.as_tensor(lab, device=self.device)
        self.num_classes: int | None = int(lab.max()) + 1
        self._classes: dict[int, GaussianMixture] = {}  # parts of one class, when asked for
        self.dim = dim or (d,)
        if math.prod(self.dim) != d:
            raise InputError(f"means have {d} coordinates but dim={self.dim}; make them agree.")
        self.vectors: Tensor | None = None
        if var.shape not in ((), (k,), (k, d, d)):
            raise InputError(
                f"cov of shape {var.shape} for {k} components in {d} dimensions; give one "
                f"variance, {k} of them, or matrices of shape {(k, d, d)}."
            )
        if var.ndim < 2:
            self.variances = self._tensor(np.broadcast_to(var, (k,)).copy())[:, None]
        else:
            values, vectors = np.linalg.eigh(var)
            self.variances, self.vectors = self._tensor(values), self._tensor(vectors)
        if self.variances.min() < -ROUNDING * self.variances.abs().max():
            raise InputError(
                f"cov has a variance of {float(self.variances.min()):.3g}; give >= 0."
            )

    def _tensor(self, a: NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(a, dtype=self.dtype, device=self.device)

    def _log_components(
        self, x: Tensor, sigma: float | Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return ln w_k N(x; ...), (sample, component), and the noise variance, (sample,)."""
        noise = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).square().expand(len(x))
        total = self.variances.to(x.dtype) + noise[:, None, None]  # (sample, component, d or 1)
        means = self.means.to(x.dtype)
        if self.vectors is None:
            # |x - mu|^2 by one matrix product: component counts reach thousands.
            centred, shifted = x - means.mean(0), means - means.mean(0)
            squared = centred.square().sum(1)[:, None] - 2 * centred @ shifted.T
            mahalanobis = (squared + shifted.square().sum(1)).clamp_min(0) / total[:, :, 0]
            log_det = x.shape[1] * torch.log(total[:, :, 0])
        else:
            rotated = torch.einsum("nki,kij->nkj", x[:, None] - means, self.vectors.to(x.dtype))
            mahalanobis = (rotated.square() / total).sum(2)
            log_det = torch.log(total).sum(2)
        log_p = -0.5 * (mahalanobis + log_det + x.shape[1] * math.log(2 * math.pi))
        log_p = log_p + self.log_weights.to(x.dtype)
        if cond is not None:
            wrong = (cond[:, None] >= 0) & (self.labels != cond[:, None])
            log_p = log_p.masked_fill(wrong, -torch.inf)
        return log_p, noise

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return D for states (sample, *dim), equation (2)."""
        if cond is None or len(self.means) < MANY_COMPONENTS:
            return self._denoised(x, sigma, cond)
        # a class is asked of its own components only: one pass for all classes, not one for each
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        groups = [(c, torch.nonzero(cond == c)[:, 0]) for c in torch.unique(cond).tolist()]
        parts = [self._of_class(c)._denoised(x[rows], level[rows], None) for c, rows in groups]
        return torch.cat(parts)[torch.argsort(torch.cat([rows for _, rows in groups]))]

    def _of_class(self, c: int) -> "GaussianMixture":
        """Return the mixture of the components of one class; all of it for the null condition."""
        if c < 0:
            return self
        if c not in self._classes:
            own = self.labels == c
            part = copy(self)
            part.log_weights, part.means = self.log_weights[own], self.means[own]
            part.variances, part.labels = self.variances[own], self.labels[own]
            part.vectors = None if self.vectors is None else self.vectors[own]
            self._classes[c] = part
        return self._classes[c]

    def _denoised(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None) -> Tensor:
        flat = x.flatten(1)
        log_p, noise = self._log_components(flat, sigma, cond)
        r = torch.softmax(log_p, dim=1)
        gain = self.variances.to(x.dtype) / (self.variances.to(x.dtype) + noise[:, None, None])
        means = self.means.to(x.dtype)
        if self.vectors is None:
            share = gain[:, :, 0]
            out = (r * share).sum(1, keepdim=True) * flat + (r * (1 - share)) @ means
        else:
            basis = self.vectors.to(x.dtype)
            rotated = torch.einsum("nki,kij->nkj", flat[:, None] - means, basis) * gain
            out = r @ means + torch.einsum("nk,nkj,kij->ni", r, rotated, basis)
        return out.reshape(x.shape)

    def log_density(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return ln p_sigma(x), or ln p_sigma(x|c) with class indices; shape (sample,)."""
        log_p, _ = self._log_components(x.flatten(1), sigma, cond)
        out = torch.logsumexp(log_p, dim=1)
        if cond is None:
            return out
        return out - torch.log(self.class_weights()).to(x.dtype)[cond]

    def score(self, x: Tensor, sigma: float | Tensor, cond: Tensor | None = None) -> Tensor:
        """Return grad ln p_sigma(x|c), shape as x."""
        noise = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).square()
        noise = noise.expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))
        return (self(x, sigma, cond) - x) / noise

    def class_weights(self) -> Tensor:
        """Return the prior probability of each class, shape (class,)."""
        out = torch.zeros(self.num_classes or 0, dtype=self.dtype, device=self.device)
        return out.index_add(0, self.labels, torch.exp(self.log_weights))

    def log_likelihood(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ln p_sigma(x|c) for every class, shape (sample, class)."""
        log_p, _ = self._log_components(x.flatten(1), sigma, None)
        joint = [
            torch.logsumexp(log_p[:, self.labels == c], dim=1)
            for c in range(self.num_classes or 0)
        ]
        return torch.stack(joint, dim=1) - torch.log(self.class_weights()).to(x.dtype)


def empirical_denoiser(
    rows: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    bandwidth: float | None = None,
    prior: NDArray[np.floating] | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> GaussianMixture:
    """Read labelled data as a mixture with one Gaussian on each row.

    Parameters
    ----------
    rows
        Data, shape (sample, *dim).
    labels
        Class of each row, shape (sample,), values 0, 1, ...
    bandwidth
        Standard deviation of each Gaussian, data units; default 0.3 x rms of the rows.
    prior
        Probability of each class, shape (class,); default uniform. Rows of a class share it.

    Returns
    -------
        Denoiser with as many classes as labels.

    Raises
    ------
    InputError
        If labels do not match the rows or a class is empty.
    """
    flat = np.asarray(rows, dtype=float).reshape(len(rows), -1)
    y = np.asarray(labels, dtype=int)
    counts = np.bincount(y, minlength=1) if y.size and y.min() >= 0 else np.zeros(1, int)
    if y.shape != (len(rows),) or counts.min() == 0:
        raise InputError(
            f"{len(rows)} rows, labels of shape {y.shape} with class sizes {counts.tolist()}; "
            "give every row a label 0..K-1 and every class a row."
        )
    pi = np.full(len(counts), 1 / len(counts)) if prior is None else np.asarray(prior)
    h = BANDWIDTH * float(np.sqrt(np.mean(flat**2))) if bandwidth is None else bandwidth
    return GaussianMixture(
        (pi / counts)[y], flat, h**2, y, dim=rows.shape[1:], dtype=dtype, device=device
    )
