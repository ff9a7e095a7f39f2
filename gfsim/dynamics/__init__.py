"""How the parameters move."""

from gfsim.dynamics.base import AbstractFlow as AbstractFlow
from gfsim.dynamics.correlation import CorrelationFlow as CorrelationFlow
from gfsim.dynamics.gradient import GradientFlow as GradientFlow
