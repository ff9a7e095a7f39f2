"""Power iteration against dense eigenvalues."""

import jax
import jax.numpy as jnp
import pytest

from gfsim.solvers.spectral_radius import generic_direction, power_iteration


def symmetric(seed: int, n: int = 30) -> jax.Array:
    a = jax.random.normal(jax.random.key(seed), (n, n))
    return a + a.T


@pytest.mark.parametrize("seed", range(5))
def test_lower_bound_that_converges_to_the_spectral_radius(seed):
    a = symmetric(seed)
    radius = float(jnp.max(jnp.abs(jnp.linalg.eigvalsh(a))))
    start = generic_direction(jnp.zeros(30))
    few, _, spent = power_iteration(lambda v: a @ v, start, max_products=5)
    many, _, _ = power_iteration(lambda v: a @ v, start, max_products=2000)
    assert int(spent) == 5
    assert float(few) <= float(many) <= radius * (1 + 1e-12)
    assert float(many) == pytest.approx(radius, rel=1e-3)


def test_stops_when_converged_and_counts():
    a = jnp.diag(jnp.array([10.0, 0.1, 0.01]))
    radius, v, spent = power_iteration(
        lambda v: a @ v, generic_direction(jnp.zeros(3)), max_products=100, tolerance=0.01
    )
    assert float(radius) == pytest.approx(10.0, rel=1e-2)
    assert int(spent) < 8
    assert float(jnp.abs(v[0])) == pytest.approx(1.0, abs=1e-3)


def test_zero_and_overflowing_maps_keep_the_direction():
    start = generic_direction(jnp.zeros(4))
    for map_ in (lambda v: 0 * v, lambda v: v * jnp.inf):
        _, v, _ = power_iteration(map_, start, max_products=3)
        assert jnp.array_equal(v, start)


def test_generic_direction_is_a_unit_pytree_aligned_with_no_axis():
    v = generic_direction({"a": jnp.zeros((3, 4)), "b": jnp.zeros(5)})
    flat = jnp.concatenate([v["a"].ravel(), v["b"]])
    assert float(jnp.linalg.norm(flat)) == pytest.approx(1.0)
    assert float(jnp.max(jnp.abs(flat))) < 0.6
    assert abs(float(jnp.sum(flat))) < 2.0
