"""Can a run be trusted, and does it say what the theorem says?

Loaded when first used, as in `gfsim`: to fit a law to a record takes no JAX.
"""

from typing import TYPE_CHECKING

from gfsim.exports import exports

if TYPE_CHECKING:
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
    from gfsim.verification.tangent_kernel import structure as structure

__getattr__, __dir__, __all__ = exports(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
