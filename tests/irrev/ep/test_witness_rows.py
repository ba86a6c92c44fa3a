import numpy as np
import pytest

from irrev import schema
from irrev.ep.witness import witness
from irrev.ep.witness_rows import witness_row


def test_witness_row__rates_are_per_second(rng):
    ds = witness(rng.standard_normal((4096, 3)), fs=100.0)
    row = witness_row(ds)
    assert float(row["sigma_rate"][0]) == pytest.approx(100 * float(ds["sigma_N"]))
    assert (int(row["n_pairs"][0]), int(row["n_dependent"][0])) == (3, 0)
    known = {v.name: v for v in schema.KINDS["timeseries/witness"].variables}
    assert set(map(str, row.data_vars)) <= set(known)


def test_witness_row__a_rank_deficient_set_is_tested_by_its_pairs(rng):
    x = rng.standard_normal((4096, 4))
    row = witness_row(witness(x - x.mean(axis=1, keepdims=True), fs=1.0))
    assert np.isnan(float(row["sigma_rate"][0]))
    assert 0.001 < float(row["p"][0]) <= 1.0
    assert str(row["notes"].item()).startswith("rank")


def test_witness_row__one_channel_has_no_test(rng):
    row = witness_row(witness(rng.standard_normal((500, 1)), fs=1.0))
    assert int(row["n_pairs"][0]) == 0
    assert np.isnan(float(row["sigma_rate"][0]))
