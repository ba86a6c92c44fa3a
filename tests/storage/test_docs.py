import re
from pathlib import Path

import numpy as np
import pytest

from irrev import schema
from storage import versions
from storage.layout import PARENTS
from storage.manifest import run_metadata
from storage.repository import Repository, StoreRef
from tests.storage.conftest import make_table
from tests.storage.test_manifest import RUN

PAGE = Path(__file__).parents[2] / "docs" / "store.md"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The folder `results` that the page reads."""
    monkeypatch.chdir(tmp_path)
    repo = Repository.open(StoreRef("results"), create=True)
    for i in range(2):
        table = make_table(value=float(i))
        for end in ("low", "high"):
            table[f"ep_rate_{end}"] = table["ep_rate"] + (1 if end == "high" else -1)
        metadata = run_metadata(**RUN | {"run_id": f"run-{i}"})
        repo.commit({"results/spikes/maxent": table}, message="m", metadata=metadata)
        repo.tags() or repo.tag("paper")
    return repo


def test_page__reads_results_without_our_code(results, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert not any(
        "irrev" in block or "storage." in block.replace("storage(", "") for block in blocks
    )
    names = {}
    for block in blocks:
        exec(block, names)  # the page's own text
    assert np.all(names["ds"]["ep_rate"].to_numpy() == 1.0)
    assert np.all(names["before"]["ep_rate"].to_numpy() == 0.0)
    printed = capsys.readouterr().out
    assert "ep_rate_low" in printed
    assert "run-1" in printed


def test_page__names_what_the_store_holds():
    text = PAGE.read_text()
    for parent in PARENTS:
        assert f"`/{parent}/" in text
    for variable in schema.SHARD:
        if variable.name != "shard":
            assert f"`{variable.name}`" in text
    for key in run_metadata(**RUN):
        assert f"`{key}`" in text
    for branch in versions.HIDDEN_BRANCHES:
        assert f"`{branch}" in text
