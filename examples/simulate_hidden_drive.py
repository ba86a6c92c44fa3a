"""Write examples/data/hidden_drive.npz: five channels whose witness is known in closed form.

Channels a, b, c share a hidden drive (coupling 0.3, drive pole 0.8, channel poles 0.3, 0.9, 0.6);
d and e are independent of them and of each other. 8,192 samples, single precision, at 100 per
second. Exact W in nats per sample, also stored in the file as `witness`: 0.0296 for a-b, a-c, b-c,
whatever the channel poles; 0 for the other seven pairs.

    python examples/simulate_hidden_drive.py
"""

from pathlib import Path

import numpy as np

from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

FILE = Path(__file__).parent / "data" / "hidden_drive.npz"


def main() -> None:
    """Simulate and save."""
    driven = SharedDrive(0.3, (0.3, 0.9, 0.6), (1.0,) * 3, (1.0,) * 3, 1.0, 0.8)
    alone = SharedDrive(0.0, (0.5, 0.8), (1.0,) * 2, (1.0,) * 2, 1.0, 0.8)
    rng = np.random.default_rng(1)
    parts = [simulate_shared_drive(system, 8_192, rng=rng) for system in (driven, alone)]
    np.savez_compressed(
        FILE,
        signal=np.concatenate(parts, axis=1).astype(np.float32),
        fs=100.0,
        channels=np.array(list("abcde")),
        witness=driven.witness(),
    )


if __name__ == "__main__":
    main()
