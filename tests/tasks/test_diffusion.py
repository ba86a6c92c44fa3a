"""Training as a task: once, and on from where it was stopped."""

import numpy as np
import pytest

from irrev.diffusion.models.digits import DigitTrainer, digits_from_bytes, weights_hash
from irrev.diffusion.models.states import state_from_dataset, state_to_dataset
from irrev.readers import samples
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks import diffusion
from tasks.diffusion import train_digits
from tasks.ingest import read_items

MODEL = {"kind": "digits", "steps": 9, "seed": 0}


@pytest.fixture
def ref(tmp_path):
    place = StoreRef(str(tmp_path / "store"), "main")
    Repository.open(place, create=True, project="test")
    return place


def test_train_digits__goes_on_from_its_last_state(ref, monkeypatch):
    """Killed after 6 of 9 steps: the same weights as in one go, and nothing left over."""
    monkeypatch.setattr(diffusion, "CHECKPOINT_STEPS", 3)
    stopped, steps = DigitTrainer(steps=9), []
    stopped.run(6)
    pending = Pending(Repository.open(ref))
    pending.put({"model-step-6": {"data": state_to_dataset(stopped.state())}})
    resume = DigitTrainer.resume

    def watched(self, state):
        resume(self, state)
        steps.append(self.step)

    monkeypatch.setattr(DigitTrainer, "resume", watched)
    assert train_digits(ref, "model", MODEL) == "model"
    whole = DigitTrainer(steps=9)
    whole.run()
    fresh = Pending(Repository.open(ref))
    made = digits_from_bytes(fresh.get("model")["data"]["weights"].to_numpy().tobytes())
    assert weights_hash(made) == weights_hash(whole.denoiser())
    assert steps == [6]
    assert fresh.keys() == {"model"}
    assert train_digits(ref, "model", MODEL) == "model"
    assert steps == [6]


def test_state_to_dataset__round_trip_is_exact():
    trainer = DigitTrainer(steps=4)
    trainer.run(2)
    state = trainer.state()
    again = state_from_dataset(state_to_dataset(state))
    assert all((again[k] == v).all() for k, v in state.items())


def test_read_items__a_file_damaged_behind_its_first_parts_leaves_nothing(
    ref, tmp_path, monkeypatch
):
    """Parts are kept as they come; those of a file that fails later are dropped again."""
    monkeypatch.setattr(samples, "PART_BYTES", 4 * 64)
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    np.savez(tmp_path / "good.npz", samples=x)
    x[30:] = np.nan
    np.savez(tmp_path / "bad.npz", samples=x, labels=np.full(40, -1))
    paths = [(name, str(tmp_path / f"{name}.npz")) for name in ("bad", "good")]
    config = {"kind": "samples", "options": {}, "split": {}}
    bad, good = read_items(ref, paths, config, "quarantine")
    assert "no sample can be used" in bad.error
    assert (good.parts, good.size["sample"]) == (40, 40)
    keys = Pending(Repository.open(ref)).keys()
    assert len(keys) == 41
    assert all(key.startswith(good.key) for key in keys)
    config = {"kind": "samples", "options": {"on_error": "stop"}, "split": {}}
    x[:30, 0] = np.arange(30)
    np.savez(tmp_path / "late.npz", samples=x)
    (late,) = read_items(ref, [("late", str(tmp_path / "late.npz"))], config, "quarantine")
    assert "10 of 40 samples hold NaN" in late.error
    assert Pending(Repository.open(ref)).keys() == keys
