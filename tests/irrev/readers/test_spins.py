"""Spin systems: own couplings, random models, broken files."""

import json

import numpy as np
import pytest

from irrev.errors import FormatError
from irrev.readers import open_source


def test_open_spins__reads_couplings_and_fields(tmp_path):
    coupling, field = np.array([[0.0, 1.5], [-0.5, 0.0]]), np.array([0.1, -0.2])
    np.savez(tmp_path / "two.npz", coupling=coupling, field=field)
    ds = open_source(tmp_path / "two.npz", kind="spins")
    np.testing.assert_array_equal(ds["coupling"], coupling)
    np.testing.assert_array_equal(ds["field"], field)
    (tmp_path / "two.csv").write_text("0,1.5\n-0.5,0\n")
    same = open_source(tmp_path / "two.csv", kind="spins")
    np.testing.assert_array_equal(same["coupling"], coupling)
    assert not same["field"].any()


def test_open_spins__draws_the_same_random_model_from_the_same_numbers(tmp_path):
    model = {"n_spins": 50, "degree": 6, "seed": 4}
    (tmp_path / "a.json").write_text(json.dumps(model))
    (tmp_path / "b.json").write_text(json.dumps(model | {"seed": 5}))
    first, again = (open_source(tmp_path / "a.json", kind="spins")["coupling"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.values != 0).sum(axis=1).mean() == pytest.approx(6, abs=1.5)
    assert not np.array_equal(first, open_source(tmp_path / "b.json", kind="spins")["coupling"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"n_spin": 5}', "give n_spins"),
        ("b.json", b'{"n_spins": 1}', "give 2 to"),
        ("b.json", b'{"n_spins": 5, "seed": null}', "seed is None; give a whole number"),
        ("b.json", b'{"n_spins": 5, "seed": -3}', "seed is -3; give a whole number"),
        ("c.csv", b"", "the file is empty"),
        ("c.csv", b"1,2\n3,4\n", "drives itself"),
        ("d.csv", b"0,1,2\n0,1,2\n", "square matrix"),
        ("e.npz", b"no archive", "no array `coupling`"),
    ],
)
def test_open_spins__says_what_is_wrong_with_a_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        open_source(tmp_path / name, kind="spins")
