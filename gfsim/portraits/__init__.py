"""Phase portraits as numbers; `gfsim.plotting` draws them.

Loaded when first used, as in `gfsim`: to draw a portrait from a record takes no JAX.
"""

from typing import TYPE_CHECKING

from gfsim.exports import exports

if TYPE_CHECKING:
    from gfsim.portraits.compute import destinations as destinations
    from gfsim.portraits.compute import measured as measured
    from gfsim.portraits.compute import planar as planar
    from gfsim.portraits.compute import spherical as spherical
    from gfsim.portraits.portrait import Portrait as Portrait
    from gfsim.portraits.surfaces import PlanarField as PlanarField
    from gfsim.portraits.surfaces import Slice as Slice
    from gfsim.portraits.surfaces import plane_of_hessian as plane_of_hessian
    from gfsim.portraits.surfaces import plane_of_trajectory as plane_of_trajectory
    from gfsim.portraits.surfaces import plane_through as plane_through

__getattr__, __dir__, __all__ = exports(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
