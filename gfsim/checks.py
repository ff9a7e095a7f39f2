"""Refusals of bad arguments, one line each: which argument, what it must be, what it was; none of them needs JAX."""

import sys
from numbers import Integral, Real

import numpy as np


def positive_integer(name: str, value: object) -> int:
    """`value` as an int ≥ 1. Raises TypeError (not an integer) or ValueError (below 1)."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer, was {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be a positive integer, was {value}")
    return int(value)


def real_number(name: str, value: object) -> float:
    """`value` as a float. Raises TypeError unless it is one real number, of Python, NumPy or JAX."""
    if type(value) is float:
        return value
    # Whoever holds an array of JAX has imported it.
    arrays = np.ndarray, getattr(sys.modules.get("jax"), "Array", np.ndarray)
    if isinstance(value, (Real, *arrays)) and not isinstance(value, bool):
        array = np.asarray(value)
        if array.shape == () and array.dtype.kind in "fiu":
            return float(array)
    raise TypeError(f"{name} must be one real number, was {value!r}")


def true_or_false(name: str, value: object) -> bool:
    """`value`. Raises TypeError unless it is a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, was {value!r}")
    return value


def real_array(name: str, value: object, *shape: int | str) -> np.ndarray:
    """`value` as floats of the given shape, in which a letter stands for any size; of any shape where none is given.

    Raises TypeError for what is no array of real numbers, ValueError for another shape.
    """
    wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    try:
        array = np.asarray(value, float)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except (TypeError, ValueError) as error:
        of_shape = f" of shape {wanted}" if shape else ""
        raise TypeError(f"{name} must be an array of real numbers{of_shape}, was {value!r}") from error
    if shape and (
        array.ndim != len(shape)
        or any(isinstance(n, int) and n != own for n, own in zip(shape, array.shape, strict=True))
    ):
        raise ValueError(f"{name} must have shape {wanted}, was {array.shape}")
    return array


def finite_array(name: str, value: object, *shape: int | str) -> np.ndarray:
    """`real_array` of finite numbers. Raises as that, and ValueError for NaN and infinity."""
    array = real_array(name, value, *shape)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, held NaN or infinity")
    return array
