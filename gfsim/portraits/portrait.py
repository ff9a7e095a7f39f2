"""A phase portrait as numbers: what a drawing shows, computed once and kept in a record. Needs no JAX."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class Portrait:
    """Numbers of a phase portrait in the plane (m = 2) or on the unit sphere (m = 3).

    Families of curves are single arrays with a row of NaN behind each curve.

    - `streamlines` (rows, m); `stable`, `unstable` (rows, m): manifolds of the saddles.
    - `points` (k, m), their `kind` (k,) and ‖∇L‖ (k,); `curves` (rows, m) of degenerate points and whether they
      attract (rows,).
    - `grid` (…, m): of a plane (ny, nx, 2); of the sphere (2, n, n, 3), its hemispheres in Lambert's projection, NaN
      beyond their rim. On it `velocity` (…, m), `level` (…), the share `outside` (…) of the velocity that leaves the
      plane, the quantity `conserved` (…) and `basin` (…): the place in `points` of the minimum or sink reached, the
      number of points and more for the attracting parts of curves, −1 where none was reached.

    What was not asked for or has no meaning is empty, NaN or −1.
    """

    streamlines: np.ndarray
    points: np.ndarray
    kind: list[str]
    gradient_norm: np.ndarray
    curves: np.ndarray
    attracting: np.ndarray
    stable: np.ndarray
    unstable: np.ndarray
    grid: np.ndarray
    velocity: np.ndarray
    level: np.ndarray
    outside: np.ndarray
    conserved: np.ndarray
    basin: np.ndarray

    @property
    def spherical(self) -> bool:
        """Whether this is a portrait on the sphere."""
        return self.grid.shape[-1] == 3

    def to_xarray(self, name: str) -> "xarray.Dataset":
        """The portrait as variables `name`_streamlines and so on, to be merged into a record."""
        import xarray

        variables = {}
        for field in dataclasses.fields(self):
            values = np.asarray(getattr(self, field.name))
            if field.name == "kind":
                values = values.astype(str) if values.size else np.zeros(0, "U1")
            own = {0: f"{name}_{_DIMENSIONS.get(field.name, 'cell')}"}
            dims = [own.get(axis, f"{name}_axis{axis}_{size}") for axis, size in enumerate(values.shape)]
            variables[f"{name}_{field.name}"] = (dims, values)
        return xarray.Dataset(variables)

    @classmethod
    def from_xarray(cls, record: "xarray.Dataset", name: str) -> "Portrait":
        """The portrait of that name in a record. Raises ValueError where the record holds none."""
        if missing := [field.name for field in dataclasses.fields(cls) if f"{name}_{field.name}" not in record]:
            raise ValueError(
                f"name must be that of a portrait in the record, was {name!r} ({name}_{missing[0]} is missing)"
            )
        values = {field.name: record[f"{name}_{field.name}"].values for field in dataclasses.fields(cls)}
        return cls(**{**values, "kind": [str(kind) for kind in values["kind"]]})


_DIMENSIONS = {
    "streamlines": "vertex",
    "points": "point",
    "kind": "point",
    "gradient_norm": "point",
    "curves": "curve_vertex",
    "attracting": "curve_vertex",
    "stable": "stable_vertex",
    "unstable": "unstable_vertex",
}
