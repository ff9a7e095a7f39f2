"""Phase portraits as numbers; `gfsim.plotting` draws them."""

from gfsim.portraits.portrait import Portrait as Portrait
from gfsim.portraits.portrait import destinations as destinations
from gfsim.portraits.portrait import measured as measured
from gfsim.portraits.portrait import planar as planar
from gfsim.portraits.portrait import spherical as spherical
from gfsim.portraits.surfaces import PlanarField as PlanarField
from gfsim.portraits.surfaces import Slice as Slice
from gfsim.portraits.surfaces import plane_of_hessian as plane_of_hessian
from gfsim.portraits.surfaces import plane_of_trajectory as plane_of_trajectory
from gfsim.portraits.surfaces import plane_through as plane_through
