"""Compiled calls whose shared part is taken apart once."""

import gc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from gfsim.simulation import compiled
from gfsim.simulation.compiled import Compiled, Fixed


class Line(eqx.Module):
    slope: Array | np.ndarray | np.generic
    power: int


traced = []


@Compiled
def along(fixed, x):
    line, names = fixed
    traced.append(names)
    return line.slope * x**line.power


def test_arrays_may_change_and_all_else_is_compiled_in():
    traced.clear()
    x = np.array([1.0, 2.0])
    for slope in (jnp.array(2.0, float), np.array(3.0), np.float64(4.0)):
        # Made anew each time: equal parts are the same program.
        np.testing.assert_array_equal(along(Fixed(Line(slope, 2), ("a", None)), x), float(slope) * x**2)
    assert len(traced) == 1
    np.testing.assert_array_equal(along(Fixed(Line(jnp.array(2.0, float), 3), ("a", None)), x), 2 * x**3)
    along(Fixed(Line(jnp.array(2.0, float), 3), ("b", None)), x)
    assert traced == [("a", None), ("a", None), ("b", None)]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(TypeError, match="unhashable"):
        Fixed({1, 2})


def test_a_donated_argument_is_used_up():
    raised = Compiled(lambda fixed, x: x + fixed[0], donate=(0,))
    x = jnp.ones(3)
    np.testing.assert_array_equal(raised(Fixed(jnp.array(1.0)), x), 2 * np.ones(3))
    assert x.is_deleted()
    assert not jax.numpy.ones(3).is_deleted()


def test_a_module_is_taken_apart_once_and_forgotten_when_it_is_gone():
    line = Line(np.array(2.0), 2)
    first, second = Fixed(line), Fixed(line)
    assert first.static is second.static
    assert first.arrays[0] is line.slope
    place = id(line)
    assert place in compiled._known
    # What an array of its own holds may change, and is seen.
    line.slope[...] = 5.0
    np.testing.assert_array_equal(along(Fixed(line, ("a", None)), np.ones(2)), 5 * np.ones(2))
    del line
    gc.collect()
    assert place not in compiled._known
