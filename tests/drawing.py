"""What every figure function must do."""

from collections.abc import Callable

import matplotlib as mpl
import xarray

mpl.use("Agg")


def check_figure(figure: Callable, record: xarray.Dataset, venue: str, axes: int) -> None:
    """`figure(record, venue)` draws, has so many axes, and leaves matplotlib's settings as they were."""
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    drawn = figure(record, venue)
    drawn.canvas.draw()
    assert len(drawn.findobj(mpl.axes.Axes)) == axes
    assert dict(mpl.rcParams) == before
    plt.close(drawn)
