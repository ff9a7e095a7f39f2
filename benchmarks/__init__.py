"""What gfsim costs, beside its peers where it has any; `make bench` runs all of it."""

from gfsim.workbench.runtime import prepare_jax

# Before any of them imports JAX.
prepare_jax()
