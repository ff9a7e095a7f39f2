"""The settings that every other test relies on."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import gfsim as gf


def test_float64():
    assert jnp.zeros(()).dtype == jnp.float64


def test_ranks_are_not_promoted():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_dtypes_are_not_promoted():
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.ones(3) + jnp.ones(3, "float32")


def test_warnings_are_errors():
    with pytest.raises(UserWarning):
        warnings.warn("a warning", stacklevel=1)


def test_shapes_are_checked():
    problem = gf.Problem.from_loss(lambda theta: jnp.sum(theta**2), jnp.ones(3))
    with pytest.raises((TypeCheckError, TypeError, ValueError)):
        problem.grad(jnp.ones((3, 3)))
