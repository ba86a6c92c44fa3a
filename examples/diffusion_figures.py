"""Figures and tables of docs/methods/class_entropy.md: when the digit model decides what.

    python examples/diffusion_figures.py [--steps 8000] [--weights FILE]

Trains the digit model (minutes on one core; FILE keeps its weights), follows held-out images
through the noise levels and asks of every pair of digits, and of some sets, when it is decided.
Writes to docs/figures and prints the table.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import irrev
from irrev.diffusion.models.digits import (
    DigitDenoiser,
    DigitTrainer,
    digits_from_bytes,
    digits_to_bytes,
    load_digits,
)
from irrev.diffusion.moments import half_distances
from irrev.diffusion.partitions import finest, pairs, partition
from irrev.plots_diffusion import decision_law, entropy_curves

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SETS = {
    "06/18": [[0, 6], [1, 8]],
    "even/odd": [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]],
    "01234/56789": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
}
SHOWN = ["class", "0/1", "4/9", "3/8", "1/8", "even/odd"]


def trained(steps: int, weights: Path | None) -> DigitDenoiser:
    """Read the weights, or train and keep them."""
    if weights and weights.is_file():
        return digits_from_bytes(weights.read_bytes())
    trainer = DigitTrainer(steps=steps)
    trainer.run()
    if weights:
        weights.write_bytes(digits_to_bytes(trainer.denoiser()))
    return trainer.denoiser()


def profile(model: DigitDenoiser, *, repeats: int = 3) -> xr.Dataset:
    """Curves and half points of all questions on held-out images, each with fresh noise."""
    digits = load_digits()
    questions = [finest(range(10)), *pairs(range(10)), *(partition(k, v) for k, v in SETS.items())]
    x, y = np.concatenate([digits.test] * repeats), np.tile(digits.test_labels, repeats)
    grid = irrev.edm_grid(64, sigma_min=0.05, sigma_max=40)
    ds = irrev.class_entropy(model, y, grid, data=x, partitions=questions)
    flat = digits.train.reshape(len(digits.train), -1).astype(float)
    halves = [half_distances(flat, digits.train_labels, q) for q in questions]
    return ds.assign(half_distance=("partition", np.array(halves)))


def main() -> None:
    """Write the figures, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--weights", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ds = profile(trained(options.steps, options.weights))
    names = ds["partition"].to_numpy().tolist()
    for name in SHOWN + list(SETS):
        one = ds.isel(partition=names.index(name))
        ends = [float(one[f"sigma_half{e}"]) for e in ("", "_low", "_high")]
        print(f"{name:12} {ends[0]:.2f} ({ends[1]:.2f} … {ends[2]:.2f})  "
              f"{float(one['half_distance']):.2f}")  # fmt: skip
    ratio = (ds["sigma_half"] / ds["half_distance"]).isel(partition=slice(1, 46)).to_numpy()
    print(f"pairs: ratio {np.median(ratio):.2f}, from {ratio.min():.2f} to {ratio.max():.2f}")
    for name, ax in {
        "diffusion_decisions": decision_law(ds),
        "diffusion_entropy": entropy_curves(ds.sel(partition=ds["partition"].isin(SHOWN))),
    }.items():
        ax.figure.savefig(FIGURES / f"{name}.png", dpi=150)


if __name__ == "__main__":
    main()
