"""One run, from dynamics and a start to a trajectory."""

from gfsim.simulation import events as events
from gfsim.simulation import observables as observables
from gfsim.simulation.outcome import Outcome as Outcome
from gfsim.simulation.save import every_step as every_step
from gfsim.simulation.save import linear_spaced as linear_spaced
from gfsim.simulation.save import log_spaced as log_spaced
from gfsim.simulation.simulate import simulate as simulate
from gfsim.simulation.trajectory import Trajectory as Trajectory
