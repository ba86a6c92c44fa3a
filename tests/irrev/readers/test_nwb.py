"""NWB files: units, places, intervals, and files that must be refused."""

from datetime import UTC, datetime

import h5py
import numpy as np
import pytest

from irrev.errors import FormatError, InputError
from irrev.readers import open_source

TRAINS = [[0.1, 0.25, 3.0], [0.2, 1.5], [2.0, 2.5, 4.0, 9.0]]


def write(path, trains=TRAINS, **units):
    """Write the bare layout by h5py, for files that no NWB library would write."""
    with h5py.File(path, "w") as file:
        group = file.create_group("units")
        group["spike_times"] = np.concatenate([np.asarray(t, float) for t in trains])
        group["spike_times_index"] = np.cumsum([len(t) for t in trains])
        group["id"] = np.arange(len(trains))
        for name, values in units.items():
            if name in group:
                del group[name]
            group[name] = values
    return path


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Write units with electrodes, quality, observation; epochs, trials, stimuli; by pynwb."""
    import pynwb
    import pynwb.epoch

    path = tmp_path_factory.mktemp("nwb") / "rich.nwb"
    nwb = pynwb.NWBFile("test", "rich", datetime(2026, 1, 1, tzinfo=UTC))
    device = nwb.create_device("probe")
    shank = nwb.create_electrode_group("shank", "d", "nowhere", device)
    for x, area in ((0.0, "ca1"), (20.0, "adn"), (40.0, "ca3")):
        nwb.add_electrode(x=x, y=2 * x, z=0.0, location=area, group=shank)
    for column in ("snr", "quality"):
        nwb.add_unit_column(column, "quality of the unit")
    for unit, train in enumerate(TRAINS):
        nwb.add_unit(
            id=10 + unit,
            spike_times=np.array(train),
            electrodes=[2 - unit, 0],
            obs_intervals=np.array([[0.0, 5.0], [6.0, 10.0 - unit / 4]]),
            snr=[2.5, np.nan, 0.5][unit],
            quality=["good", "mua", "good"][unit],
        )
    nwb.add_epoch(0.0, 5.0, ["sleep", "dark"])
    nwb.add_epoch(6.0, 9.0, ["wake"])
    nwb.add_trial_column("side", "side of the reward")
    for start, side in ((0.0, "left"), (1.0, "right"), (2.0, "left")):
        nwb.add_trial(start_time=start, stop_time=start + 0.5, side=side)
    gabors = pynwb.epoch.TimeIntervals(name="gabor_presentations", description="stimuli")
    gabors.add_column(name="orientation", description="degrees")
    gabors.add_interval(start_time=7.0, stop_time=7.5, orientation=45.0)
    nwb.add_time_intervals(gabors)
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def test_read_nwb__keeps_trains_ids_and_columns(rich):
    ds = open_source(rich)
    assert ds["unit"].values.tolist() == ["10", "11", "12"]
    assert ds["spike_times_index"].values.tolist() == [3, 5, 9]
    np.testing.assert_array_equal(ds["spike_times"], np.concatenate(TRAINS))
    np.testing.assert_array_equal(ds["snr"], [2.5, np.nan, 0.5])
    assert ds["quality"].values.tolist() == ["good", "mua", "good"]
    assert ds.attrs["reader"] == "nwb"


def test_read_nwb__takes_the_place_of_the_first_electrode(rich):
    ds = open_source(rich)
    assert ds["area"].values.tolist() == ["ca3", "adn", "ca1"]
    assert ds["x_um"].values.tolist() == [40, 20, 0]
    assert ds["y_um"].values.tolist() == [80, 40, 0]


def test_read_nwb__counts_as_recorded_what_all_units_observed(rich):
    ds = open_source(rich)
    assert ds["observed_start"].values.tolist() == [0, 6]
    assert ds["observed_stop"].values.tolist() == [5, 9.5]
    assert {"gaps", "uneven_observation"} == set(ds["check"].values.tolist())


def test_read_nwb__gives_one_row_per_tag_and_labels_by_the_text_column(rich):
    ds = open_source(rich)
    rows = {
        (t, label, a, b)
        for t, label, a, b in zip(
            *(ds[f"interval_{n}"].values.tolist() for n in ("table", "label", "start", "stop")),
            strict=True,
        )
    }
    assert rows == {
        ("epochs", "sleep", 0.0, 5.0),
        ("epochs", "dark", 0.0, 5.0),
        ("epochs", "wake", 6.0, 9.0),
        ("trials", "left", 0.0, 0.5),
        ("trials", "right", 1.0, 1.5),
        ("trials", "left", 2.0, 2.5),
        ("gabor_presentations", "gabor_presentations", 7.0, 7.5),
    }
    gabor = ds["interval_table"].values == "gabor_presentations"
    assert ds["interval_orientation"].values[gabor].tolist() == [45.0]
    assert np.isnan(ds["interval_orientation"].values[~gabor]).all()


def test_read_nwb__agrees_with_pynwb_on_the_shipped_recording(example_nwb):
    import pynwb

    ds = open_source(example_nwb, on_error="stop")
    ends = ds["spike_times_index"].values
    with pynwb.NWBHDF5IO(example_nwb, "r") as io:
        units = io.read().units
        for unit, start, stop in zip(range(15), [0, *ends[:-1]], ends, strict=True):
            np.testing.assert_array_equal(
                ds["spike_times"][start:stop], units["spike_times"][unit]
            )
    assert ds["area"].values.tolist() == ["adn"] * 7 + ["ca1"] * 8
    assert ds["interval_label"].values.tolist() == ["sleep", "wake"]
    assert ds.sizes["check"] == 0


def test_read_nwb__finds_areas_by_peak_channel(tmp_path):
    path = write(tmp_path / "a.nwb", peak_channel_id=np.array([7, 99, 3]))
    with h5py.File(path, "a") as file:
        table = file.create_group("general/extracellular_ephys/electrodes")
        table["id"] = [3, 7]
        table["location"] = np.array(["VISp", "LP"], dtype=object)
    assert open_source(path)["area"].values.tolist() == ["LP", "", "VISp"]


def test_read_nwb__finds_areas_by_electrode_group(tmp_path):
    path = write(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        group = file.create_group("general/extracellular_ephys/shank")
        group.attrs["location"] = "mPFC"
        file["units/electrode_group"] = np.array([group.ref] * 3, dtype=h5py.ref_dtype)
    assert open_source(path)["area"].values.tolist() == ["mPFC"] * 3


def test_read_nwb__takes_the_sampling_step_from_the_resolution(tmp_path):
    path = write(tmp_path / "a.nwb", [[10_000, 20_000], [15_000]])
    with pytest.raises(InputError, match=r"a.nwb: .*no sampling rate is known; set sample_rate"):
        open_source(path, time_unit="samples")
    with h5py.File(path, "a") as file:
        file["units/spike_times"].attrs["resolution"] = 1 / 20_000
    ds = open_source(path, time_unit="samples")
    np.testing.assert_allclose(ds["spike_times"], [0.5, 1.0, 0.75])
    ds = open_source(path, time_unit="samples", sample_rate=10_000)
    np.testing.assert_allclose(ds["spike_times"], [1.0, 2.0, 1.5])


def test_read_nwb__follows_soft_links_inside_the_file(tmp_path):
    path = write(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        file.move("units", "kept/units")
        file["units"] = h5py.SoftLink("/kept/units")
    assert open_source(path).sizes["unit"] == 3


def external_link(path):
    write(path.with_name("other.nwb"))
    with h5py.File(path, "w") as file:
        file["units"] = h5py.ExternalLink("other.nwb", "/units")


def soft_link_through_external(path):
    write(path.with_name("other.nwb"))
    with h5py.File(path, "w") as file:
        file["door"] = h5py.ExternalLink("other.nwb", "/")
        file["units"] = h5py.SoftLink("/door/units")


def link_circle(path):
    with h5py.File(path, "w") as file:
        file["units"] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink("/units")


def external_storage(path):
    write(path)
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file["units"].create_dataset(
            "spike_times", (9,), "f8", external=[(str(path.with_name("raw")), 0, 72)]
        )


def virtual_data(path):
    write(path.with_name("other.nwb"))
    write(path)
    layout = h5py.VirtualLayout((9,), "f8")
    layout[:] = h5py.VirtualSource(str(path.with_name("other.nwb")), "units/spike_times", (9,))
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file["units"].create_virtual_dataset("spike_times", layout)


def huge_claim(path):
    write(path)
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", (10**12,), "f8", chunks=(1000,))


def truncated(path):
    write(path, [np.linspace(0, 9, 5000)] * 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def zeros_in_the_heap(path):
    """On such a file the HDF5 library itself never returns."""
    write(path, quality=np.array(["good", "mua", "good"], dtype=object))
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 32 : heap + 48] = bytes(16)
    path.write_bytes(content)


def long_text(path):
    """The library would allocate the stated 4 GB before it looks."""
    write(path, quality=np.array(["good", "mua", "good"], dtype=object))
    with h5py.File(path) as file:
        at = file["units/quality"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[at : at + 4] = b"\xff\xff\xff\xf0"
    path.write_bytes(content)


def no_units(path):
    with h5py.File(path, "w") as file:
        file.create_group("acquisition")


def wrong_index(path):
    write(path, spike_times_index=np.array([3, 5, 12]))


def foreign(path):
    path.write_bytes(b"\x00" * 4096)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (external_link, r"a.nwb: units is a link to another file \(other.nwb\); copy the data"),
        (soft_link_through_external, r"link to another file \(other.nwb\)"),
        (link_circle, r"a.nwb: .* is a circle of links; repair"),
        (external_storage, r"a.nwb: spike_times keeps its bytes in another file; copy"),
        (virtual_data, r"a.nwb: spike_times is a virtual data set; write its values"),
        (huge_claim, r"spike_times claims 8,000,000,000,000 bytes but holds 0"),
        (truncated, r"a.nwb: not a readable HDF5 file \(.*truncated.*\); copy or export"),
        (zeros_in_the_heap, r"a.nwb: .*heap of texts at byte [\d,]+ is damaged.*; copy or"),
        (
            long_text,
            r"a.nwb: /units/quality has a text of 4,043,309,055 bytes; the file is damaged",
        ),
        (no_units, r"a.nwb: this HDF5 file has neither `units`.*choose a file with spike times"),
        (wrong_index, r"3 units end at spike 12 but 3 units and 9 spikes are there; the file is"),
        (foreign, r"a.nwb: not a readable HDF5 file"),
    ],
)
def test_read_nwb__refuses_with_a_line_that_helps(tmp_path, spoil, message):
    path = tmp_path / "a.nwb"
    spoil(path)
    with pytest.raises(FormatError, match=message):
        open_source(path)
