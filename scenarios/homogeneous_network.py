"""Networks homogeneous by construction: trained on a sphere, right at every scale."""

import dataclasses
import functools

import jax
import numpy as np
import xarray

import gfsim as gf
from gfsim.parallel import in_parallel
from gfsim.problems.networks import Dilation, HomogeneousNetwork
from gfsim.verification.homogeneous_cases import (
    balance,
    batched,
    circle,
    drawn,
    field,
    followed,
    norm_gaps,
    relative,
    target,
    target_at,
)
from gfsim.verification.zoomed_shapes import WEIGHTS, moments

POLYAKOV, DERIVED = "Polyakov", "[derived]"
G, P, NU = np.diag([2.0, 1.0]), np.eye(2), 2.0
DEGREES, SCALES = (-0.5, 0.0, 0.5), (0.3, 0.5, 1.0, 2.0, 3.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HomogeneousNetworks(gf.Scenario):
    """A network made homogeneous under d(s) = e^{sG} errs at every scale as it does on the sphere it was trained on.

    Gradient flow on 64 points of the unit circle, extrapolated to 1e6 beside the plain network; the canonical norm
    against its closed form; a wrong degree and a wrong generator; (G, ν) identified; one network as a vector field of
    degrees −½, 0 and ½, its flow's symmetry and its return map; the balance law of parameters; shapes recognised by
    their moments at scales unseen. Controls: the plain networks, the wrong generator.

    Source: Polyakov, homogeneous artificial neural networks; Generalized Homogeneity in Systems and Control, 2020.
    Run time: 1 min on two cores, half of it compilation.
    """

    least: float = 1e-7
    """Loss at which training on the circle ends."""
    shapes: int = 90
    """Training images, a third of each kind; as many at each scale of the test."""

    def __post_init__(self):
        super().__post_init__()
        if not 1e-9 <= self.least <= 1e-4:
            raise ValueError(f"least must lie between 1e-9 and 1e-4, was {self.least}")
        if not 60 <= self.shapes <= 1000:
            raise ValueError(f"shapes must lie between 60 and 1000, was {self.shapes}")

    def reduced(self):
        return dataclasses.replace(self, least=2.5e-7, shapes=60)

    def simulate(self) -> xarray.Dataset:
        parts = (self.circle, self.zoom, self.field, self.norm, self.mistakes)
        return xarray.merge(in_parallel([functools.partial(part) for part in parts]))

    def trained(self, network, data: gf.Dataset, loss, least: float):
        """The network after gradient flow to a loss of `least`."""
        problem, until = gf.Problem(network, data, loss), gf.events.loss_below(least)
        run = gf.simulate(gf.GradientFlow(problem), problem.theta, 1e8, until=until, rtol=self.rtol)
        self.announce(f"loss {float(run.potential[-1]):.1e} at t = {float(run.t[-1]):.1e}: {run.outcome}")
        return problem.network_at(run.theta[-1])

    def circle(self) -> xarray.Dataset:
        """A function of degree 2 from the unit circle, which for P = I is the sphere of ‖·‖_d = 1 too."""
        start = drawn(2, 30, 1, self.seed)
        inner = self.trained(start, gf.Dataset(circle(64), target(circle(64))), gf.losses.Square(), self.least)
        network, untrained = (HomogeneousNetwork(n, G, NU, P) for n in (inner, start))
        sphere, radii = circle(1000), 10.0 ** np.arange(7)
        wrong = np.abs(target(sphere) - batched(inner, sphere))
        errors, identity = [], 0.0
        for r in radii:
            x = sphere * r ** np.diag(G)
            exact, found, plain = target(x), batched(network, x), batched(inner, x)
            errors.append([relative(exact, found), relative(exact, plain)])
            identity = max(identity, float(np.max(np.abs(np.abs(exact - found) / r**NU - wrong))))
        shifted = sphere * 32.0 ** np.diag(G)
        squares = [np.mean((batched(untrained, x) - target(x)) ** 2) for x in (sphere, shifted)]
        return xarray.Dataset(
            {
                "error": (("radius", "kind"), errors),
                "identity": identity,
                "shift": squares[1] / squares[0] / 32.0 ** (2 * NU),
            },
            {"radius": radii, "kind": ["homogeneous", "plain"]},
        )

    def norm(self) -> xarray.Dataset:
        """The canonical norm and its derivatives, brought back to the sphere."""
        return xarray.Dataset({"norm_gap": ("derivative", norm_gaps(self.seed))})

    def mistakes(self) -> xarray.Dataset:
        """A wrong degree, a wrong generator, identification, and the balance law of parameters."""
        sphere, radii = circle(1000), 10.0 ** np.arange(7)
        x, exact = sphere * 1e3 ** np.diag(G), np.max(np.abs(target(sphere)))
        other = batched(HomogeneousNetwork(target_at, G, NU + 0.1, P), x)
        degree = float(np.max(np.abs(other - target(x))) / 1e6 / exact)
        network, growth = HomogeneousNetwork(target_at, np.diag([2.5, 1.0]), NU, P), []
        for r in radii:
            x = sphere * r ** np.array([2.5, 1.0])
            growth.append(float(np.max(np.abs(batched(network, x) - target(x)))) / r**NU)
        points = np.random.default_rng(self.seed).uniform(-1, 1, (2000, 2))
        points = points[np.linalg.norm(points, axis=1) > 0.3]
        slopes = jax.vmap(jax.grad(target_at))(points)
        found = [gf.networks.identify(points, target(points), *g) for g in ((slopes,), ())]
        return xarray.Dataset(
            {
                "wrong_degree": degree,
                "wrong_generator": ("radius", growth),
                "identified": (
                    "way",
                    [np.max(np.abs(f.generator * 1.5 - G)) + abs(f.degree * 1.5 - NU) for f in found],
                ),
                "balance": balance(self.seed),
            },
            {"radius": radii},
        )

    def field(self) -> xarray.Dataset:
        """One network as a field of three degrees: errors far out, flow symmetry, and returns to x1 = 0."""
        data = gf.Dataset(circle(64), field(circle(64)))
        inner = self.trained(drawn(2, 20, 2, self.seed + 1), data, gf.losses.Square(), 1e-4)
        rows, orbit, symmetry = [], None, []
        for mu in DEGREES:
            network = HomogeneousNetwork(inner, G, mu, P, field=True)
            solve = functools.partial(followed, jax.jit(lambda x, network=network: network(x)))
            start, times, s = np.array([0.3, 1.0]), np.linspace(0, 2, 9), 1.5
            near = solve(start, times * np.exp(mu * s), 2 * np.exp(mu * s)).y * np.exp(s * np.diag(G))[:, None]
            far = solve(start * np.exp(s * np.diag(G)), times, 2.0).y
            symmetry.append(np.max(np.abs(near - far)) / np.max(np.abs(far)))
            whole = solve(start, None, {-0.5: 7.0, 0.0: 16.0, 0.5: 50.0}[mu])
            hits = whole.t_events[0][:4]
            rows.append([hits, np.abs(whole.y_events[0][:4, 1])])
            orbit = solve(start, np.linspace(0, 16, 400), 16.0).y.T if mu == 0 else orbit
        exact = field(circle(1000)) * 1e3 ** np.diag(G)
        far = batched(HomogeneousNetwork(inner, G, 0.0, P, field=True), circle(1000) * 1e3 ** np.diag(G))
        near = relative(field(circle(1000)), batched(inner, circle(1000)))
        return xarray.Dataset(
            {
                "returns": (("mu", "quantity", "return"), np.array(rows)),
                "symmetry": ("mu", symmetry),
                "orbit": (("moment", "axis"), orbit),
                "field_error": ("place", [near, relative(exact / 1e3 ** np.diag(G), far / 1e3 ** np.diag(G))]),
            },
            {"mu": list(DEGREES)},
        )

    def zoom(self) -> xarray.Dataset:
        """Three shapes through 13 moments, from their projections at scale 1 and, as a control, from themselves."""
        random, kinds = np.random.default_rng(self.seed), np.arange(self.shapes) % 3.0
        x, inner = moments(kinds, 1.0, random), drawn(WEIGHTS.size, 12, 3, self.seed + 2)
        rows, tests = [], [moments(kinds, scale, random) for scale in SCALES]
        for inputs, read in ((batched(Dilation(np.diag(WEIGHTS)).project, x), True), (x, False)):
            network = self.trained(inner, gf.Dataset(inputs, kinds), gf.losses.CrossEntropy(), 0.05)
            network = HomogeneousNetwork(network, np.diag(WEIGHTS), 0.0) if read else network
            rows.append([np.mean(np.argmax(batched(network, z), axis=1) == kinds) for z in tests])
        return xarray.Dataset({"accuracy": (("kind", "scale"), rows)}, {"scale": list(SCALES)})

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        error, returns, fields = record["error"].values, record["returns"].values, record["field_error"].values
        claims = [
            gf.Claim(f"canonical norm, {name}", POLYAKOV, 0, gap, 1e-12, scale="absolute")
            for name, gap in zip(("value", "gradient", "Hessian"), record["norm_gap"].values, strict=True)
        ]
        for mu, (times, sizes), gap in zip(DEGREES, returns, record["symmetry"].values, strict=True):
            periods, factor = np.diff(times), sizes[1:] / sizes[:-1]
            claims += [
                gf.Claim(f"field, μ = {mu:g}: flow symmetry", POLYAKOV, 0, gap, 1e-8, scale="absolute"),
                gf.Claim(f"μ = {mu:g}: ratio of periods", DERIVED, factor[0] ** -mu, periods[1] / periods[0], 1e-6),
                gf.Claim(f"μ = {mu:g}: same orbit", DERIVED, returns[1, 1, 1] / returns[1, 1, 0], factor[-1], 1e-6),
            ]
        zoomed, growth = record["accuracy"], record["wrong_generator"].values
        return [
            *claims,
            gf.Claim("extrapolation identity", DERIVED, 0, record["identity"], 1e-12, scale="absolute"),
            gf.Claim("homogeneous: error at 1e3", DERIVED, 1e-3, error[3, 0], 0, "at_most"),
            gf.Claim("homogeneous: error 1e6 / sphere", DERIVED, 1, error[-1, 0] / error[0, 0], 1e-9),
            gf.Claim("control, plain: error at 10", DERIVED, 0.9, error[1, 1], 0, "at_least"),
            gf.Claim("control, plain: error at 1e3", DERIVED, 0.9, error[3, 1], 0, "at_least"),
            gf.Claim("shift law, s = ln 32", DERIVED, 1, record["shift"], 1e-14),
            gf.Claim("ν + 0.1 at 1e3: error / max|f|", DERIVED, 1e3**0.1 - 1, record["wrong_degree"], 1e-10),
            gf.Claim("G + 0.5: power of the error", DERIVED, 0.5, np.log10(growth[-1] / growth[-2]), 0.02),
            gf.Claim("(G, ν) from gradients: error", DERIVED, 0, record["identified"][0], 1e-10, scale="absolute"),
            gf.Claim("(G, ν) from data: error", DERIVED, 0, record["identified"][1], 0.02, scale="absolute"),
            gf.Claim("learned field: error at 1e3 / sphere", DERIVED, 1, fields[1] / fields[0], 1e-9),
            gf.Claim("balance law: rate / law", DERIVED, 1, record["balance"], 1e-13),
            gf.Claim("zoom: least accuracy", DERIVED, 0.95, zoomed[0].min(), 0, "at_least"),
            gf.Claim("control, plain: accuracy at 0.3", DERIVED, 0.7, zoomed[1, 0], 0, "at_most"),
        ]
