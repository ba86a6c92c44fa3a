"""Reading batches of items: a file spoils nothing but itself."""

import numpy as np
import pytest

from irrev import readers
from storage.repository import Repository, StoreRef
from tasks.ingest import read_items


def test_read_items__an_unforeseen_error_of_one_file_leaves_its_neighbours_alone(
    tmp_path, monkeypatch
):
    """All files of the batch were set aside with the reason of one."""
    names = ("first", "odd", "last")
    for name in names:
        np.savetxt(tmp_path / f"{name}.csv", [[0, 1.0], [0.5, 0]], delimiter=",")
    plain = readers.open_source

    def open_source(path, **options):
        if "odd" in str(path):
            raise TypeError("not\n foreseen")
        return plain(path, **options)

    monkeypatch.setattr(readers, "open_source", open_source)
    items = [(name, str(tmp_path / f"{name}.csv")) for name in names]
    config = {"kind": "spins", "options": {}, "split": {}}
    ref = StoreRef(str(tmp_path / "store"), "main")
    Repository.open(ref, create=True, project="test")
    found = read_items(ref, items, config, "quarantine")
    assert [(r.item, r.error, r.failed, bool(r.key)) for r in found] == [
        ("first", "", False, True),
        ("odd", "TypeError: not foreseen", True, False),
        ("last", "", False, True),
    ]
    with pytest.raises(TypeError, match="foreseen"):
        read_items(ref, items, config, "stop")
