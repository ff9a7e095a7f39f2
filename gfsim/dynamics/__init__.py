"""How the parameters move; what needs optax is in `optax_descent` and `high_order`, since it takes long to import."""

from gfsim.dynamics.base import AbstractFlow as AbstractFlow
from gfsim.dynamics.central import CentralFlow as CentralFlow
from gfsim.dynamics.central import RMSPropCentralFlow as RMSPropCentralFlow
from gfsim.dynamics.correlation import CorrelationFlow as CorrelationFlow
from gfsim.dynamics.descent import AbstractDescent as AbstractDescent
from gfsim.dynamics.descent import GradientDescent as GradientDescent
from gfsim.dynamics.dual import DualFlow as DualFlow
from gfsim.dynamics.gradient import GradientFlow as GradientFlow
from gfsim.dynamics.margin import MarginFlow as MarginFlow
from gfsim.dynamics.modified import ModifiedFlow as ModifiedFlow
