import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Released:
    """The ten triplets whose topic counts the paper's author released."""

    question: NDArray[np.int64]  # (triplet, topic)
    context: NDArray[np.int64]
    answer: NDArray[np.int64]
    group: NDArray[np.str_]  # A: comprehensive questions, B: focused ones


@pytest.fixture(scope="session")
def released() -> Released:
    path = Path(__file__).parents[2] / "data" / "sf_10k_topic_counts.json"
    rows = json.loads(path.read_text())["triplets"]
    columns = {k: np.array([r[k] for r in rows]) for k in ("question", "context", "answer")}
    return Released(**columns, group=np.array([r["group"] for r in rows]))
