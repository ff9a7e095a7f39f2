"""Rows of panels: one below the other on paper, on several slides where one does not hold them."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from gfsim.checks import real_number
from gfsim.plotting.style import VENUES

# Height of a figure on a slide, of its width.
SLIDE = 0.62


def sheets(venue: str, *heights: float) -> tuple[list[Figure], list[Any]]:
    """Figures of the width of the style in use, and in them one subfigure for each of `heights`, in units of the width.

    On paper all are in one figure. Where the venue is beamer, a row that would bring a figure above 0.62 of its width
    begins the next one, and a row that is higher by itself gets that height.

    Raises TypeError or ValueError for another venue, and for heights that are not positive and finite, or none.
    """
    if venue not in VENUES:
        raise ValueError(f"venue must be one of {', '.join(VENUES)}, was {venue!r}")
    if not heights or not all(0 < real_number("heights", height) < float("inf") for height in heights):
        raise ValueError(f"heights must be one positive number or more, was {heights}")
    width = plt.rcParams["figure.figsize"][0]
    room = SLIDE if venue == "beamer" else float("inf")
    groups: list[list[float]] = [[]]
    for height in heights:
        if groups[-1] and sum(groups[-1]) + height > room:
            groups.append([])
        groups[-1].append(min(height, room))
    figures, rows = [], []
    for group in groups:
        figure = plt.figure(figsize=(width, sum(group) * width))
        parts: Any = figure.subfigures(len(group), 1, height_ratios=group, squeeze=False)
        figures.append(figure)
        rows += list(parts[:, 0])
    return figures, rows
