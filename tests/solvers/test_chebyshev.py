"""RKC against the scalar test equation, closed forms and diffrax's own conventions."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from gfsim.solvers import RKC, stability_interval
from gfsim.solvers.chebyshev import stabilised_stages, stages_for
from tests.systems import SYSTEMS


def amplification(s: int, z: jax.Array) -> jax.Array:
    """The factor by which s stages multiply y for y' = λy, hλ = z."""
    return jax.vmap(lambda z: stabilised_stages(lambda c, y: z * y, 1.0 + 0 * z, z, 1.0, jnp.array(s)))(z)


@pytest.mark.parametrize("s", [2, 3, 4, 5, 7, 10, 20, 50, 100, 250, 1000])
def test_stable_up_to_the_interval_of_each_stage_count(s):
    beta = float(stability_interval(s))
    z = -beta * jnp.concatenate([jnp.geomspace(1e-6, 1, 300), jnp.linspace(0.0, 1, 301)])
    assert float(jnp.max(jnp.abs(amplification(s, z)))) <= 1 + 1e-9
    assert beta == pytest.approx(0.653 * (s**2 - 1), rel=3e-3)


@pytest.mark.parametrize("s", [2, 3, 4, 5, 7, 10, 20, 50, 100, 250, 1000])
def test_unstable_beyond_the_interval(s):
    # Even polynomials leave at the interval's end, odd ones up to a quarter later.
    beyond = -stability_interval(s) * jnp.linspace(1.0, 1.25, 200)
    assert not float(jnp.max(jnp.abs(amplification(s, beyond)))) < 1.1  # an overflow is growth too


@pytest.mark.parametrize("s", [2, 3, 9, 40, 150, 400, 1000])
def test_stage_count_covers_what_it_is_asked_for(s):
    intervals = jnp.linspace(stability_interval(max(s - 1, 2)), stability_interval(s), 11)
    counts = jax.vmap(stages_for)(intervals)
    assert np.all(np.asarray(jax.vmap(stability_interval)(counts)) >= np.asarray(intervals))
    # 1.54 rounds 1/0.6534 up: half a per cent too many at most.
    assert int(jnp.max(counts)) <= np.ceil(1.005 * s) + 1


def slope_of_error(counts, errors) -> float:
    return float(-np.polyfit(np.log(counts), np.log(errors), 1)[0])


def solver_with_fixed_steps(field, y0, t1, saveat):
    """y at the saved times as a function of the step, compiled once."""

    def solve(step):
        term = dfx.ODETerm(lambda t, y, args: field(t, y))
        return dfx.diffeqsolve(term, RKC(), 0.0, t1, step, y0, saveat=saveat, max_steps=None).ys

    return jax.jit(solve)


@pytest.mark.parametrize("name", SYSTEMS)
def test_order_two(name):
    system = SYSTEMS[name]()
    solve = solver_with_fixed_steps(lambda t, y: -system.problem.grad(y), system.start, system.t1, dfx.SaveAt(t1=True))
    # The error constant rises as the stage count falls from many to two: stay among many stages, or at two.
    counts = np.array([160, 320, 640]) if system.stiffness > 1000 else np.array([320, 640, 1280, 2560])
    exact = system.exact(system.t1)
    errors = [float(jnp.linalg.norm(solve(system.t1 / n)[-1] - exact)) for n in counts]
    assert slope_of_error(counts, errors) == pytest.approx(2.0, abs=0.1)


def test_order_two_with_time_dependence_and_between_steps():
    rates = jnp.array([1.0, 10.0, 50.0])
    times = jnp.linspace(0.013, 1.987, 23)

    def field(t, y):
        # Prothero–Robinson: the exact solution is cos t in every component.
        return -rates * (y - jnp.cos(t)) - jnp.sin(t)

    solve = solver_with_fixed_steps(field, jnp.ones(3), 2.0, dfx.SaveAt(ts=times))
    counts = np.array([320, 640, 1280, 2560])
    errors = [float(jnp.max(jnp.abs(solve(2.0 / n) - jnp.cos(times)[:, None]))) for n in counts]
    assert slope_of_error(counts, errors) == pytest.approx(2.0, abs=0.1)


def adaptive(term, y0, t1, **options):
    return dfx.diffeqsolve(
        term,
        RKC(**options),
        0.0,
        t1,
        None,
        y0,
        stepsize_controller=dfx.PIDController(rtol=1e-8, atol=1e-10),
        max_steps=None,
    )


def test_pytree_states_jit_and_vmap_in_plain_diffrax():
    rates = {"fast": jnp.array([500.0, 40.0]), "slow": jnp.array(0.3)}

    def field(t, y, args):
        return jax.tree.map(lambda r, x: -r * x, rates, y)

    def end(scale):
        start = {"fast": scale * jnp.ones(2), "slow": scale}
        return jax.tree.map(lambda x: x[-1], adaptive(dfx.ODETerm(field), start, 3.0).ys)

    scales = jnp.array([0.5, 1.0, 2.0])
    together = jax.jit(jax.vmap(end))(scales)
    np.testing.assert_allclose(together["slow"], scales * np.exp(-0.9), rtol=1e-5)
    np.testing.assert_allclose(together["fast"], 0, atol=1e-6)
    alone = jax.tree.map(lambda *x: jnp.stack(x), *[end(s) for s in scales])
    np.testing.assert_allclose(together["slow"], alone["slow"], rtol=1e-9)


def test_events_work_in_plain_diffrax():
    event = dfx.Event(lambda t, y, args, **kwargs: y[0] - 0.5, optx.Newton(1e-8, 1e-8))
    found = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: -jnp.array([1.0, 100.0]) * y),
        RKC(),
        0.0,
        10.0,
        None,
        jnp.ones(2),
        stepsize_controller=dfx.PIDController(rtol=1e-7, atol=1e-9),
        event=event,
        max_steps=None,
    )
    assert float(found.ts[-1]) == pytest.approx(np.log(2), rel=1e-5)


def test_a_step_beyond_the_stage_limit_is_refused_before_it_is_computed():
    term = dfx.ODETerm(lambda t, y, args: -jnp.array([1.0, 1e4]) * y)
    solver = RKC(max_stages=5)
    state = solver.init(term, 0.0, 1.0, jnp.ones(2), None)
    _, error, _, after, _ = solver.step(term, 0.0, 1.0, jnp.ones(2), None, state, False)
    assert np.all(np.isinf(error))
    assert int(after.gradients - state.gradients) == 2
    assert float(solver.step_size(state, jnp.array(jnp.inf))) == pytest.approx(0.653 * 24 / 1.1e4, rel=1e-2)
    # and a controller gets through by shortening
    np.testing.assert_allclose(adaptive(term, jnp.ones(2), 0.5, max_stages=5).ys[-1], [np.exp(-0.5), 0], atol=1e-5)


def test_spectral_radius_follows_a_changing_hessian():
    system = SYSTEMS["quartic"]()
    term = dfx.ODETerm(lambda t, y, args: -system.problem.grad(y))
    solver, y = RKC(), system.start
    state = solver.init(term, 0.0, 0.1, y, None)
    step = eqx.filter_jit(lambda t, y, state: solver.step(term, t, t + 0.1, y, None, state, False))
    t = 0.0
    for _ in range(60):
        y, _, _, state, _ = step(jnp.asarray(t), y, state)
        t += 0.1
    # radius is that of the last step's start; H = r²(I + 2ûûᵀ) has λ_max = 3r².
    expected = 3 * float(jnp.sum(system.exact(t - 0.1) ** 2))
    assert float(state.radius) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("options", [{"max_stages": 1}, {"products": 0}, {"safety": 0.9}])
def test_bad_options(options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=rf"^{name} must be at least .*, was "):
        RKC(**options)
