"""How many vectors of the size of θ a run holds at once."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import pytest

import gfsim as gf
from gfsim.simulation import integrate
from gfsim.solvers import RKC, Dopri5S

SIZE = 100_000


@pytest.mark.parametrize(("solver", "most"), [(Dopri5S(), 13), (dfx.Tsit5(), 13.1), (RKC(), 10), (dfx.Dopri8(), 20)])
def test_a_run_holds_few_vectors(monkeypatch, solver, most):
    """What the compiled loop is given, returns and needs in between, as the compiler counts it, beside the data (one
    vector of the size of θ) and two saved states."""
    advance, vectors = integrate.advance, []

    def watched(*arguments):
        used = advance.lower(*arguments).compile().memory_analysis()
        held = used.argument_size_in_bytes + used.temp_size_in_bytes
        vectors.append((held + used.output_size_in_bytes - used.alias_size_in_bytes) / (8 * SIZE) - 3)
        return advance(*arguments)

    monkeypatch.setattr(integrate, "advance", watched)
    problem = gf.Problem.from_loss(lambda theta: 0.25 * jnp.sum(theta**4), jnp.ones(SIZE))
    theta0, save = jax.random.normal(jax.random.key(0), (SIZE,)), gf.linear_spaced(0.05, 0.1, 2)
    gf.simulate(gf.GradientFlow(problem), theta0, 0.1, solver=solver, save=save)
    # The rest, hundredths of a vector, are numbers and partial sums.
    assert round(max(vectors), 1) == most
