"""Matrix factorisations, which on the CPU are LAPACK's.

jaxlib 0.10.1 hands the matrices of a batch to XLA's threads, and waits for them in one of these threads. As many such
calls at once as there are threads, from several programs or from one, wait for each other without end; a single matrix
is handed to nobody.
"""

import re
from collections.abc import Callable
from typing import Any

import jax

_ROUTINES = re.compile(
    r"= (cholesky|eigh?|svd|lu|geqrf|geqp3|qr|householder_product|hessenberg|schur|tridiagonal(_solve)?)\b"
)


def factorises(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether `function` of such arguments factorises matrices."""
    return bool(_ROUTINES.search(str(jax.make_jaxpr(function)(*arguments))))
