"""Refusals of bad arguments, one line each: which argument, what it must be, what it was."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real

import jax
import jax.numpy as jnp
import numpy as np

ENABLE_X64 = 'jax.config.update("jax_enable_x64", True)'


def require_x64() -> None:
    """Raises ValueError unless JAX computes in float64."""
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(f"gfsim needs float64, but JAX is set to float32: first call {ENABLE_X64}")


def positive_integer(name: str, value: object) -> int:
    """`value` as an int ≥ 1. Raises TypeError (not an integer) or ValueError (below 1)."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer, was {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be a positive integer, was {value}")
    return int(value)


def real_number(name: str, value: object) -> float:
    """`value` as a float. Raises TypeError unless it is one real number, of Python, NumPy or JAX."""
    if isinstance(value, Real | np.ndarray | jax.Array) and not isinstance(value, bool):
        array = np.asarray(value)
        if array.shape == () and array.dtype.kind in "fiu":
            return float(array)
    raise TypeError(f"{name} must be one real number, was {value!r}")


def true_or_false(name: str, value: object) -> bool:
    """`value`. Raises TypeError unless it is a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, was {value!r}")
    return value


def finite_array(name: str, value: object, *shape: int | str) -> np.ndarray:
    """`value` as finite floats of the given shape, in which a letter stands for any size.

    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN and infinity.
    """
    wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of real numbers of shape {wanted}, was {value!r}") from error
    if array.ndim != len(shape) or any(
        isinstance(n, int) and n != own for n, own in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{name} must have shape {wanted}, was {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, held NaN or infinity")
    return array


@contextlib.contextmanager
def tracing(name: str, function: object, what: str) -> Iterator[None]:
    """While JAX traces a user's `function`, which must be `what`: an error of it becomes a ValueError of one line."""
    if not callable(function):
        raise TypeError(f"{name} must be {what}, was {function!r}")
    try:
        yield
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise ValueError(
            f"{name} must be {what} in JAX's operations, was {function!r}, which raised {type(error).__name__}: {first}"
        ) from error


def traced(name: str, function: Callable, what: str, *arguments: object) -> jax.ShapeDtypeStruct:
    """Shape and type of the one array that `function` returns. Raises as `tracing`, and TypeError for another value."""
    with tracing(name, function, what):
        value = jax.eval_shape(function, *arguments)
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} must be {what} with one array as value, returned {type(value).__name__}")
    return value


def layer_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """`sizes` as a tuple (d, hidden sizes …, K).

    Raises TypeError or ValueError unless it holds at least two positive integers.
    """
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise TypeError(f"sizes must be a sequence of at least two positive integers, was {sizes!r}")
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold at least two layer sizes (input and output), was {tuple(sizes)}")
    return tuple(positive_integer(f"sizes[{l}]", size) for l, size in enumerate(sizes))


def prng_key(name: str, value: object) -> jax.Array:
    """`value` if it is one JAX random key, new or old style. Raises TypeError."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) and value.shape == ():
            return value
        if value.dtype == jnp.uint32 and value.shape == (2,):
            return value
        value = f"{value.dtype}{list(value.shape)}"
        raise TypeError(f"{name} must be one random key, jax.random.key(seed), was {value}")
    raise TypeError(f"{name} must be one random key, jax.random.key(seed), was {value!r}")
