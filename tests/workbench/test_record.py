"""A record is whole or absent, says where it comes from, and is refused when it is not one."""

import dataclasses
import json

import numpy as np
import pytest
import xarray

from gfsim.workbench import Scenario, load_record, save_record
from gfsim.workbench.record import provenance, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Empty(Scenario):
    deltas: tuple[float, ...] = (0.1, 0.01)

    def simulate(self):
        return xarray.Dataset()

    def claims(self, record):
        return []


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    return xarray.Dataset(
        {
            "theta": (("t", "p"), rng.standard_normal((50, 7))),
            "outcome": ((), "stalled"),
            "valid": ("t", np.ones(50, bool)),
        },
        {"t": np.geomspace(1e-3, 1, 50)},
        {"note": "δ → 0"},
    )


def test_what_is_saved_is_read(dataset, tmp_path):
    save_record(dataset, tmp_path / "deep/er/run.nc", provenance("empty", Empty()))
    read = load_record(tmp_path / "deep/er/run.nc")
    xarray.testing.assert_equal(read, dataset)
    assert read.attrs["note"] == "δ → 0"
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["run.nc"]


def test_a_record_says_where_it_comes_from():
    attributes = provenance("empty", Empty(seed=3))
    assert attributes["scenario"] == "empty"
    assert attributes["seed"] == 3
    assert attributes["x64"] == 1
    assert json.loads(attributes["configuration"]) == {"rtol": 1e-6, "seed": 3, "deltas": [0.1, 0.01]}
    assert set(json.loads(attributes["versions"])) == {"gfsim", "jax", "jaxlib", "diffrax", "equinox"}


def test_repetition_writes_the_same_bytes(dataset, tmp_path):
    for name in ("a.nc", "b.nc"):
        save_record(dataset, tmp_path / name, provenance("empty", Empty()))
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file(stop, tmp_path):
    path = tmp_path / "run.nc"
    path.write_text("old")

    def interrupted_write():
        with whole(path) as unfinished:
            unfinished.write_text("half")
            raise stop

    with pytest.raises(stop):
        interrupted_write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved_leaves_nothing(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        save_record(xarray.Dataset({"x": ((), object())}), tmp_path / "run.nc", {})
    assert list(tmp_path.iterdir()) == []


def test_reserved_attributes_are_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"must leave .* to gfsim, was seed"):
        save_record(dataset.assign_attrs(seed=1), tmp_path / "run.nc", provenance("empty", Empty()))


@pytest.mark.parametrize("kept", [0, 1, 100, 2000, -1])
def test_truncated_files_are_refused(dataset, tmp_path, kept):
    path = tmp_path / "run.nc"
    save_record(dataset, path, provenance("empty", Empty()))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="record must be a complete netCDF file, was ") as refusal:
        load_record(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"text", b"\x89HDF\r\n\x1a\n" + bytes(200), b"CDF\x01" + bytes(10)])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "run.nc"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="record must be"):
        load_record(path)


def test_netcdf_of_others_is_refused(dataset, tmp_path):
    dataset.to_netcdf(tmp_path / "other.nc")
    with pytest.raises(ValueError, match=r"record must be written by gfsim \(format 1\), was .* \(format None\)"):
        load_record(tmp_path / "other.nc")


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="record must be an existing file, was "):
        load_record(tmp_path / "none.nc")
