"""Refusals of what is not as JAX needs it, or as a network does."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp

from gfsim.checks import positive_integer

ENABLE_X64 = 'jax.config.update("jax_enable_x64", True)'


def require_x64() -> None:
    """Raises ValueError unless JAX computes in float64."""
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(f"gfsim needs float64, but JAX is set to float32: first call {ENABLE_X64}")


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


def float64_vector(name: str, value: object, size: int) -> jax.Array:
    """`value`, a float64 array of shape (size,), traced or not. Raises TypeError."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape != (size,) or dtype != jnp.float64:
        was = repr(value) if shape is None else f"{dtype} of shape {shape}"
        raise TypeError(f"{name} must be a float64 array of shape ({size},), was {was}")
    return value  # pyright: ignore[reportReturnType]


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
