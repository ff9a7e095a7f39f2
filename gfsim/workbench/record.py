"""The file between solving and drawing: one xarray data set in netCDF4, with all that is needed to repeat it."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import gfsim
from gfsim.workbench.scenario import Scenario

if TYPE_CHECKING:
    import xarray

FORMAT = 1
_VERSIONED = ("jax", "jaxlib", "diffrax", "equinox")


def provenance(name: str, scenario: Scenario) -> dict[str, str | int]:
    """What a record says about itself: the same run writes the same words, so nothing here knows the date."""
    return {
        "scenario": name,
        "configuration": json.dumps(dataclasses.asdict(scenario), default=str, sort_keys=True),
        "seed": scenario.seed,
        **installation(),
    }


def installation() -> dict[str, str | int]:
    """What a record says about the software that wrote it."""
    import jax

    return {
        "gfsim_record": FORMAT,
        "versions": json.dumps({"gfsim": gfsim.__version__} | {package: version(package) for package in _VERSIONED}),
        "x64": int(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
    }


def save_record(dataset: "xarray.Dataset", path: Path | str, attributes: Mapping[str, str | int] | None = None) -> None:
    """Writes the data set, with `attributes` added to its own, so that `path` is either whole or untouched.

    Without `attributes` the record says which software wrote it: `save_record(trajectory.to_xarray(), "run.nc")`.

    Raises `ValueError` where the data set already uses one of the attributes' names, or cannot be written as netCDF;
    OSError where the disk is full.
    """
    path = Path(path)
    attributes = installation() if attributes is None else attributes
    clash = sorted(set(dataset.attrs) & set(attributes))
    if clash:
        raise ValueError(f"attributes of a record must leave {', '.join(attributes)} to gfsim, was {', '.join(clash)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        try:
            dataset.assign_attrs(attributes).to_netcdf(unfinished, engine="netcdf4", format="NETCDF4")
        except RuntimeError as error:
            # HDF5 does not tell a full disk from other refusals.
            free = shutil.disk_usage(path.parent).free
            raise OSError(f"{path} could not be written ({error}), where {free / 1e6:.3g} MB are free") from error


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, put in place of `path` on success and removed otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; a result is as readable as any other file of its owner.
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_record(path: Path | str) -> "xarray.Dataset":
    """The record in `path`, read whole.

    Raises `ValueError` where the file is missing, truncated, not netCDF, or not written by gfsim.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"record must be an existing file, was {str(path)!r}")
    import xarray

    try:
        dataset = xarray.load_dataset(path, engine="netcdf4")
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"record must be a complete netCDF file, was {str(path)!r} ({reason})") from error
    if dataset.attrs.get("gfsim_record") != FORMAT:
        raise ValueError(
            f"record must be written by gfsim (format {FORMAT}), was {str(path)!r}"
            f" (format {dataset.attrs.get('gfsim_record')})"
        )
    return dataset
