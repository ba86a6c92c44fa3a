"""Training as a task: once, and on from where it was stopped."""

import pytest

from irrev.diffusion.models.digits import DigitTrainer, digits_from_bytes, weights_hash
from irrev.diffusion.models.states import state_from_dataset, state_to_dataset
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks import diffusion
from tasks.diffusion import train_digits

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
