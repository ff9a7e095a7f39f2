"""Data sets: the real digits, files, and the synthetic sets of the theory."""

import csv
import importlib.util
import os
import zipfile
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import final

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from gfsim.checks import positive_integer
from gfsim.placement import on_host, placed, placement
from gfsim.problems.checks import prng_key, require_x64
from gfsim.types import ArrayLike, Input, Inputs, Key, Output, Targets


@final
class Dataset(eqx.Module):
    """n samples: inputs (n, d) and targets (n,) or (n, K), both float64.

    Class labels are numbers too: ±1 for two classes, 0 … K−1 for K. JAX arrays that a `jax.sharding` spreads over
    several devices stay where they are: with the samples split, each device sums the gradient of its own.

    Raises ValueError for empty data, NaN or infinite entries, wrong dimensions, different numbers of inputs
    and targets, or JAX not set to float64; TypeError for entries that are no real numbers.
    """

    inputs: Inputs
    targets: Targets

    def __init__(self, inputs: ArrayLike | Sequence, targets: ArrayLike | Sequence):
        require_x64()
        x, y = _real_array("inputs", inputs), _real_array("targets", targets)
        if x.ndim != 2:
            raise ValueError(f"inputs must have shape (n, d), was {x.shape}")
        if y.ndim not in (1, 2):
            raise ValueError(f"targets must have shape (n,) or (n, K), was {y.shape}")
        for name, values in (("inputs", x), ("targets", y)):
            if values.size == 0:
                raise ValueError(f"{name} must not be empty, was of shape {values.shape}")
        if len(x) != len(y):
            raise ValueError(f"targets must have one entry per input, {len(x)}, was {len(y)}")
        for name, values in (("inputs", x), ("targets", y)):
            wrong = ~np.isfinite(values)
            if wrong.any():
                first = tuple(int(i) for i in np.argwhere(wrong)[0])
                others = f" ({wrong.sum()} of {values.size} entries are not finite)"
                raise ValueError(f"{name} must be finite, was {values[first]} at index {first}{others}")
        self.inputs = placed(x, placement(inputs))
        self.targets = placed(y, placement(targets))

    @property
    def n(self) -> int:
        """The number of samples."""
        return self.inputs.shape[0]

    @property
    def d(self) -> int:
        """The number of input coordinates."""
        return self.inputs.shape[1]


def digits(classes: Sequence[int]) -> Dataset:
    """The 8×8 handwritten digits of scikit-learn, pixels/16 in [0, 1], d = 64, in their order there.

    `classes` are digits 0 … 9. Two, (a, b): labels +1 for a and −1 for b. More: labels 0 … K−1 in the order
    of `classes`.

    Raises TypeError or ValueError unless `classes` holds at least two different digits.
    Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    if not isinstance(classes, Sequence) or isinstance(classes, str):
        raise TypeError(f"classes must be a sequence of digits, such as (3, 5), was {classes!r}")
    allowed = range(10)
    if len(classes) < 2 or any(c not in allowed or classes.count(c) > 1 for c in classes):
        raise ValueError(f"classes must be at least two different digits 0 … 9, was {tuple(classes)}")
    # Importing scikit-learn would take longer than solving many a flow on them: its file is read without.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels, digit = rows[:, :-1], rows[:, -1].astype(int)
    chosen = np.isin(digit, classes)
    labels = np.array([list(classes).index(value) for value in digit[chosen]])
    return Dataset(pixels[chosen] / 16.0, _labels(labels, len(classes)))


def gaussians(means: ArrayLike | Sequence, std: float, n: int, key: Key) -> Dataset:
    """n samples in all, x_i ~ N(means[c], std²·I) with class c = i mod K for `means` of shape (K, d).

    Two classes: labels +1 for means[0] and −1 for means[1]. More: labels 0 … K−1.

    Raises TypeError or ValueError unless K ≥ 2, the means are finite, std ≥ 0, n ≥ K and `key` is a random
    key.
    """
    centres = _real_array("means", means)
    if centres.ndim != 2 or centres.shape[0] < 2 or centres.shape[1] == 0:
        raise ValueError(f"means must have shape (K, d) with K ≥ 2, was {centres.shape}")
    if not np.isfinite(centres).all():
        raise ValueError(f"means must be finite, was {centres.tolist()}")
    if isinstance(std, bool) or not isinstance(std, Real):
        raise TypeError(f"std must be a number ≥ 0, was {std!r}")
    if not 0.0 <= std < np.inf:
        raise ValueError(f"std must be a finite number ≥ 0, was {std}")
    n = positive_integer("n", n)
    if n < len(centres):
        raise ValueError(f"n must be at least the number of classes, {len(centres)}, was {n}")
    labels = np.arange(n) % len(centres)
    noise = np.asarray(jax.random.normal(prng_key("key", key), (n, centres.shape[1])))
    return Dataset(centres[labels] + std * noise, _labels(labels, len(centres)))


def teacher(network: Callable[[Input], Output], n: int, key: Key) -> Dataset:
    """x_i ~ N(0, I_d) and targets network(x_i), for a network with an integer `in_size` d.

    Raises TypeError or ValueError unless n is a positive integer, `key` a random key, and the network has
    `in_size`.
    """
    n = positive_integer("n", n)
    in_size = getattr(network, "in_size", None)
    if not isinstance(in_size, int):
        raise TypeError(f"network must have an integer in_size, {type(network).__name__} had {in_size!r}")
    inputs = jax.random.normal(prng_key("key", key), (n, in_size))
    return Dataset(inputs, jax.vmap(network)(inputs))


def sphere(n: int, d: int, key: Key) -> Dataset:
    """x_i uniform on the unit sphere of R^d, labels ±1 with equal chance, independent of x_i.

    Raises TypeError or ValueError unless n and d are positive integers and `key` is a random key.
    """
    n, d = positive_integer("n", n), positive_integer("d", d)
    key_x, key_y = jax.random.split(prng_key("key", key))
    x = np.asarray(jax.random.normal(key_x, (n, d)))
    labels = np.asarray(jax.random.rademacher(key_y, (n,)))
    return Dataset(x / np.linalg.norm(x, axis=1, keepdims=True), labels)


def xor() -> Dataset:
    """The corners (±1, ±1) of the square with y = x_1·x_2: no linear function separates them."""
    inputs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return Dataset(inputs, inputs[:, 0] * inputs[:, 1])


def orthogonal(y: ArrayLike | Sequence) -> Dataset:
    """x_i = e_i in R^n with the targets y of shape (n,) or (n, K)."""
    targets = _real_array("y", y)
    return Dataset(np.eye(len(targets) if targets.ndim else 0), targets)


def from_file(path: str | Path) -> Dataset:
    """A data set from a file.

    .npz: arrays `inputs` (n, d) and `targets` (n,) or (n, K).
    .csv: comma-separated numbers, one sample a row, the last column the target; a first row without any
    number is a header.

    Raises ValueError, naming the file, if it is missing, unreadable or not of this form.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be the path of a file, was {path!r}")
    path = Path(path)
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"path must end in .npz or .csv, was {str(path)!r}")
    try:
        inputs, targets = readers[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"path: {str(path)!r} must be a readable {path.suffix} file: {reason}") from error
    try:
        return Dataset(inputs, targets)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path: {str(path)!r}: {error}") from error


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"path: {str(path)!r} must be a readable .npz file: {error}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"path: {str(path)!r} must be a .npz archive of arrays, was a single array")
        if not {"inputs", "targets"} <= set(archive.files):
            held = ", ".join(archive.files) or "none"
            raise ValueError(f"path: {str(path)!r} must hold the arrays inputs and targets, held {held}")
        try:
            return archive["inputs"], archive["targets"]
        except ValueError as error:
            raise ValueError(f"path: {str(path)!r} must hold arrays of numbers: {error}") from error


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        rows = [(reader.line_num, row) for row in reader if row]
    if rows and not any(_is_number(entry) for entry in rows[0][1]):
        del rows[0]
    if not rows:
        raise ValueError(f"path: {str(path)!r} must hold at least one row of numbers, held none")
    columns = len(rows[0][1])
    if columns < 2:
        raise ValueError(f"path: {str(path)!r} must have two or more columns, inputs and target, had {columns}")
    for line, row in rows:
        where = f"path: {str(path)!r}, line {line}"
        if len(row) != columns:
            raise ValueError(f"{where} must have {columns} columns, had {len(row)}")
        for column, entry in enumerate(row, start=1):
            if not _is_number(entry):
                raise ValueError(f"{where}, column {column} must be a number, was {entry!r}")
    table = np.array([[float(entry) for entry in row] for _, row in rows])
    return table[:, :-1], table[:, -1]


def _is_number(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True


def _labels(classes: np.ndarray, count: int) -> np.ndarray:
    return 1.0 - 2.0 * classes if count == 2 else classes


def _real_array(name: str, values: object) -> Float[np.ndarray, "..."]:
    try:
        array = on_host(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers, was ragged") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, was of type {array.dtype}")
    return array.astype(np.float64)
