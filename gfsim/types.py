"""Shaped types: the one vocabulary in which gfsim's signatures are written.

Dimension names: P parameters, n samples, d input coordinates, K outputs (absent for scalar networks).
jaxtyping gives them meaning; beartype checks them in the tests only.
"""

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray, Real

Scalar = Float[Array, ""]
ScalarLike = Real[ArrayLike, ""]
Time = Float[Array, ""]

Theta = Float[Array, "P"]
HessianMatrix = Float[Array, "P P"]

Input = Float[Array, "d"]
Output = Float[Array, "*K"]
Inputs = Float[Array, "n d"]
Targets = Float[Array, "n *target"]
Outputs = Float[Array, "n *K"]
PerSample = Float[Array, "n"]

Key = PRNGKeyArray

__all__ = [
    "Array",
    "ArrayLike",
    "HessianMatrix",
    "Input",
    "Inputs",
    "Key",
    "Output",
    "Outputs",
    "PerSample",
    "Scalar",
    "ScalarLike",
    "Targets",
    "Theta",
    "Time",
]
