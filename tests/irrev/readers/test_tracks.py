import gzip

import numpy as np
import pytest

from irrev.ep.learn import learn_ep
from irrev.errors import FormatError, InputError
from irrev.readers import open_source, split
from irrev.readers.tracks import from_pylake, from_trackpy, select_group

ROWS = """particle,frame,x_um,y_um,bead
0,0,1.0,2.0,a
0,1,1.5,2.5,a
0,3,2.0,3.0,a
7,2,5.0,5.0,b
7,0,4.0,4.0,b
7,1,4.5,,b
7,3,5.5,5.5,b
9,0,0.0,0.0,b
"""


def write(tmp_path, text, name="tracks.csv"):
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def read(path, **options):
    return open_source(path, kind="trajectories", **{"frame_rate": 10.0, **options})


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.csv.gz"])
def test_open_tracks__reads_a_table_and_lists_what_it_mends(tmp_path, name):
    ds = read(write(tmp_path, ROWS, name))
    assert ds["position"].to_numpy()[:, 0].tolist() == [1.0, 1.5, 2.0, 4.0, 5.0, 5.5]
    assert ds["frame"].to_numpy().tolist() == [0, 1, 3, 0, 2, 3]
    assert ds["trajectory_index"].to_numpy().tolist() == [3, 6]
    assert ds["trajectory"].to_numpy().tolist() == ["0", "7"]
    assert float(ds["dt"]) == pytest.approx(0.1)
    assert ds["position"].attrs["units"] == "um"
    assert ds.attrs["clock"] == "common"
    found = dict(zip(ds["check"].to_numpy(), ds["check_count"].to_numpy(), strict=True))
    assert found == {"missing_points": 1, "short_tracks": 1, "gaps": 2}


def test_open_tracks__groups_are_conditions(tmp_path):
    ds = read(write(tmp_path, ROWS), group="bead")
    assert split(ds, "trajectories") == {"a": ["a"], "b": ["b"]}
    assert select_group(ds, ["b"])["trajectory_index"].to_numpy().tolist() == [3]


def test_open_tracks__headerless_tables_take_names(tmp_path):
    text = "".join(f"{i} 1 {24 * i} {i}.5 2 3\n" for i in range(4))
    ds = read(write(tmp_path, text, "cells.txt"), columns="frame particle _ x y z")
    assert ds["component"].to_numpy().tolist() == ["x", "y", "z"]
    assert ds["position"].to_numpy()[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize("form", ["npy", "npz", "h5", "listed"])
def test_open_tracks__arrays_round_trip(tmp_path, rng, form):
    x = rng.normal(size=(4, 6, 2))
    if form == "npy":
        path = tmp_path / "x.npy"
        np.save(path, x)
    elif form == "npz":
        path = tmp_path / "x.npz"
        np.savez(path, position=x.reshape(-1, 2), trajectory_index=np.arange(6, 25, 6), dt=0.5)
    else:
        h5py = pytest.importorskip("h5py")
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            if form == "h5":
                file["x"] = x
            else:
                for i, one in enumerate(x):
                    file[f"run/{i}"] = one
    ds = read(path)
    assert ds["position"].to_numpy() == pytest.approx(x.reshape(-1, 2))
    assert ds["frame"].to_numpy().tolist() == list(range(6)) * 4
    assert ds.attrs["clock"] == "own"


def test_open_tracks__a_file_that_states_its_clock_needs_no_dt(tmp_path, rng):
    path = tmp_path / "x.npz"
    np.savez(path, x=rng.normal(size=(3, 5, 1)), dt=0.25)
    assert float(open_source(path, kind="trajectories")["dt"]) == 0.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there are no rows"),
        ("a,b\n1,2\n", "there is no column frame"),
        ("particle,frame,x\n1,0,one\n", "column x holds no number"),
        ("particle,frame,x\n1,0,0\n1,0.5,0\n1,1,1\n", "frames are no whole numbers"),
        ("particle,frame,x\n1,0,0\n", "no trajectory has three points"),
        ("particle,frame,x\n\x00\xff", "there are no whole rows|cannot be read"),
    ],
)
def test_open_tracks__broken_tables_say_what_is_wrong(tmp_path, text, words):
    with pytest.raises(FormatError, match=words):
        read(write(tmp_path, text))


def test_open_tracks__stops_at_the_first_fault_when_asked(tmp_path):
    with pytest.raises(FormatError, match="1 of 8 points have no coordinate"):
        read(write(tmp_path, ROWS), on_error="stop")


def test_open_tracks__repeated_frames_are_removed(tmp_path):
    text = "particle,frame,x\n" + "".join(f"1,{f},{f}\n" for f in (0, 1, 1, 2))
    ds = read(write(tmp_path, text))
    assert ds["frame"].to_numpy().tolist() == [0, 1, 2]
    assert "repeated_frames" in ds["check"].to_numpy()


def test_open_tracks__needs_a_clock(tmp_path):
    with pytest.raises(InputError, match="give dt in s"):
        open_source(write(tmp_path, ROWS), kind="trajectories")


def test_open_tracks__never_unpickles(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="holds Python objects, which are never loaded"):
        read(path)


def test_open_tracks__truncated_hdf5_is_named(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 20)
    with pytest.raises(FormatError, match=r"x\.h5: not a readable HDF5 file"):
        read(path)


def test_from_trackpy__takes_a_data_frame():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"particle": [1, 1, 1, 2, 2, 2], "frame": [0, 1, 2] * 2, "x": np.arange(6.0), "y": 0.0}
    )
    ds = from_trackpy(table, frame_rate=24.0)
    assert ds["position"].shape == (6, 2)
    assert float(ds["dt"]) == pytest.approx(1 / 24)


def test_from_pylake__takes_kymograph_tracks():
    class Track:
        time_idx = np.array([3, 4, 6])
        position = np.array([1.0, 1.1, 1.3])
        seconds = np.array([0.3, 0.4, 0.6])

    ds = from_pylake([Track(), Track()])
    assert float(ds["dt"]) == pytest.approx(0.1)
    assert ds["frame"].to_numpy().tolist() == [3, 4, 6] * 2


@pytest.fixture(scope="module")
def colloids(data_dir):
    path = data_dir / "trajectories" / "colloids_bulk_water_tracks.csv.gz"
    return open_source(path, kind="trajectories", frame_rate=24.0)


def test_learn_ep__colloids_in_water_drift_with_the_stage(colloids):
    """Raw tracks: 1.06 with the naive D; a moving stage, not entropy production."""
    est = learn_ep(colloids, remove_stage_drift=False, null_draws=100, diffusion=0.286)
    assert est.value == pytest.approx(1.06, abs=4 * est.sd)
    assert est.significant


@pytest.mark.parametrize("features", ["linear", "quadratic", "gaussian"])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_learn_ep__colloids_in_water_are_at_equilibrium(colloids, features, centre, seed):
    est = learn_ep(
        colloids, remove_stage_drift=True, centre=centre, features=features, seed=seed,
        null_draws=100, n_features=10,
    )  # fmt: skip
    assert not est.significant
    assert est.value < 0.03


def test_learn_ep__cargo_beads_show_no_current_and_say_that_memory_is_there(data_dir):
    path = data_dir / "trajectories" / "cell_cargo_beads_61um_100um.csv.gz"
    ds = open_source(path, kind="trajectories", dt=15 / 3600, group="bead_um")
    est = learn_ep(select_group(ds, ["61"]), null_draws=100)
    assert not est.significant
    assert any("memory" in note for note in est.notes)


def test_learn_ep__t_cells_are_read_and_claim_nothing(data_dir):
    path = data_dir / "trajectories" / "t_cells_lymph_node_raw.txt"
    ds = open_source(path, kind="trajectories", dt=24.0, columns="frame particle _ x y z")
    assert ds.sizes["trajectory"] == 258
    assert not learn_ep(ds, null_draws=100).significant


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_from_pylake__takes_tracks_that_the_library_found(rng):
    """A bright line on a dim kymograph, 80 lines of 0.1 s."""
    pylake = pytest.importorskip("lumicks.pylake", reason="needs the extra `tracking`")
    from lumicks.pylake.kymo import _kymo_from_array

    image = rng.poisson(1, (60, 80)).astype(float)
    line = 30 + np.cumsum(rng.normal(0, 0.3, 80))
    for t, y in enumerate(line.astype(int)):
        image[y - 1 : y + 2, t] += 30
    kymo = _kymo_from_array(image, "r", line_time_seconds=0.1, pixel_size_um=0.1)
    found = pylake.track_greedy(kymo, "red", track_width=0.5, pixel_threshold=10)
    ds = from_pylake(found)
    assert ds.sizes["trajectory"] == len(found) == 1
    assert float(ds["dt"]) == pytest.approx(0.1)
    pixel = 0.1 * line.astype(int)
    np.testing.assert_allclose(ds["position"][:, 0], pixel, atol=0.11)  # one pixel
