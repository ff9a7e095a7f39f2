"""Is this installation numerically sound?"""

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable
from importlib.metadata import version

import gfsim
from gfsim.workbench.runtime import cache_folder

_EXTRAS = {"view": "plotly", "cluster": "distributed"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One examined thing: what was found and, where it is unsound, what to do."""

    name: str
    sound: bool
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Every finding, in order; a check that raises is an unsound finding of its own."""
    return [_guarded(check) for check in (_versions, _x64, _devices, _jit_against_eager, _known_flow, _cache, _extras)]


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        return Finding(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}", "reinstall gfsim")


def _versions() -> Finding:
    packages = ("jax", "jaxlib", "diffrax", "equinox", "optimistix", "lineax", "numpy", "scipy", "xarray")
    found = ", ".join((f"gfsim {gfsim.__version__}", *(f"{package} {version(package)}" for package in packages)))
    return Finding("versions", version("jax") != "0.10.2", found, "install another jax: 0.10.2 computes wrong numbers")


def _x64() -> Finding:
    import jax.numpy as jnp

    dtype = jnp.zeros(()).dtype
    return Finding("x64", dtype == "float64", str(dtype), "unset JAX_ENABLE_X64 and JAX_DEFAULT_DTYPE_BITS")


def _devices() -> Finding:
    import jax

    return Finding("devices", True, ", ".join(f"{device.platform}:{device.id}" for device in jax.devices()))


def jit_deviation(n: int, d: int) -> float:
    """Largest relative difference between the compiled and the eager Σ_k (W r)_k² over n rows r of length d.

    Source: jax issue 39103; a sound jax gives rounding, jax 0.10.2 gives numbers of order one on the CPU.
    """
    import jax
    import jax.numpy as jnp

    w, x = (jax.random.normal(jax.random.key(key), shape) for key, shape in enumerate(((d, d), (n, d))))

    def squared_norms(x):
        return jax.vmap(lambda r: jnp.sum((w @ r) ** 2))(x)

    eager = jnp.sum((x @ w.T) ** 2, axis=1)
    return float(jnp.max(jnp.abs(jax.jit(squared_norms)(x) - eager) / eager))


def _jit_against_eager() -> Finding:
    worst = max(jit_deviation(16385, d) for d in (3, 5, 6, 7))
    found = f"compiled and eager sums differ by {worst:.1e} (relative)"
    return Finding("jit against eager", worst < 1e-10, found, "install another jax (jax issue 39103)")


def _known_flow() -> Finding:
    """θ' = −diag(λ)θ has the solution e^{−λt}θ(0)."""
    import jax.numpy as jnp

    rates, start, t1 = jnp.array([0.5, 1.0, 3.0]), jnp.array([1.0, -2.0, 0.5]), 2.0
    problem = gfsim.Problem.from_loss(lambda theta: 0.5 * jnp.sum(rates * theta**2), start)
    end = gfsim.simulate(gfsim.GradientFlow(problem), start, t1=t1, rtol=1e-8).theta[-1]
    error = float(jnp.linalg.norm(end - jnp.exp(-rates * t1) * start))
    return Finding("known flow", error < 1e-6, f"error {error:.1e} at rtol 1e-8", "run the tests: `make test`")


def _cache() -> Finding:
    folder = cache_folder()
    remedy = "make the folder writable, or set XDG_CACHE_HOME to one that is"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("cache folder", False, f"{folder}: {error.strerror}", remedy)
    return Finding("cache folder", True, str(folder))


def _extras() -> Finding:
    present = {extra: importlib.util.find_spec(package) is not None for extra, package in _EXTRAS.items()}
    found = ", ".join(f"{extra}: {'installed' if here else 'not installed'}" for extra, here in present.items())
    return Finding("optional extras", True, found)
