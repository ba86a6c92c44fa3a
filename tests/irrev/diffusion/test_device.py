"""Placement and precision."""

import pytest
import torch

from irrev.diffusion.device import (
    MixedPrecision,
    exact_arithmetic,
    place,
    precision_error,
    rows_that_fit,
)
from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.models.digits import DigitTrainer, digits_to_bytes
from irrev.errors import InputError


def test_place__auto_falls_back_with_a_note(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    placement = place("auto")
    assert placement.device == "cpu"
    assert "no GPU seen" in placement.note


def test_place__cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device=cuda but torch sees no GPU"):
        place("cuda")


def test_exact_arithmetic__restores_what_it_found():
    before = torch.are_deterministic_algorithms_enabled()
    with exact_arithmetic():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
    assert torch.are_deterministic_algorithms_enabled() == before


def test_rows_that_fit__on_a_cpu_is_the_default():
    assert rows_that_fit(DigitTrainer(steps=1).denoiser()) == 2048


def test_precision_error__grows_from_float32_to_bfloat16():
    """Unit roundoff 6e-8 against 4e-3; a few layers amplify each by at most a hundred."""
    trainer = DigitTrainer(steps=30)
    trainer.run()
    model = trainer.denoiser()
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = digits_to_bytes(model)
    exact = build_denoiser({"kind": "digits", "dtype": "float64"}, weights=weights)
    single = precision_error(model, exact, x, 1.0)
    half = precision_error(MixedPrecision(model), exact, x, 1.0)
    assert single.rms < 100 * 6e-8
    assert single.rms < half.rms < 100 * 4e-3
    assert MixedPrecision(model)(x, 1.0).dtype == torch.float32
