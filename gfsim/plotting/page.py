"""A record as one HTML page that needs nothing else: neither network nor server."""

import base64
import html
import json
import zlib
from importlib.resources import files

import numpy as np
import xarray

from gfsim.plotting.series import unfold
from gfsim.plotting.style import COLOURS


def page(record: xarray.Dataset, title: str) -> str:
    """The HTML of an interactive page: a time slider over the planes of states, linked curves of everything that has
    a clock, the claim table and the configuration.

    `record` may be any data set; `gfsim.plotting.series` says what is read as a clock, a curve or a state. Numbers
    are kept to five digits, at most 60 lines of 400 rows for each variable.

    Raises ValueError where plotly is not installed, and for claims or a configuration that are not JSON.
    """
    series, planes = unfold(record)
    content = {
        "title": title,
        "colours": [COLOURS[name] for name in ("flow", "gradient descent", "modified", "central", "other")]
        + [COLOURS["correlation flow"], COLOURS["reference"]],
        "series": [
            {"name": s.name, "clock": s.clock, "xName": s.x_name, "x": _shared(s.x), "y": _plain(s.y)}
            | {"labels": s.labels}
            for s in series
        ],
        "planes": [
            {"name": p.name, "clock": p.clock, "axes": p.axes, "labels": p.labels}
            | {"x": _plain(p.points[..., 0]), "y": _plain(p.points[..., 1])}
            for p in planes
        ],
        "claims": _stated(record, "claims", []),
        "configuration": _stated(record, "configuration", {}),
        "about": {name: str(value) for name, value in record.attrs.items() if name not in ("claims", "configuration")},
    }
    template = (files("gfsim.plotting") / "page.html").read_text(encoding="utf-8")
    parts = {"@TITLE@": html.escape(title), "@PLOTLY@": _packed(_plotly()), "@CONTENT@": _packed(json.dumps(content))}
    for mark, text in parts.items():
        template = template.replace(mark, text)
    return template


def _stated(record: xarray.Dataset, name: str, otherwise: list | dict) -> list | dict:
    if name not in record.attrs:
        return otherwise
    kind, text = type(otherwise), record.attrs[name]
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, kind):
        raise ValueError(f"{name} of a record must be JSON, a {kind.__name__}, was {text!r}")
    return found


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ValueError("plotly must be installed for a page (pip install 'gfsim[view]'), was not found") from error
    return get_plotlyjs()


def _packed(text: str) -> str:
    """Compressed, in characters that HTML leaves alone: plotly alone would be 5 MB."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _shared(x: np.ndarray) -> list[list[float | None]]:
    """One row where all lines have the same abscissae."""
    return _plain(x[:1] if (x == x[:1]).all() else x)


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[float(f"{v:.5g}") if np.isfinite(v) else None for v in line] for line in values]
