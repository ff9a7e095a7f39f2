"""How a run is described, saved, checked, cited and drawn."""

from gfsim.workbench.citations import citation as citation
from gfsim.workbench.record import load_record as load_record
from gfsim.workbench.record import save_record as save_record
from gfsim.workbench.scenario import Scenario as Scenario
