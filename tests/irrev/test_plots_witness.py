import numpy as np
import pytest

from irrev import plots_witness as plots
from irrev.ep.witness import witness
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

DRIVE = SharedDrive(0.5, (0.3, 0.9, 0.6), (1.0,) * 3, (1.0,) * 3, 1.0, 0.8)


@pytest.fixture
def result(rng):
    x = simulate_shared_drive(DRIVE, 8192, rng=rng)
    return witness(np.column_stack([x, rng.standard_normal(8192)]), fs=10.0, keep_coherence=True)


def test_pair_matrix__is_symmetric_with_an_empty_diagonal(result):
    image = plots.pair_matrix(result).images[0].get_array()
    np.testing.assert_array_equal(image.filled(-1), image.filled(-1).T)
    assert image.mask.diagonal().all()


def test_drive_network__joins_driven_pairs_only(result):
    assert len(plots.drive_network(result).lines) == int(result["reject"].sum()) == 3


def test_coherence_spectra__draws_the_strongest_pairs_and_the_null_level(result):
    ax = plots.coherence_spectra(result, top=2)
    assert len(ax.lines) == 3
    assert ax.get_xlabel() == "frequency (Hz)"


def test_p_histogram__counts_every_pair(result):
    heights = plots.p_histogram(result).patches[0].get_data().values
    assert heights.sum() == 6


def test_pair_scatter__names_the_largest(result):
    assert len(plots.pair_scatter(result, names=2).texts) == 2
