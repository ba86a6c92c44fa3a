"""Stored samples and paths: arrays, image folders, and what must be refused."""

import json

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from irrev.errors import FormatError, InputError
from irrev.readers import look_into, open_source, size, stream_source
from irrev.readers import samples as samples_module


@pytest.fixture
def images(rng):
    return rng.standard_normal((6, 1, 4, 4)).astype(np.float32)


def read(path, **options):
    return open_source(path, kind="samples", **options)


def test_open_samples__npy_round_trip(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    ds = read(tmp_path / "x.npy")
    np.testing.assert_array_equal(ds["x"], images.reshape(6, 16))
    assert json.loads(ds.attrs["shape"]) == [1, 4, 4]
    assert "label" not in ds
    assert len(ds.attrs["sha256"]) == 64


def test_open_samples__npz_brings_labels_and_paths(tmp_path, images):
    levels = np.stack([images + 9, images + 3, images])
    labels, sigmas = np.arange(6) % 2, np.array([9.0, 3.0, 0.1])
    np.savez(tmp_path / "x.npz", paths=levels, labels=labels, sigmas=sigmas)
    ds = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(ds["x"], images.reshape(6, 16))
    np.testing.assert_array_equal(ds["path"][0], (images + 9).reshape(6, 16))
    assert ds["label"].to_numpy().tolist() == labels.tolist()
    assert ds["sigma"].to_numpy().tolist() == [9.0, 3.0, 0.1]


def test_open_samples__zarr_round_trip(tmp_path, images):
    ds = xr.Dataset({"samples": (("n", "c", "h", "w"), images), "labels": ("n", np.arange(6))})
    ds.to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    got = read(tmp_path / "x.zarr")
    np.testing.assert_array_equal(got["x"], images.reshape(6, 16))
    assert got["label"].to_numpy().tolist() == list(range(6))


def test_open_samples__bytes_and_stated_ranges_become_minus_one_to_one(tmp_path):
    np.save(tmp_path / "b.npy", np.array([[0, 255], [51, 204]], dtype=np.uint8))
    np.testing.assert_allclose(read(tmp_path / "b.npy")["x"], [[-1, 1], [-0.6, 0.6]], atol=1e-7)
    np.save(tmp_path / "c.npy", np.array([[0.0, 16.0]]))
    np.testing.assert_allclose(read(tmp_path / "c.npy", value_range=(0, 16))["x"], [[-1, 1]])


def test_open_samples__image_folder_names_its_classes(tmp_path):
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((5, 5, 3), 100 * k + 10 * i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    ds = read(tmp_path / "set")
    assert ds["label"].to_numpy().tolist() == [0, 0, 1, 1]
    assert ds["class_name"].to_numpy().tolist() == ["cat", "dog"]
    assert json.loads(ds.attrs["shape"]) == [3, 5, 5]
    assert float(ds["x"][2, 0]) == pytest.approx(100 / 127.5 - 1)


def test_open_samples__sets_unusable_samples_aside(tmp_path, images):
    images[1, 0, 0, 0] = np.nan
    np.savez(tmp_path / "x.npz", samples=images, labels=np.array([0, 0, -1, 1, 1, 1]))
    ds = read(tmp_path / "x.npz")
    assert ds.sizes["sample"] == 4
    assert ds["check"].to_numpy().tolist() == ["not_finite", "no_class"]
    with pytest.raises(FormatError, match="1 of 6 samples hold NaN"):
        read(tmp_path / "x.npz", on_error="stop")


def test_open_samples__notes_repeated_samples(tmp_path, images):
    np.save(tmp_path / "x.npy", np.concatenate([images, images[:2]]))
    assert read(tmp_path / "x.npy")["check_count"].to_numpy().tolist() == [2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros((2, 3))}, r"holds the arrays other; name the one"),
        ({"samples": np.zeros(3)}, r"samples of type float64 and shape \(3,\)"),
        ({"samples": np.zeros((2, 3)), "labels": np.zeros(5, int)}, "2 samples but labels"),
        ({"paths": np.zeros((3, 2, 4))}, "noise levels of shape None"),
        (
            {"paths": np.zeros((2, 2, 4)), "sigmas": np.array([1.0, 2.0])},
            "not positive and falling",
        ),
        ({"samples": np.zeros((0, 3))}, "no samples"),
        ({"samples": np.full((2, 3), np.nan)}, "no sample can be used"),
    ],
)
def test_open_samples__says_what_is_wrong_with_a_file(tmp_path, content, message):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "x.npz")


def test_open_samples__refuses_folders_without_images_and_broken_ranges(tmp_path, images):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no images in this folder"):
        read(tmp_path / "empty")
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(InputError, match="give the smaller value first"):
        read(tmp_path / "x.npy", value_range=(1, 0))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00rubbish")
    with pytest.raises(FormatError, match="not a readable NPY"):
        read(tmp_path / "bad.npy")


def test_open_samples__counts_broken_images(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"not an image")
    ds = read(folder)
    assert ds["check"].to_numpy().tolist() == ["unreadable_image"]
    assert ds.sizes["sample"] == 1


def write_npy(path, x, labels):
    np.save(path / "x.npy", np.asfortranarray(x))
    return path / "x.npy"


def write_npz(path, x, labels):
    np.savez_compressed(path / "x.npz", samples=x, labels=labels)
    return path / "x.npz"


def write_paths(path, x, labels):
    sigmas = np.array([9.0, 3.0, 0.1])
    np.savez(path / "p.npz", paths=np.stack([x + 9, x + 3, x]), labels=labels, sigmas=sigmas)
    return path / "p.npz"


def write_zarr(path, x, labels):
    ds = xr.Dataset({"samples": (("n", "c", "h", "w"), x), "labels": ("n", labels)})
    ds.to_zarr(path / "x.zarr", zarr_format=3, consolidated=False)
    return path / "x.zarr"


def write_images(path, x, labels):
    for i, (image, label) in enumerate(zip(x, labels, strict=True)):
        folder = path / "set" / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.nan_to_num(image[0] * 20 + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (path / "set" / "class-1" / "broken.png").write_bytes(b"not an image")
    return path / "set"


@pytest.mark.parametrize("write", [write_npy, write_npz, write_paths, write_zarr, write_images])
def test_stream_source__parts_joined_are_the_whole(tmp_path, rng, monkeypatch, write):
    """Samples without use and repeated ones fall into different parts, one part has none left."""
    x = rng.standard_normal((17, 1, 4, 4)).astype(np.float32)
    x[4] = x[15] = x[0]
    x[9, 0, 1, 1], x[6:8] = np.nan, np.inf
    labels = np.arange(17) % 3
    labels[2] = -1
    path = write(tmp_path, x, labels)
    whole = read(path)
    states = 1 + whole.sizes.get("noise_level", 0)
    monkeypatch.setattr(samples_module, "PART_BYTES", 2 * 64 * states)  # two samples
    *parts, head = stream_source(path, kind="samples")
    assert head.attrs["rows"] == [part.sizes["sample"] for part in parts]
    assert len(parts) > 5
    for name in ("x", "path"):
        if name in whole:
            joined = xr.concat([part[name] for part in parts], "sample")
            np.testing.assert_array_equal(joined.transpose(*whole[name].dims), whole[name])
    rest = whole.drop_vars(["x", "path"], errors="ignore")
    xr.testing.assert_identical(head.drop_attrs(deep=False), rest.drop_attrs(deep=False))
    assert {k: v for k, v in head.attrs.items() if k != "rows"} == whole.attrs


def test_look_into__keeps_the_head_only(tmp_path, images, monkeypatch):
    np.save(tmp_path / "x.npy", images)
    monkeypatch.setattr(samples_module, "PART_BYTES", 64)
    head = look_into(tmp_path / "x.npy", kind="samples")
    assert "x" not in head
    assert size(head) == {"bytes": 6 * 64.0 + head.nbytes, "check": 0.0, "sample": 6.0}


def test_stream_source__one_part_is_the_whole(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    (only,) = stream_source(tmp_path / "x.npy", kind="samples")
    xr.testing.assert_identical(only, read(tmp_path / "x.npy"))


def test_stream_source__stops_at_a_damaged_member(tmp_path, images):
    np.savez_compressed(tmp_path / "x.npz", samples=np.repeat(images, 50, axis=0))
    damaged = bytearray((tmp_path / "x.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(damaged)
    with pytest.raises(FormatError, match="not a readable NPZ file"):
        list(stream_source(tmp_path / "x.npz", kind="samples"))
