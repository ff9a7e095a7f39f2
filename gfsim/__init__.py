"""gfsim: exact gradient flow of neural networks.

The names below are loaded when they are first used, so that `import gfsim` costs nothing and the command line
answers before JAX is imported. To export a name, add its line to the block: nothing else is needed.
"""

from typing import TYPE_CHECKING

from gfsim.exports import exports

if TYPE_CHECKING:
    from gfsim import landscape as landscape
    from gfsim import plotting as plotting
    from gfsim import portraits as portraits
    from gfsim import solvers as solvers
    from gfsim import verification as verification
    from gfsim.dynamics import CentralFlow as CentralFlow
    from gfsim.dynamics import CorrelationFlow as CorrelationFlow
    from gfsim.dynamics import DualFlow as DualFlow
    from gfsim.dynamics import GradientDescent as GradientDescent
    from gfsim.dynamics import GradientFlow as GradientFlow
    from gfsim.dynamics import MarginFlow as MarginFlow
    from gfsim.dynamics import ModifiedFlow as ModifiedFlow
    from gfsim.dynamics import RMSPropCentralFlow as RMSPropCentralFlow
    from gfsim.dynamics.high_order import HighOrderDescent as HighOrderDescent
    from gfsim.dynamics.high_order import HighOrderFlow as HighOrderFlow
    from gfsim.dynamics.optax_descent import OptaxDescent as OptaxDescent
    from gfsim.problems import Dataset as Dataset
    from gfsim.problems import Problem as Problem
    from gfsim.problems import data as data
    from gfsim.problems import losses as losses
    from gfsim.problems import networks as networks
    from gfsim.simulation import Outcome as Outcome
    from gfsim.simulation import Trajectory as Trajectory
    from gfsim.simulation import events as events
    from gfsim.simulation import every_step as every_step
    from gfsim.simulation import linear_spaced as linear_spaced
    from gfsim.simulation import log_spaced as log_spaced
    from gfsim.simulation import observables as observables
    from gfsim.simulation import simulate as simulate
    from gfsim.verification import Certificate as Certificate
    from gfsim.verification import Claim as Claim
    from gfsim.verification import certify as certify
    from gfsim.verification import compare as compare
    from gfsim.workbench import Scenario as Scenario
    from gfsim.workbench import citation as citation

__version__ = "0.1.0"


__getattr__, __dir__, __all__ = exports(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
