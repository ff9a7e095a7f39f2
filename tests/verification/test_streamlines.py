"""How far streamlines are from trajectories, and which basin a direction lies in, on made-up portraits."""

import dataclasses

import numpy as np
import pytest

from gfsim.portraits.compute import hemispheres
from gfsim.verification.sphere import of_cell, reached
from gfsim.verification.streamlines import streamline_gap
from tests.drawing import made_up_portrait

S = np.linspace(-1.0, 1.0, 41)


def straight(height: float, end: float = 1.0) -> np.ndarray:
    return np.stack([S[end >= S], np.full(np.sum(end >= S), height)], axis=1)


def with_lines(*lines: np.ndarray):
    gap = np.full((1, 2), np.nan)
    joined = np.concatenate([part for line in lines for part in (line, gap)])
    return dataclasses.replace(made_up_portrait(), streamlines=joined)


def test_the_gap_is_in_units_of_the_sides():
    # The window is 3 by 3. Points between rows of a streamline are on it.
    portrait = with_lines(straight(0.5), straight(-0.5))
    along = np.linspace(0.0, 1.9, 57)
    for off in (0.0, 0.03):
        gap = streamline_gap(portrait, lambda z, off=off: z + np.stack([along, np.full(57, off)], axis=1))
        assert gap == pytest.approx(off / 3, abs=1e-12)


def test_the_longest_are_compared_up_to_their_ends():
    portrait = with_lines(straight(0.5), straight(-0.5, end=0.0))
    starts = []

    def solve(start, strays=2.0):
        starts.append(start)
        t = np.linspace(0.0, 3.0, 100)
        return start + np.stack([t, np.where(t > strays, 1.0, 0.0)], axis=1)

    # The longer line is 2 long: behind its end nothing counts.

    assert streamline_gap(portrait, solve, count=1) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(starts, [[-1.0, 0.5]])
    assert streamline_gap(portrait, solve, count=2) == pytest.approx(0.0, abs=1e-12)
    assert streamline_gap(portrait, lambda z: solve(z, 0.5)) == pytest.approx(1 / 3)


def test_nothing_compared_is_no_agreement():
    assert np.isnan(streamline_gap(with_lines(straight(0.5)), lambda z: z + S[:5, None] * [0.1, 0.0]))


def test_directions_reach_points_and_lie_in_cells():
    grid = hemispheres(41)
    portrait = dataclasses.replace(
        made_up_portrait(spherical=True),
        points=np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        kind=["minimum", "saddle", "minimum"],
        grid=grid,
        # Above, the halves of u₁; below, those of u₂.
        basin=np.stack([np.where(grid[0, ..., 0] < 0, 0, 2), np.where(grid[1, ..., 1] < 0, 0, 2)]),
    )
    ends = 1e200 * np.array([[-1.0, 1e-5, 0.0], [0.0, 1.0, 1e-5], [1.0, 0.0, 0.0], [0.6, 0.0, 0.8]])
    np.testing.assert_array_equal(reached(portrait, ends), [0, -1, 2, -2])
    directions = np.array([[0.5, -0.3, 0.8], [0.5, -0.3, -0.8], [-0.5, 0.3, 0.8], [-0.5, 0.3, -0.8], [0.01, 0.6, 0.8]])
    own, clear = of_cell(portrait, directions / np.linalg.norm(directions, axis=1, keepdims=True))
    np.testing.assert_array_equal(own[:4], [2, 0, 0, 2])
    np.testing.assert_array_equal(clear, [True] * 4 + [False])
