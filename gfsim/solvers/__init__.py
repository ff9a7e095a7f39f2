"""How motion is integrated; nothing here knows a network."""

from gfsim.solvers.base import AbstractFlowSolver as AbstractFlowSolver
from gfsim.solvers.bdf import BDF as BDF
from gfsim.solvers.chebyshev import RKC as RKC
from gfsim.solvers.chebyshev import RKCState as RKCState
from gfsim.solvers.chebyshev import stability_interval as stability_interval
from gfsim.solvers.dormand_prince import Dopri5S as Dopri5S
from gfsim.solvers.tableau import real_stability_limit as real_stability_limit
