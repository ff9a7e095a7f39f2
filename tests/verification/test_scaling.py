"""Slopes on logarithmic axes."""

import numpy as np
import pytest

from gfsim.verification import bootstrap_fit, fit_power_law


def test_recovers_a_power_law():
    x = np.geomspace(1e-12, 1e3, 7)
    law = fit_power_law(x, 2.5 * x**-3.25)
    np.testing.assert_allclose(law.exponent, -3.25, rtol=1e-12)
    np.testing.assert_allclose(law.prefactor, 2.5, rtol=1e-10)
    np.testing.assert_allclose(law.residuals, 0, atol=1e-12)


def test_the_scale_of_x_changes_nothing_but_the_rate():
    x, seeds = np.array([1.0, 2.0, 3.0] * 2), [0, 0, 0, 1, 1, 1]
    y = np.exp([1, 2, 3, 1.1, 2.1, 3.05])
    usual, small = (bootstrap_fit(scale * x, y, seeds, "exponential") for scale in (1.0, 1e-11))
    np.testing.assert_allclose(small.exponent, 1e11 * usual.exponent, rtol=1e-10)


def test_residuals_are_logarithms_beside_the_fit():
    x = np.array([1.0, 2.0, 4.0])
    law = fit_power_law(x, np.array([1.0, np.e, 1.0]))
    np.testing.assert_allclose(law.exponent, 0, atol=1e-14)
    np.testing.assert_allclose(law.residuals, [-1 / 3, 2 / 3, -1 / 3])


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_value_without_logarithm_spoils_all(bad):
    law = fit_power_law([1.0, 2.0, 3.0], [1.0, bad, 3.0])
    assert np.isnan(law.exponent)
    assert np.isnan(law.prefactor)
    assert np.all(np.isnan(law.residuals))


@pytest.mark.parametrize(
    ("x", "y"), [([1.0], [1.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([[1.0, 2.0]], [[1.0, 2.0]])]
)
def test_bad_arguments(x, y):
    with pytest.raises(ValueError, match="x and y must be 1-d of equal length with two different x"):
        fit_power_law(x, y)
