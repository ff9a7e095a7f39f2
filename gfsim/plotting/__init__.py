"""How it looks."""

from gfsim.plotting.curves import power_law as power_law
from gfsim.plotting.curves import residuals as residuals
from gfsim.plotting.curves import weight_images as weight_images
from gfsim.plotting.film import film as film
from gfsim.plotting.page import page as page
from gfsim.plotting.phase import basin_palette as basin_palette
from gfsim.plotting.phase import iterates as iterates
from gfsim.plotting.phase import path as path
from gfsim.plotting.phase import phase_portrait as phase_portrait
from gfsim.plotting.sheets import sheets as sheets
from gfsim.plotting.sphere import sphere_points as sphere_points
from gfsim.plotting.sphere import sphere_portrait as sphere_portrait
from gfsim.plotting.style import COLOURS as COLOURS
from gfsim.plotting.style import VENUES as VENUES
from gfsim.plotting.style import shades as shades
from gfsim.plotting.style import style as style
