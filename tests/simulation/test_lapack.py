"""Which programs factorise matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.simulation.lapack import factorises

ROUTINES = {
    "cholesky": jnp.linalg.cholesky,
    "eigenvalues": jnp.linalg.eigvalsh,
    "singular values": lambda a: jnp.linalg.svd(a, compute_uv=False),
    "qr": lambda a: jnp.linalg.qr(a)[1],
    "inverse": jnp.linalg.inv,
    "determinant": lambda a: jnp.linalg.slogdet(a)[1],
    "solution": lambda a: jnp.linalg.solve(a, a[0]),
    "in a loop": lambda a: jax.lax.while_loop(lambda x: x[0, 0] < 0, jnp.linalg.inv, a),
    "in a branch": lambda a: jax.lax.cond(a[0, 0] > 0, jnp.linalg.inv, lambda a: a, a),
    "behind jit": jax.jit(jnp.linalg.inv),
    "of a gradient": jax.grad(lambda a: jnp.linalg.eigvalsh(a)[0]),
}
OTHERS = {
    "product": lambda a: a @ a,
    "norm": jnp.linalg.norm,
    "sum": jnp.sum,
    "convolution": lambda a: jnp.convolve(a[0], a[1]),
}


@pytest.mark.parametrize("name", ROUTINES)
def test_factorisations_are_found(name):
    assert factorises(ROUTINES[name], np.eye(3))


@pytest.mark.parametrize("name", OTHERS)
def test_other_operations_are_not_taken_for_factorisations(name):
    assert not factorises(OTHERS[name], np.eye(3))
