import contextlib

import numpy as np
import pytest
import scipy.io
import xarray as xr

from irrev.errors import FormatError, InputError, IrrevError
from irrev.readers import open_source

N, RATE = 600, 128.0


@pytest.fixture
def signal(rng):
    return np.round(rng.standard_normal((N, 3)) * 1000)


def edf_bytes(columns, *, kind=b"0       ", reserved="", per_record=100, onsets=None, width=2):
    """Write an EDF or BDF file; `onsets` adds an annotation channel with record times."""
    low, high = (-32768, 32767) if width == 2 else (-(1 << 23), (1 << 23) - 1)
    labels = [f"EEG {i}" for i in range(len(columns))]
    sizes = [per_record * len(c) // len(columns[0]) for c in columns]
    limits = [(low / 10, high / 10, low, high)] * len(columns)
    if onsets is not None:
        labels, sizes = [*labels, "EDF Annotations"], [*sizes, 20]
        limits = [*limits, (-1, 1, low, high)]
    n_records = len(columns[0]) // per_record

    def fields(values, size):
        return "".join(str(v)[:size].ljust(size) for v in values).encode()

    head = kind + b" " * 160 + b"01.01.2001.01.01"
    head += fields([256 * (len(labels) + 1)], 8) + fields([reserved], 44)
    head += fields([n_records, 1, len(labels)], 8)[:20].ljust(20)
    head = head[:252] + str(len(labels)).ljust(4).encode()
    head += fields(labels, 16) + fields([""] * len(labels), 80) + fields(["uV"] * len(labels), 8)
    for k in range(4):
        head += fields([round(limit[k]) for limit in limits], 8)
    head += fields([""] * len(labels), 80) + fields(sizes, 8) + fields([""] * len(labels), 32)
    body = b""
    for r in range(n_records):
        for c, size in zip(columns, sizes, strict=False):
            values = np.asarray(c[r * size : (r + 1) * size], dtype="<i4")
            raw = values.view(np.uint8).reshape(-1, 4)[:, :width]
            body += raw.tobytes()
        if onsets is not None:
            body += f"+{onsets[r]}\x14\x14\x00".encode().ljust(20 * width, b"\0")
    return head + body


def test_open_timeseries__npy_round_trip(tmp_path, signal):
    np.save(tmp_path / "x.npy", signal)
    ds = open_source(tmp_path / "x.npy", kind="timeseries", sampling_rate=RATE)
    np.testing.assert_array_equal(ds["signal"], signal)
    assert float(ds["sampling_rate"]) == RATE
    assert ds["segment_stop"].to_numpy().tolist() == [N]


def test_open_timeseries__npz_brings_names_and_rate(tmp_path, signal):
    np.savez(tmp_path / "x.npz", data=signal, fs=RATE, channels=np.array(["a", "b", "c"]))
    ds = open_source(tmp_path / "x.npz", kind="timeseries")
    assert ds["channel"].to_numpy().tolist() == ["a", "b", "c"]
    assert float(ds["sampling_rate"]) == RATE


def test_open_timeseries__zarr_round_trip(tmp_path, signal):
    data = xr.Dataset(
        {"lfp": (("time", "channel"), signal)},
        coords={"channel": np.array(["p", "q", "r"], dtype=object), "time": np.arange(N) / RATE},
    )
    data.to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    ds = open_source(tmp_path / "x.zarr", kind="timeseries")
    np.testing.assert_array_equal(ds["signal"], signal)
    assert float(ds["sampling_rate"]) == pytest.approx(RATE)
    assert ds["channel"].to_numpy().tolist() == ["p", "q", "r"]


def write_csv(path, times, signal, *, header="time,a,b,c"):
    rows = [",".join([f"{t!r}", *map(str, row)]) for t, row in zip(times, signal, strict=True)]
    path.write_text("\n".join([header, *rows]))


def test_open_timeseries__csv_takes_the_rate_from_its_times(tmp_path, signal):
    write_csv(tmp_path / "x.csv", (np.arange(N) / RATE).tolist(), signal.tolist())
    ds = open_source(tmp_path / "x.csv", kind="timeseries")
    assert float(ds["sampling_rate"]) == pytest.approx(RATE)
    np.testing.assert_array_equal(ds["signal"], signal)


def test_open_timeseries__csv_counts_days_across_leap_years(tmp_path):
    days = np.arange("1963-12-30", "1964-03-05", dtype="datetime64[D]")
    rows = [f"{str(d)[2:4]},{str(d)[5:7]},{str(d)[8:]},{i}" for i, d in enumerate(days)]
    (tmp_path / "wind.csv").write_text("\n".join(["year,month,day,RPT", *rows]))
    ds = open_source(tmp_path / "wind.csv", kind="timeseries")
    assert float(ds["sampling_rate"]) == pytest.approx(1 / 86_400)
    assert ds.sizes["segment"] == 1


def test_open_timeseries__csv_gap_becomes_a_border(tmp_path, signal):
    times = np.arange(N) / RATE
    times[400:] += 2.0
    write_csv(tmp_path / "x.csv", times.tolist(), signal.tolist())
    ds = open_source(tmp_path / "x.csv", kind="timeseries")
    assert ds["segment_stop"].to_numpy().tolist() == [400, N]
    assert ds["check"].to_numpy().tolist() == ["gaps"]
    with pytest.raises(FormatError, match="1 gaps in the times"):
        open_source(tmp_path / "x.csv", kind="timeseries", on_error="stop")


def test_open_timeseries__csv_irregular_is_refused_or_resampled(tmp_path, signal, rng):
    times = np.cumsum(rng.uniform(0.5, 1.5, N)) / RATE
    write_csv(tmp_path / "x.csv", times.tolist(), signal.tolist())
    with pytest.raises(FormatError, match=r"sampling is irregular.*resample: true"):
        open_source(tmp_path / "x.csv", kind="timeseries")
    ds = open_source(tmp_path / "x.csv", kind="timeseries", resample=True)
    assert ds["check"].to_numpy().tolist() == ["resampled"]


def test_open_timeseries__missing_values_are_kept_and_counted(tmp_path):
    rows = [f"{i / 10},{i % 7},{'NA' if i in (5, 6) else i}" for i in range(50)]
    (tmp_path / "x.csv").write_text("\n".join(["t,a,b", *rows]))
    ds = open_source(tmp_path / "x.csv", kind="timeseries")
    assert ds["check_count"].to_numpy().tolist() == [2]
    assert int(np.isnan(ds["signal"]).sum()) == 2


@pytest.mark.parametrize("inside", [False, True])
def test_open_timeseries__eeglab_with_boundaries(tmp_path, signal, inside):
    data = signal.astype("<f4")
    head = {
        "nbchan": 3, "pnts": N, "trials": 1, "srate": RATE,
        "data": data.T if inside else "x.fdt",
        "chanlocs": np.array([("Fz",), ("Cz",), ("Pz",)], dtype=[("labels", object)]),
        "event": np.array([("square", 10.0), ("boundary", 300.5)],
                          dtype=[("type", object), ("latency", object)]),
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "x.set", {"EEG": head}, do_compression=True)
    (tmp_path / "x.fdt").write_bytes(data.tobytes())
    ds = open_source(tmp_path / "x.set", kind="timeseries")
    np.testing.assert_array_equal(ds["signal"], data)
    assert ds["channel"].to_numpy().tolist() == ["Fz", "Cz", "Pz"]
    assert ds["segment_stop"].to_numpy().tolist() == [300, N]
    assert bool(ds["shared_reference"])


def test_open_timeseries__eeglab_epochs_are_segments(tmp_path, signal):
    head = {"nbchan": 3, "pnts": 200, "trials": 3, "srate": RATE, "data": "x.fdt"}
    scipy.io.savemat(tmp_path / "x.set", {"EEG": head})
    (tmp_path / "x.fdt").write_bytes(signal.astype("<f4").tobytes())
    ds = open_source(tmp_path / "x.set", kind="timeseries")
    assert ds["segment_start"].to_numpy().tolist() == [0, 200, 400]


@pytest.mark.parametrize(
    ("kind", "width", "suffix"), [(b"0       ", 2, "edf"), (b"\xffBIOSEMI", 3, "bdf")]
)
def test_open_timeseries__edf_and_bdf_are_scaled(tmp_path, signal, kind, width, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(edf_bytes(list(signal.T.astype(int)), kind=kind, width=width))
    ds = open_source(path, kind="timeseries")
    # The header holds the physical limits, digital ones / 10, as whole numbers.
    np.testing.assert_allclose(ds["signal"], signal / 10, atol=0.5, rtol=1e-3)
    assert float(ds["sampling_rate"]) == 100.0
    assert ds["channel_units"].to_numpy().tolist() == ["uV"] * 3


def test_open_timeseries__edf_agrees_with_mne(tmp_path, signal):
    mne = pytest.importorskip("mne", reason="the extra `eeg` is not installed")
    path = tmp_path / "x.edf"
    path.write_bytes(edf_bytes(list(signal.T.astype(int))))
    ours = open_source(path, kind="timeseries")["signal"].to_numpy()
    theirs = mne.io.read_raw_edf(path, preload=True, verbose="ERROR").get_data().T * 1e6
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_open_timeseries__discontinuous_edf_records_are_segments(tmp_path, signal):
    content = edf_bytes(list(signal.T.astype(int)), reserved="EDF+D", onsets=[0, 1, 2, 10, 11, 12])
    (tmp_path / "x.edf").write_bytes(content)
    ds = open_source(tmp_path / "x.edf", kind="timeseries")
    assert ds["segment_stop"].to_numpy().tolist() == [300, 600]
    assert ds.sizes["channel"] == 3


def test_open_timeseries__edf_channels_of_another_rate_are_listed(tmp_path, signal):
    columns = [*signal.T.astype(int), signal[::2, 0].astype(int)]
    (tmp_path / "x.edf").write_bytes(edf_bytes(columns))
    ds = open_source(tmp_path / "x.edf", kind="timeseries")
    assert ds.sizes["channel"] == 3
    assert ds["check"].to_numpy().tolist() == ["other_rates"]
    with pytest.raises(FormatError, match="not sampled at 100 Hz"):
        open_source(tmp_path / "x.edf", kind="timeseries", on_error="stop")


def test_open_timeseries__nwb_electrical_series(tmp_path, signal):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.nwb", "w") as file:
        group = file.create_group("processing/ecephys/LFP/lfp")
        group.attrs["neurodata_type"] = "ElectricalSeries"
        data = group.create_dataset("data", data=signal.astype("i2"))
        data.attrs["conversion"], data.attrs["unit"] = 1e-6, "volts"
        group.create_dataset("starting_time", data=0.0).attrs["rate"] = 1250.0
    ds = open_source(tmp_path / "x.nwb", kind="timeseries")
    np.testing.assert_allclose(ds["signal"], signal * 1e-6)
    assert float(ds["sampling_rate"]) == 1250.0


def test_open_timeseries__spike_trains_become_counts(example_nwb):
    ds = open_source(example_nwb, kind="timeseries", spike_bin=0.01)
    assert ds.sizes["channel"] == 15
    assert int(ds["signal"].sum()) == pytest.approx(98_794, abs=5)
    assert float(ds["sampling_rate"]) == 100.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "not a readable NPY"),
        ("b.npz", b"PK\x03\x04rubbish", "not a readable NPZ"),
        ("c.csv", b"t,a\n0,1", "there are 2 rows"),
        ("d.csv", b"t,a\n0,1\n1,x\n2,3", "column a has 'x' in row 3"),
        ("e.csv", b"t,a\n0,1\n1\n2,3", "row 3 has 1 fields"),
        ("f.csv", b"t,a\n0,1\n0,2\n1,3", "times do not ascend"),
        ("g.csv", b"a,b\n0,1\n0,2\n1,3", "no sampling rate is known"),
        ("h.set", b"nothing", "not a readable MAT"),
        ("i.edf", b"0       " + b" " * 300, "not a readable EDF"),
        ("j.edf", b"hello", "no EDF header"),
        ("k.nwb", b"hello", "not a readable HDF5"),
    ],
)
def test_open_timeseries__says_what_is_wrong_with_a_broken_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        open_source(tmp_path / name, kind="timeseries")


def test_open_timeseries__unknown_formats_go_to_mne_and_name_the_others(tmp_path):
    pytest.importorskip("mne", reason="the extra `eeg` is not installed")
    (tmp_path / "x.weird").write_bytes(b"hello")
    with pytest.raises(FormatError, match="choose NPY, NPZ, CSV"):
        open_source(tmp_path / "x.weird", kind="timeseries")


def test_open_timeseries__refuses_exchanged_axes_unless_told(tmp_path, signal):
    np.save(tmp_path / "x.npy", signal.T)
    with pytest.raises(FormatError, match=r"shape \(3, 600\), more channels than samples"):
        open_source(tmp_path / "x.npy", kind="timeseries", sampling_rate=RATE)
    ds = open_source(tmp_path / "x.npy", kind="timeseries", sampling_rate=RATE, transpose=True)
    assert ds.sizes["channel"] == 3


@pytest.mark.parametrize("options", [{"sampling_rate": 0.0}, {"epoch_length": 0}])
def test_open_timeseries__refuses_impossible_options(tmp_path, signal, options):
    np.save(tmp_path / "x.npy", signal)
    with pytest.raises(InputError, match="give samples"):
        open_source(tmp_path / "x.npy", kind="timeseries", **{"sampling_rate": RATE} | options)


def valid_files(folder, signal):
    """One small file of each format that is parsed here."""
    columns = list(signal[:200].T.astype(int))
    (folder / "a.edf").write_bytes(edf_bytes(columns, reserved="EDF+D", onsets=[0, 5]))
    (folder / "b.bdf").write_bytes(edf_bytes(columns, kind=b"\xffBIOSEMI", width=3))
    head = {"nbchan": 3, "pnts": 200, "trials": 1, "srate": RATE, "data": signal[:200].T}
    head["event"] = np.array([("boundary", 50.5)], dtype=[("type", object), ("latency", object)])
    scipy.io.savemat(folder / "c.set", {"EEG": head})
    write_csv(folder / "d.csv", (np.arange(200) / RATE).tolist(), signal[:200].tolist())
    np.save(folder / "e.npy", signal[:200])
    return sorted(folder.iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_open_timeseries__damaged_files_raise_nothing_unforeseen(tmp_path, signal, seed):
    rng = np.random.default_rng(seed)
    for path in valid_files(tmp_path, signal):
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            if rng.random() < 0.7:
                content = bytearray(whole)
            span = min(len(content), 1500)  # headers are where damage hurts
            for at in rng.integers(0, span, rng.integers(1, 8)):
                content[at] = int(rng.integers(0, 256))
            path.write_bytes(bytes(content))
            with contextlib.suppress(IrrevError):
                open_source(path, kind="timeseries", sampling_rate=RATE)
