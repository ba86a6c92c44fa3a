"""Kilosort and Phy folders."""

from pathlib import Path

import numpy as np
import pytest

from irrev.errors import FormatError, InputError
from irrev.readers import content_hash, open_source

PARAMS = "dat_path = 'raw.dat'\nn_channels_dat = 4\ndtype = 'int16'\nsample_rate = 30000.\n"


@pytest.fixture
def folder(tmp_path):
    """Three clusters out of order in time, one of them without a row in the label table."""
    out = tmp_path / "sorted"
    out.mkdir()
    samples = np.array([[30], [15_000], [30_000], [45_000], [60_000]], dtype=np.uint64)
    np.save(out / "spike_times.npy", samples)
    np.save(out / "spike_clusters.npy", np.array([7, 2, 7, 11, 2], dtype=np.int32))
    np.save(out / "spike_templates.npy", np.zeros(5, dtype=np.uint32))
    (out / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tgood\n7\tmua\n")
    (out / "cluster_Amplitude.tsv").write_text("cluster_id\tAmplitude\n2\t10.5\n7\t\n")
    (out / "params.py").write_text(PARAMS)
    return out


def test_read_kilosort__groups_samples_by_cluster_in_seconds(folder):
    ds = open_source(folder)
    assert ds["unit"].values.tolist() == ["2", "7", "11"]
    np.testing.assert_allclose(ds["spike_times"], [0.5, 2.0, 0.001, 1.0, 1.5])
    assert ds["spike_times_index"].values.tolist() == [2, 4, 5]
    assert ds["observed_start"].item() == 0
    assert ds["observed_stop"].item() == pytest.approx(60_001 / 30_000)


def test_read_kilosort__keeps_every_column_of_the_cluster_tables(folder):
    ds = open_source(folder)
    assert ds["group"].values.tolist() == ["good", "mua", ""]
    np.testing.assert_array_equal(ds["Amplitude"], [10.5, np.nan, np.nan])


def test_read_kilosort__falls_back_to_templates(folder):
    (folder / "spike_clusters.npy").unlink()
    assert open_source(folder)["unit"].values.tolist() == ["0"]


def test_read_kilosort__never_executes_params(folder, tmp_path):
    trap = tmp_path / "trap"
    (folder / "params.py").write_text(f"{PARAMS}open({str(trap)!r}, 'w').write('x')\n")
    assert open_source(folder).sizes["unit"] == 3
    (folder / "params.py").write_text(f"sample_rate = float(open({str(trap)!r}, 'w').write('x'))")
    with pytest.raises(FormatError, match=r"no number sample_rate; set sample_rate"):
        open_source(folder)
    assert not trap.exists()
    assert open_source(folder, sample_rate=15_000)["spike_times"][1] == 4.0


def test_content_hash__says_that_a_file_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")

    def locked(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(InputError, match="a: this user may not read it; change its permissions"):
        content_hash(tmp_path / "a")


def test_content_hash__of_a_folder_follows_names_and_contents(folder, tmp_path):
    first = content_hash(folder)
    assert first == content_hash(folder.rename(tmp_path / "renamed"))
    folder = tmp_path / "renamed"
    (folder / "params.py").rename(folder / "Params.py")
    second = content_hash(folder)
    (folder / "Params.py").write_text("x = 1")
    assert len({first, second, content_hash(folder)}) == 3


def pickled(folder):
    np.save(folder / "spike_times.npy", np.array([{}], dtype=object), allow_pickle=True)


def cut(folder):
    content = (folder / "spike_times.npy").read_bytes()
    (folder / "spike_times.npy").write_bytes(content[:-8])


def fewer(folder):
    np.save(folder / "spike_clusters.npy", np.zeros(4, dtype=np.int32))


def no_times(folder):
    (folder / "spike_times.npy").unlink()


def no_clusters(folder):
    (folder / "spike_clusters.npy").unlink()
    (folder / "spike_templates.npy").unlink()


def no_params(folder):
    (folder / "params.py").unlink()


def bad_params(folder):
    (folder / "params.py").write_text("sample_rate = = 3")


def zero_rate(folder):
    (folder / "params.py").write_text("sample_rate = 0")


def bad_table(folder):
    (folder / "cluster_group.tsv").write_text("a,b\n1,2\n")


def binary_table(folder):
    (folder / "cluster_group.tsv").write_bytes(b"\xff\xfe\x00")


def float_clusters(folder):
    np.save(folder / "spike_clusters.npy", np.zeros(5))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, r"spike_times.npy: not a readable NPY file \(it holds Python objects"),
        (cut, r"spike_times.npy: not a readable NPY file .*copy or export"),
        (fewer, r"sorted: there are 5 spike times but 4 cluster numbers; export"),
        (no_times, r"sorted: there is no spike_times.npy in this folder; choose"),
        (no_clusters, r"sorted: there is no spike_clusters.npy; export"),
        (no_params, r"sorted: there is no params.py; set sample_rate"),
        (bad_params, r"params.py is not readable \(.*\); set sample_rate"),
        (zero_rate, r"params.py has no number sample_rate"),
        (bad_table, r"cluster_group.tsv has no column cluster_id; export"),
        (binary_table, r"cluster_group.tsv is not a table"),
        (float_clusters, r"cluster numbers have type float64; export them as whole"),
    ],
)
def test_read_kilosort__refuses_with_a_line_that_helps(folder, spoil, message):
    spoil(folder)
    with pytest.raises(FormatError, match=message):
        open_source(folder)


@pytest.mark.slow
def test_read_kilosort__agrees_with_the_multi_electrode_original(data_dir):
    """The folder holds the first 1200 s of the recording at 20,000 samples per second."""
    neuro = data_dir / "neuro"
    folder = open_source(neuro / "kilosort_layout")
    path = next((neuro / "retina_mea_hdf5").glob("Stafford2009_Beta2KO*"))
    original = open_source(path)["spike_times"].values - 3600
    kept = np.sort(original[original < 1200])
    np.testing.assert_allclose(np.sort(folder["spike_times"].values), kept, atol=0.5 / 20_000)
