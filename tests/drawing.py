"""What every figure function must do."""

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import xarray

from gfsim.plotting.sheets import SLIDE
from gfsim.portraits import Portrait

mpl.use("Agg")


def check_figure(figure: Callable, record: xarray.Dataset, venue: str, axes: int) -> None:
    """`figure(record, venue)` draws, has so many axes, and leaves matplotlib's settings as they were.

    It may be a list of figures, of which each fits its slide.
    """
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    drawn = figure(record, venue)
    figures = drawn if isinstance(drawn, list) else [drawn]
    for one in figures:
        one.canvas.draw()
        if venue == "beamer":
            width, height = one.get_size_inches()
            assert height <= (SLIDE + 1e-9) * width
        plt.close(one)
    assert sum(len(one.findobj(mpl.axes.Axes)) for one in figures) == axes
    assert dict(mpl.rcParams) == before


def made_up_portrait(spherical: bool = False) -> Portrait:
    """One of everything, of the double well x' = x − x³, y' = −y, or on the sphere around ±e₁ and ±e₂."""
    s = np.linspace(-1.0, 1.0, 21)
    x, y = np.meshgrid(1.5 * s, 1.5 * s)
    grid, velocity = np.stack([x, y], axis=-1), np.stack([x - x**3, -y], axis=-1)
    level = 0.25 * x**4 - 0.5 * x**2 + 0.5 * y**2
    basin, outside = np.where(x < 0, 0, 2), 0.5 + np.arctan(y) / np.pi
    points = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.2], [1.2, 1.2]])
    lines = [np.stack([s, c * (1 - s**2)], axis=1) for c in (-1.0, -0.5, 0.5, 1.0)]
    stable, unstable, curve = np.stack([0 * s, s], axis=1), np.stack([s, 0 * s], axis=1), np.stack([s, s**2], axis=1)
    gap = np.full((1, 2), np.nan)
    families = [
        np.concatenate([*(part for line in family for part in (line, gap))])
        for family in (lines, [stable], [unstable], [curve])
    ]
    if spherical:
        # Lifted to the upper half of the sphere.
        def lift(p: np.ndarray) -> np.ndarray:
            p = p / 1.9
            return np.concatenate([p, np.sqrt(1 - np.sum(p**2, axis=-1, keepdims=True).clip(max=1))], axis=-1)

        families, points = [lift(family) for family in families], lift(points)
        upper = lift(grid / 1.2)
        grid = np.stack([upper, upper * np.array([1, 1, -1])])
        velocity = np.concatenate([np.stack([velocity, velocity])] * 2, axis=-1)[..., :3]
        level, basin, outside = np.stack([level, -level]), np.stack([basin, basin]), np.zeros((2, 21, 21))
    attracting = np.append((s > 0).astype(float), np.nan)
    kinds = ["minimum", "saddle", "minimum", "maximum", "degenerate"]
    return Portrait(
        families[0],
        points,
        kinds,
        np.zeros(5),
        families[3],
        attracting,
        families[1],
        families[2],
        grid,
        velocity,
        level,
        outside,
        level,
        basin,
    )
