"""Can a run be trusted, and does it say what the theorem says?"""

from gfsim.verification.certificate import Certificate as Certificate
from gfsim.verification.certificate import certify as certify
from gfsim.verification.claims import Claim as Claim
from gfsim.verification.comparison import compare as compare
from gfsim.verification.extinction import extinction_time as extinction_time
from gfsim.verification.invariants import energy_residual as energy_residual
from gfsim.verification.invariants import invariant_drift as invariant_drift
from gfsim.verification.scaling import Fit as Fit
from gfsim.verification.scaling import PowerLaw as PowerLaw
from gfsim.verification.scaling import bootstrap_fit as bootstrap_fit
from gfsim.verification.scaling import fit_power_law as fit_power_law
from gfsim.verification.shadow import Shadow as Shadow
from gfsim.verification.shadow import shadow_error as shadow_error
from gfsim.verification.structure import structure as structure
