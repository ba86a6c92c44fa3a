"""The digit model: training in pieces, storage, and its entropy profile."""

import numpy as np
import pytest
import torch

from irrev.diffusion.class_entropy import class_entropy
from irrev.diffusion.models.digits import (
    DigitTrainer,
    digits_from_bytes,
    digits_to_bytes,
    load_digits,
    weights_hash,
)
from irrev.diffusion.partitions import finest, partition
from irrev.diffusion.schedules import edm_grid
from irrev.errors import FormatError, InputError


def test_load_digits__is_the_fixed_split():
    digits = load_digits()
    assert digits.train.shape == (1437, 1, 8, 8)
    assert digits.test.shape == (360, 1, 8, 8)
    assert float(np.sqrt(np.mean(digits.train**2))) == pytest.approx(0.84677, abs=1e-5)


def test_digit_trainer__has_the_stated_size():
    trainer = DigitTrainer(steps=1)
    assert sum(p.numel() for p in trainer.network.parameters()) == 319_808


def test_digit_trainer__stopped_and_resumed_gives_the_same_bits():
    whole = DigitTrainer(steps=12)
    whole.run()
    states = []
    first = DigitTrainer(steps=12)
    first.run(5, every=5, checkpoint=states.append)
    second = DigitTrainer(steps=12)
    second.resume(states[-1])
    second.run()
    assert second.step == 12
    assert weights_hash(second.denoiser()) == weights_hash(whole.denoiser())


def test_digit_trainer__loss_falls():
    """From 1 (zero output) towards 0.36 at 2000 steps."""
    trainer = DigitTrainer(steps=200)
    early = trainer.run(20)
    trainer.run(160)
    assert trainer.run(20) < 0.75 * early


def test_resume__refuses_another_training():
    state = DigitTrainer(steps=10).state()
    with pytest.raises(InputError, match="10 steps and seed 0, this one has 20"):
        DigitTrainer(steps=20).resume(state)


def test_digits_to_bytes__round_trip_is_exact():
    model = DigitTrainer(steps=3).denoiser()
    again = digits_from_bytes(digits_to_bytes(model))
    x = torch.ones(2, 1, 8, 8)
    assert torch.equal(model(x, 1.0, torch.tensor([3, -1])), again(x, 1.0, torch.tensor([3, -1])))
    assert weights_hash(model) == weights_hash(again)


def test_digits_from_bytes__refuses_other_bytes():
    with pytest.raises(FormatError, match="not weights of the digit model"):
        digits_from_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00hello")


TABLE = {
    40.0: 2.30,
    8.0: 2.24,
    3.5: 2.01,
    1.93: 1.45,
    1.40: 0.98,
    0.99: 0.52,
    0.70: 0.20,
    0.32: 0.02,
}
HALVES = {
    "0/1": ([[0], [1]], 2.58),
    "3/8": ([[3], [8]], 1.56),
    "1/8": ([[1], [8]], 1.35),
    "4/9": ([[4], [9]], 2.32),
    "06/18": ([[0, 6], [1, 8]], 1.86),
    "even/odd": ([[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]], 1.28),
}


@pytest.mark.slow
def test_class_entropy__digits_table():
    """2000 steps: H within 0.07 nats of the 8000-step table, sigma_half within 10 %."""
    trainer = DigitTrainer(steps=2000)
    trainer.run()
    digits, grid = load_digits(), edm_grid(64, sigma_min=0.05, sigma_max=40)
    questions = [finest(range(10)), *(partition(k, v[0]) for k, v in HALVES.items())]
    x, y = np.concatenate([digits.test] * 3), np.tile(digits.test_labels, 3)
    ds = class_entropy(trainer.denoiser(), y, grid, data=x, partitions=questions, draws=50)
    for sigma, entropy in TABLE.items():
        k = int(np.argmin(np.abs(np.log(grid / sigma))))
        assert float(ds.entropy_mean[k, 0]) == pytest.approx(entropy, abs=0.07)
    assert float(ds.sigma_peak[0]) == pytest.approx(1.40, rel=0.11)  # one level apart
    assert float(ds.accuracy[-1, 0]) > 0.97
    for k, (_, half) in enumerate(HALVES.values(), start=1):
        assert float(ds.sigma_half[k]) == pytest.approx(half, rel=0.1)
