"""Plain tables of spikes: NPZ, MAT, CSV, and the choice of format."""

import struct
import sys
import zipfile

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import irrev.readers
from irrev.errors import FormatError, InputError, MissingExtraError
from irrev.readers import open_source

TIMES = np.array([0.1, 0.2, 0.3, 0.4, 0.55])
UNITS = np.array([2, 1, 2, 2, 1])
EXPECTED = [0.2, 0.55, 0.1, 0.3, 0.4]


def npz(path):
    np.savez(path, spike_times=TIMES, unit_ids=UNITS)


def npz_short_names(path):
    np.savez_compressed(path, t=TIMES[:, None], unit=UNITS.astype("U3"))


def npz_ragged(path):
    np.savez(path, spike_times=EXPECTED, spike_times_index=[2, 5], unit_ids=[1, 2])


def mat(path):
    savemat(path, {"spike_times": TIMES, "unit_ids": UNITS.astype(float)})


def csv_header(path):
    rows = [f"{u},x,{t}" for t, u in zip(TIMES, UNITS, strict=True)]
    path.write_text("\n".join(["Unit,depth,Time", *rows]))


def csv_bare(path):
    path.write_text("\n".join(f"{t}\t{u}" for t, u in zip(TIMES, UNITS, strict=True)))


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (npz, "a.npz"),
        (npz_short_names, "a.npz"),
        (npz_ragged, "a.npz"),
        (mat, "a.mat"),
        (csv_header, "a.csv"),
        (csv_bare, "a.txt"),
    ],
)
def test_open_spikes__reads_pairs_of_times_and_units(tmp_path, write, name):
    write(tmp_path / name)
    ds = open_source(tmp_path / name, on_error="stop")
    assert ds["unit"].values.tolist() == ["1", "2"]
    assert ds["spike_times"].values.tolist() == EXPECTED
    assert ds["spike_times_index"].values.tolist() == [2, 5]
    assert ds["observed_start"].item() == 0.1
    assert ds["observed_stop"].item() == 0.55


def test_open_spikes__takes_the_range_from_the_file_or_the_caller(tmp_path):
    np.savez(tmp_path / "a.npz", times=TIMES, units=UNITS, recording=[0.0, 2.0])
    ds = open_source(tmp_path / "a.npz")
    assert (ds["observed_start"].item(), ds["observed_stop"].item()) == (0, 2)
    ds = open_source(tmp_path / "a.npz", recording=(0.0, 1.0))
    assert ds["observed_stop"].item() == 1
    with pytest.raises(InputError, match=r"recording runs from 2.0 to 1.0 s; give start < stop"):
        open_source(tmp_path / "a.npz", recording=(2.0, 1.0))


def test_open_spikes__converts_milliseconds_and_samples(tmp_path):
    np.savez(tmp_path / "a.npz", times=[10, 20, 30], units=[0, 1, 0])
    ms = open_source(tmp_path / "a.npz", time_unit="ms")
    np.testing.assert_allclose(ms["spike_times"], [0.01, 0.03, 0.02])
    samples = open_source(tmp_path / "a.npz", time_unit="samples", sample_rate=100.0)
    np.testing.assert_allclose(samples["spike_times"], [0.1, 0.3, 0.2])
    with pytest.raises(InputError, match=r"a.npz: .*no sampling rate is known; set sample_rate"):
        open_source(tmp_path / "a.npz", time_unit="samples")
    with pytest.raises(InputError, match=r"time_unit is 'us'; choose s, ms or samples"):
        open_source(tmp_path / "a.npz", time_unit="us")


@pytest.mark.parametrize("version", [5, 7.3])
def test_open_spikes__reads_matlab_cells_as_one_unit_each(tmp_path, version):
    path, trains = tmp_path / "a.mat", [np.array([0.1, 0.2]), np.empty(0), np.array([0.3])]
    if version == 5:
        cells = np.empty(3, dtype=object)
        cells[:] = trains
        savemat(path, {"spikes": cells})
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            for i, train in enumerate(trains):
                file[f"#refs#/{i}"] = train.reshape(1, -1) if train.size else np.array([0, 0])
                if not train.size:
                    file[f"#refs#/{i}"].attrs["MATLAB_empty"] = 1
            cells = [file[f"#refs#/{i}"].ref for i in range(3)]
            file["spikes"] = np.array([cells], dtype=h5py.ref_dtype)
            file["spikes"].attrs["MATLAB_class"] = b"cell"
    ds = open_source(path)
    assert ds["spike_times"].values.tolist() == [0.1, 0.2, 0.3]
    assert ds["spike_times_index"].values.tolist() == [2, 2, 3]


def test_open_spikes__lists_unreadable_rows(tmp_path):
    (tmp_path / "a.csv").write_text("time,unit\n0.1,a\nx,b\n0.2\n0.3,b\n\n")
    ds = open_source(tmp_path / "a.csv")
    assert ds["spike_times"].values.tolist() == [0.1, 0.3]
    assert ds["check"].values.tolist() == ["unreadable_rows"]
    assert ds["check_count"].values.tolist() == [2]
    with pytest.raises(FormatError, match=r"2 rows have no time or no unit \(line 3\); correct"):
        open_source(tmp_path / "a.csv", on_error="stop")


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\n\n"])
def test_open_spikes__a_table_without_a_line_says_so(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FormatError, match="the columns are none; name one of them time"):
        open_source(tmp_path / "a.csv")


def test_open_spikes__a_table_with_decimal_commas_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("time;unit\n0,1;a\n0,2;b\n")
    with pytest.raises(FormatError, match=r"none of 2 rows .*line 2.*with a decimal point"):
        open_source(tmp_path / "a.csv")


def pickled(path):
    np.savez(path, times=np.array([{}], dtype=object), units=UNITS)


def bomb(path):
    """An archive member whose header claims more than its bytes."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }"
    header += b" " * (118 - 1 - len(header)) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("times.npy", npy)


def cut_zip(path):
    npz(path)
    path.write_bytes(path.read_bytes()[:-30])


def unequal(path):
    np.savez(path, times=TIMES, units=UNITS[:-1])


def no_units(path):
    np.savez(path, times=TIMES)


def other_names(path):
    np.savez(path, foo=TIMES, bar=UNITS)


def float_ids(path):
    np.savez(path, times=TIMES, units=UNITS + 0.5)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)


def damaged_mat(path):
    mat(path)
    path.write_bytes(path.read_bytes()[:150])


def csv_columns(path):
    path.write_text("a,b,c\n1,2,3\n")


def binary_csv(path):
    path.write_bytes(b"time,unit\n\xff\xfe\n")


def csv_only_header(path):
    path.write_text("time,unit\n")


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (pickled, "a.npz", r"a.npz: not a readable NPZ file \(it holds Python objects"),
        (bomb, "a.npz", r"an array of 80,000,000,000 bytes in 128 bytes"),
        (cut_zip, "a.npz", r"a.npz: not a readable NPZ file"),
        (unequal, "a.npz", r"there are 5 spike times but 4 unit ids; store one id per spike"),
        (no_units, "a.npz", r"there are 5 spike times but no unit ids; store"),
        (other_names, "a.npz", r"the arrays are foo, bar; name the spike times spike_times"),
        (float_ids, "a.npz", r"unit ids have type float64; store whole numbers or texts"),
        (empty, "a.npz", r"a.npz: the file is empty; copy"),
        (foreign, "a.png", r"a.png: the format is not known \(it begins with b'.*PNG.*choose NWB"),
        (damaged_mat, "a.mat", r"a.mat: not a readable MAT file"),
        (csv_columns, "a.csv", r"a.csv: the columns are a, b, c; name one of them time and one"),
        (binary_csv, "a.csv", r"a.csv: not a table of text"),
        (csv_only_header, "a.csv", r"a.csv: there are 0 units with 0 spikes"),
    ],
)
def test_open_spikes__refuses_with_a_line_that_helps(tmp_path, spoil, name, message):
    spoil(tmp_path / name)
    with pytest.raises(FormatError, match=message):
        open_source(tmp_path / name)


def test_open_source__says_what_is_wrong_with_its_arguments(tmp_path):
    npz(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"spike is not a kind of source; did you mean `spikes`"):
        open_source(tmp_path / "a.npz", kind="spike")
    with pytest.raises(InputError, match=r"b.npz: no such file or folder"):
        open_source(tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"on_error is 'ignore'; choose quarantine or stop"):
        open_source(tmp_path / "a.npz", on_error="ignore")
    with pytest.raises(InputError, match=r"time_units is not an option.*did you mean `time_unit`"):
        open_source(tmp_path / "a.npz", time_units="ms")


def test_open_source__states_where_the_data_come_from(tmp_path):
    npz(tmp_path / "a.npz")
    attrs = open_source(tmp_path / "a.npz").attrs
    assert attrs["uri"] == str(tmp_path / "a.npz")
    assert len(attrs["sha256"]) == 64
    assert (attrs["reader"], attrs["reader_version"]) == ("npz", 1)


def test_open_spikes__names_the_extra_that_hdf5_needs(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.create_group("units")
    for name in ("hdf5", "mea", "nwb"):
        monkeypatch.delitem(sys.modules, f"irrev.readers.{name}", raising=False)
        monkeypatch.delattr(irrev.readers, name, raising=False)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"a.nwb: HDF5 files need h5py.*irrev\[spikes\]"):
        open_source(tmp_path / "a.nwb")
    npz(tmp_path / "a.npz")
    assert open_source(tmp_path / "a.npz").sizes["unit"] == 2
