"""Binary images of shapes at several scales, seen through their moments."""

import numpy as np
from jaxtyping import Float

# Pixels per side, over the square |x|, |y| ≤ 4; a shape of scale 1 has a radius of about 1.
_PIXELS, _HALF = 192, 4.0
ORDERS = tuple((k - j, j) for k in (0, 2, 3, 4) for j in range(k + 1))
WEIGHTS = np.array([float(i + j + 2) for i, j in ORDERS])
"""Under a zoom by e^s the moment of order (i, j) is multiplied by e^{(i + j + 2)s}."""


def moments(kinds: Float[np.ndarray, "n"], scale: float, random: np.random.Generator) -> Float[np.ndarray, "n moments"]:
    """Central moments ∫x^i y^j of ellipses (0), rings (1) and triangles (2), turned and stretched at random."""
    axis = (np.arange(_PIXELS) + 0.5) * (2 * _HALF / _PIXELS) - _HALF
    x, y = np.meshgrid(axis, axis)
    rows = []
    for kind in kinds:
        angle, stretch = random.uniform(0, 2 * np.pi), random.uniform(1.0, 1.3)
        u = (np.cos(angle) * x + np.sin(angle) * y) / scale
        v = (np.cos(angle) * y - np.sin(angle) * x) / scale * stretch
        radius = u**2 + v**2
        inside = [radius < 1, (radius > 0.5) & (radius < 1), (v > -0.6) & (3**0.5 * abs(u) + v < 1.2)][int(kind)]
        px, py = x[inside], y[inside]
        px, py = px - px.mean(), py - py.mean()
        rows.append([np.sum(px**i * py**j) * (axis[1] - axis[0]) ** 2 for i, j in ORDERS])
    return np.array(rows)
