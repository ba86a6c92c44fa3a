"""Multi-electrode HDF5 files."""

import h5py
import numpy as np
import pytest

from irrev.errors import FormatError
from irrev.readers import open_source


def write(path, trains, *, shape=(1,), duration=None, **members):
    with h5py.File(path, "w") as file:
        file["spikes"] = np.concatenate([np.asarray(t, dtype=float) for t in trains])
        file["sCount"] = np.array([len(t) for t in trains], dtype=np.int32)
        file["epos"] = np.arange(2.0 * len(trains)).reshape(2, -1)
        if duration is not None:
            file["summary/duration"] = np.full(shape, float(duration))
        for name, values in members.items():
            if name in file:
                del file[name]
            file[name.replace("__", "/")] = values
    return path


TRAINS = [[0.5, 1.5], [2.0, 3.0, 7.25], [4.0]]


def test_read_mea__keeps_trains_names_places_and_region(tmp_path):
    names = np.array([b"ch_12A", b"ch_13B", b"ch_14"])
    region = np.array([b"hpc"])
    ds = open_source(write(tmp_path / "a.h5", TRAINS, names=names, meta__region=region))
    assert ds["unit"].values.tolist() == ["ch_12A", "ch_13B", "ch_14"]
    np.testing.assert_array_equal(ds["spike_times"], np.concatenate(TRAINS))
    assert ds["x_um"].values.tolist() == [0, 1, 2]
    assert ds["y_um"].values.tolist() == [3, 4, 5]
    assert ds["area"].values.tolist() == ["hpc"] * 3
    assert ds.attrs["reader"] == "mea"


@pytest.mark.parametrize("shape", [(), (1,)])
def test_read_mea__reads_scalars_of_both_shapes(tmp_path, shape):
    ds = open_source(write(tmp_path / "a.h5", TRAINS, duration=8, shape=shape))
    assert (ds["observed_start"].item(), ds["observed_stop"].item()) == (0, 8)


def test_read_mea__a_recording_that_does_not_start_at_zero_keeps_its_times(tmp_path):
    """Duration is counted from the first spike where the spikes leave [0, duration]."""
    late = [[3600.5, 3603.0], [3604.25]]
    ds = open_source(write(tmp_path / "a.h5", late, duration=4), on_error="stop")
    assert ds["spike_times"].values.tolist() == [3600.5, 3603.0, 3604.25]
    assert (ds["observed_start"].item(), ds["observed_stop"].item()) == (3600.5, 3604.5)


def test_read_mea__a_stated_recording_time_wins_over_the_duration(tmp_path):
    ds = open_source(write(tmp_path / "a.h5", TRAINS, duration=8, recordingtime=[0.0, 7.5]))
    assert ds["observed_stop"].item() == 7.5


def wrong_counts(path):
    write(path, TRAINS, sCount=np.array([2, 3, 2]))


def negative_counts(path):
    write(path, TRAINS, sCount=np.array([4, 3, -1]))


def text_spikes(path):
    write(path, TRAINS, spikes=np.array([b"a"]))


def float_counts(path):
    write(path, TRAINS, sCount=np.array([2.0, 3.0, 1.0]))


def no_spikes(path):
    write(path, [[], []])


def truncated(path):
    write(path, [np.linspace(0, 9, 5000)] * 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_counts, r"a.h5: sCount adds up to 7 but 6 spikes are there; the file is truncated"),
        (negative_counts, r"a.h5: sCount adds up to 6 but 6 spikes"),
        (text_spikes, r"a.h5: `spikes` or `sCount` hold no numbers"),
        (float_counts, r"a.h5: `spikes` or `sCount` hold no numbers"),
        (no_spikes, r"a.h5: there are 2 units with 0 spikes; choose"),
        (truncated, r"a.h5: not a readable HDF5 file"),
    ],
)
def test_read_mea__refuses_with_a_line_that_helps(tmp_path, spoil, message):
    spoil(tmp_path / "a.h5")
    with pytest.raises(FormatError, match=message):
        open_source(tmp_path / "a.h5")


EXPECTED = {  # units, spikes, first and last second as the data's own notes give them
    "retina_mea_hdf5/Stafford2009_WT_37C_Dorsal_2008-10-11-0.h5": (477, 864_412, 0.5, 7197.3),
    "retina_mea_hdf5/Stafford2009_Beta2KO_37C_Temporal_2008-01-29-4.h5": (
        490,
        781_600,
        3600.0,
        7199.0,
    ),
    "culture_mea_hdf5/TC147-C57-DIV07_B.h5": (45, 40_095, 0.0, 911.3),
    "culture_mea_hdf5/TC147-C57-DIV24_B.h5": (56, 300_726, 0.0, 905.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_read_mea__keeps_every_spike_of_the_real_recordings(data_dir, name):
    ds = open_source(data_dir / "neuro" / name, on_error="stop")
    units, spikes, first, last = EXPECTED[name]
    assert (ds.sizes["unit"], ds.sizes["spike"]) == (units, spikes)
    assert ds["spike_times"].values.min() == pytest.approx(first, abs=0.05)
    assert ds["spike_times"].values.max() == pytest.approx(last, abs=0.05)
