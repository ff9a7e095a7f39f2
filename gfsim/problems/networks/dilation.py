"""Linear dilations d(s) = e^{sG} and the norm that is homogeneous under them."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.problems.checks import require_x64
from gfsim.types import Array, ArrayLike, Input, Scalar

# Newton's method doubles its digits; a step that would leave the bracket halves it instead.
_STEPS = 30
# Of a generator's eigenvectors; a generator beyond goes through `expm`, which costs more.
_WELL_CONDITIONED = 100.0

Matrix = tuple[tuple[float, ...], ...]


@final
class Dilation(eqx.Module):
    """d(s) = e^{sG} on R^d, strictly monotone in ‖x‖_P = √(xᵀPx), and its canonical homogeneous norm.

    ‖x‖_d = e^s where ‖d(−s)x‖_P = 1, and 0 at 0; ‖d(s)x‖_d = e^s‖x‖_d. It is found by Newton's method for s and
    differentiated through the implicit function, to any order: ∇‖x‖_d = ‖x‖_d·DᵀPy/(yᵀPGy) with D = d(−ln‖x‖_d),
    y = Dx. At 0 its gradient is given as 0. `P=None` solves PG + GᵀP = I.

    `generator` and P are part of the structure, no parameters: an instance with others compiles anew.

    Raises ValueError, each with its remedy, for matrices that are not square, finite and of one size, for a G that is
    not anti-Hurwitz (an eigenvalue with real part ≤ 0), and for a P that is not symmetric and positive definite or
    under which the dilation is not strictly monotone (PG + GᵀP not positive definite).

    Source: Polyakov, Generalized Homogeneity in Systems and Control, 2020.
    """

    generator: Matrix = eqx.field(static=True)
    P: Matrix = eqx.field(static=True)

    def __init__(self, generator: ArrayLike | list, P: ArrayLike | list | None = None):
        require_x64()
        G = _square("generator", generator)
        slowest = np.linalg.eigvals(G).real.min()
        if not slowest > 0:
            raise ValueError(
                "generator must be anti-Hurwitz, all eigenvalues with positive real part, the smallest was "
                f"{slowest:.4g}; {_remedy(G)}"
            )
        from scipy.linalg import solve_continuous_lyapunov  # heavy

        weight = solve_continuous_lyapunov(G.T, np.eye(len(G))) if P is None else _square("P", P)
        weight = _checked_weight(G, weight)
        self.generator, self.P = (tuple(map(tuple, matrix.tolist())) for matrix in (G, weight))

    @property
    def size(self) -> int:
        """d."""
        return len(self.generator)

    def __call__(self, s: Scalar, x: Input) -> Input:
        """d(s)x."""
        G = np.array(self.generator)
        values, vectors = np.linalg.eig(G)
        if np.linalg.cond(vectors) < _WELL_CONDITIONED:
            s, x = s.astype(values.dtype), x.astype(values.dtype)
            return jnp.real(vectors @ (jnp.exp(s * values) * (np.linalg.inv(vectors) @ x)))
        # Without its mean the exponent is smaller, and decay no longer comes out of cancellation.
        mean = np.trace(G) / len(G)
        return jnp.exp(s * mean) * (jax.scipy.linalg.expm(s * (G - mean * np.eye(len(G)))) @ x)

    def log_norm(self, x: Input) -> Scalar:
        """ln‖x‖_d, −∞ at 0."""
        rests = jnp.all(x == 0)
        return jnp.where(rests, -jnp.inf, _log_norm(self, jnp.where(rests, 1.0, x)))

    def norm(self, x: Input) -> Scalar:
        """‖x‖_d, 0 at 0."""
        rests = jnp.all(x == 0)
        return jnp.where(rests, 0.0, jnp.exp(_log_norm(self, jnp.where(rests, 1.0, x))))

    def project(self, x: Input) -> Input:
        """π_d(x) = d(−ln‖x‖_d)x, on the sphere xᵀPx = 1; 0 at 0."""
        rests = jnp.all(x == 0)
        safe = jnp.where(rests, 1.0, x)
        return jnp.where(rests, 0.0, self(-_log_norm(self, safe), safe))

    def rates(self) -> tuple[float, float]:
        """α ≤ β with e^{αs} ≤ ‖d(s)x‖_P/‖x‖_P ≤ e^{βs} for s ≥ 0: ‖x‖_d lies between ‖x‖_P^{1/α} and ‖x‖_P^{1/β}."""
        values, vectors = np.linalg.eigh(np.array(self.P))
        root = vectors * np.sqrt(values) @ vectors.T
        inner = root @ np.array(self.generator) @ np.linalg.inv(root)
        extremes = np.linalg.eigvalsh(0.5 * (inner + inner.T))
        return float(extremes[0]), float(extremes[-1])


@jax.custom_jvp
def _log_norm(dilation: Dilation, x: Input) -> Scalar:
    """ln‖x‖_d of x ≠ 0: s += f ln f/(yᵀQy), f = yᵀPy, Q = PG + GᵀP, y = d(−s)x, inside the exact bracket."""
    P, PG = _weights(dilation)
    largest = jnp.max(jnp.abs(x))
    unit = x / largest
    log_size = jnp.log(largest) + 0.5 * jnp.log(unit @ P @ unit)
    ends = log_size / jnp.asarray(dilation.rates())

    def step(_: Array, state: tuple[Scalar, Scalar, Scalar]) -> tuple[Scalar, Scalar, Scalar]:
        s, low, high = state
        y = dilation(-s, x)
        f = y @ P @ y
        low, high = jnp.where(f >= 1, s, low), jnp.where(f <= 1, s, high)
        newton = s + f * jnp.log(f) / (2 * (y @ PG @ y))
        inside = (newton >= low) & (newton <= high)
        return jnp.where(inside, newton, 0.5 * (low + high)), low, high

    # Rounding may put the root a little outside.
    slack = 1e-15 * (1 + jnp.max(jnp.abs(ends)))
    low, high = jnp.min(ends) - slack, jnp.max(ends) + slack
    return jax.lax.fori_loop(0, _STEPS, step, (0.5 * (low + high), low, high))[0]


@_log_norm.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Scalar, Scalar]:
    dilation, x = primals
    _, dx = tangents
    # Through _log_norm itself, so that this too can be differentiated.
    s = _log_norm(dilation, x)
    P, PG = _weights(dilation)
    y = dilation(-s, x)
    return s, (y @ P @ dilation(-s, dx)) / (y @ PG @ y)


def _weights(dilation: Dilation) -> tuple[np.ndarray, np.ndarray]:
    P = np.array(dilation.P)
    return P, P @ np.array(dilation.generator)


def _square(name: str, matrix: ArrayLike | list) -> Float[np.ndarray, "d d"]:
    try:
        given = np.asarray(matrix, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a square matrix of real numbers, was {matrix!r}") from error
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not np.all(np.isfinite(given)):
        raise ValueError(f"{name} must be a finite square matrix, was {given.tolist()}")
    return given


def _checked_weight(G: np.ndarray, P: np.ndarray) -> np.ndarray:
    """P, exactly symmetric."""
    if P.shape != G.shape or not np.allclose(P, P.T, rtol=1e-9, atol=0):
        raise ValueError(f"P must be a symmetric matrix of the generator's shape {G.shape}, was {P.tolist()}")
    P = 0.5 * (P + P.T)
    for matrix, what in ((P, "positive definite"), (P @ G + G.T @ P, "such that PG + GᵀP is positive definite")):
        least = np.linalg.eigvalsh(matrix)[0]
        if not least > 0:
            raise ValueError(
                f"P must be {what}, the smallest eigenvalue was {least:.4g}; leave P out to have it chosen by "
                "Lyapunov's equation PG + GᵀP = I"
            )
    return P


def _remedy(G: np.ndarray) -> str:
    if np.linalg.eigvals(G).real.max() < 0:
        return "use −generator (and the negative of the degree)"
    return "no P makes such a dilation monotone: use another generator"
