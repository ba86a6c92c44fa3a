"""Write examples/data/transcripts.jsonl.gz: labelled answers of two models, one of which drifts.

Both models answer 1,600 times, one a minute, with the classes of `irrev.alignment.taxonomy` drawn
from a peaked law. From its answer 1,000 on (bin 20 of 50), `drifting` draws from another law whose
entropy is larger and whose intended share is 0.6 instead of 0.9. The texts say nothing.

    S before  0.453 nat        S after  1.214 nat

Run: python examples/simulate_transcripts.py
"""

import gzip
import json
from pathlib import Path

import numpy as np

from irrev.alignment.taxonomy import DEFAULT_TAXONOMY
from irrev.entropy import entropy

OUT = Path(__file__).parent / "data" / "transcripts.jsonl.gz"
BEFORE = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
AFTER = np.array([0.6, 0.12, 0.12, 0.1, 0.06])
N_ANSWERS, CHANGE = 1600, 1000
START = 1_767_225_600  # 2026-01-01T00:00:00Z


def main() -> None:
    """Write the file; the same bytes each time."""
    rng = np.random.default_rng(7)
    lines = []
    for model in ("steady", "drifting"):
        for i in range(N_ANSWERS):
            law = AFTER if model == "drifting" and i >= CHANGE else BEFORE
            row = {
                "id": f"{model}-{i}",
                "model": model,
                "t": START + 60 * i,
                "label": DEFAULT_TAXONOMY.classes[rng.choice(5, p=law)],
                "text": f"simulated answer {i}",
            }
            lines.append(json.dumps(row))
    raw = gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)
    OUT.write_bytes(raw)
    print(f"{OUT.name}: {len(lines)} answers, S {entropy(BEFORE):.3f} -> {entropy(AFTER):.3f} nat")


if __name__ == "__main__":
    main()
