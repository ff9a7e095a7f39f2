"""Bad inputs to the library: what is done, the argument at fault, and what else the message must say.

Run as a program it tries them all and prints what each raised, as JSON: without the tests' run-time type checks, as a
user would meet it.
"""

import functools
import json
import linecache
import sys
import tempfile
import traceback
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray

import gfsim as gf

KEY = jax.random.key(0)
NAN, INF = float("nan"), float("inf")


@functools.cache
def things() -> types.SimpleNamespace:
    """What is well made, shared by all cases."""
    data = gf.Dataset(np.eye(3, 2), [1.0, -1.0, 1.0])
    network = gf.networks.TwoLayer(2, 2, gf.networks.ReLUPower(2), key=KEY)
    problem = gf.Problem(network, data, gf.losses.Logistic())
    square = gf.Problem(network, data, gf.losses.Square())
    bowl = gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2), jnp.ones(2))
    flow = gf.GradientFlow(bowl)
    here = Path(tempfile.mkdtemp())
    run = gf.simulate(flow, bowl.theta, 1.0, save=gf.linear_spaced(0, 1, 3))
    descent = gf.simulate(gf.GradientDescent(bowl, 0.1), bowl.theta, 1.0)
    tanh = gf.Problem(gf.networks.TwoLayer(2, 2, jnp.tanh, key=KEY), data, gf.losses.Logistic())
    relu = gf.networks.TwoLayer(2, 2, gf.networks.ReLUPower(1), key=KEY)
    files = {
        "text.npz": b"words",
        "short.npz": b"PK\x03\x04" + bytes(30),
        "empty.csv": b"",
        "words.csv": b"1,2\n3,many\n",
        "ragged.csv": b"1,2\n3\n",
        "narrow.csv": b"1\n2\n",
        "binary.csv": b"\xff\xfe\x00\x01",
        "nan.csv": b"1,2\nnan,1\n",
        "text.nc": b"words",
        "hdf.nc": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "old.bin": b"not a checkpoint",
    }
    for name, content in files.items():
        (here / name).write_bytes(content)
    np.savez(here / "other.npz", x=np.ones(3))
    np.savez(here / "lengths.npz", inputs=np.ones((3, 2)), targets=np.ones(2))
    np.savez(here / "objects.npz", inputs=np.array([{}, {}]), targets=np.ones(2))
    xarray.Dataset({"x": 1.0}).to_netcdf(here / "foreign.nc")
    return types.SimpleNamespace(**{k: v for k, v in locals().items() if k not in ("files", "name", "content")})


def simulated(*, dynamics=None, theta0=None, t1=1.0, **options):
    t = things()
    return gf.simulate(
        t.flow if dynamics is None else dynamics, t.bowl.theta if theta0 is None else theta0, t1, **options
    )


def planar(field=None, **options):
    return gf.portraits.planar(things().bowl if field is None else field, (-1.0, 1.0), (-1.0, 1.0), **options)


def same(x):
    return x


def slice_of(axes):
    return gf.portraits.Slice(things().bowl, jnp.zeros(2), axes)


def whole_sphere():
    return gf.portraits.spherical(same, parts=(), resolution=4)


def two_layer(in_size=2, width=2, activation=jnp.tanh, key=KEY):
    return gf.networks.TwoLayer(in_size, width, activation, key=key)


def claimed(**options):
    return gf.Claim(**{"name": "n", "source": "s", "predicted": 1, "measured": 1, "tolerance": 0.1, **options})


def compared(**options):
    return gf.compare(things().bowl, **{"theta0": things().bowl.theta, "t1": 1.0, "step_sizes": (0.1, 0.2), **options})


def bootstrapped(**options):
    return gf.verification.bootstrap_fit([1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 3.0], [0, 0, 1, 1], **options)


def rmsprop(moment0, **options):
    return gf.RMSPropCentralFlow(things().bowl, 0.1, moment0, **options)


def load(name):
    from gfsim.workbench import load_record

    return load_record(things().here / name)


# Each: the argument that the message must name, what it must say of what was given, and the call.
CASES = [
    # Data sets.
    ("inputs", "nan at index (1, 0)", lambda: gf.Dataset([[1.0], [NAN]], [1, -1])),
    ("inputs", "inf at index", lambda: gf.Dataset([[1.0], [INF]], [1, -1])),
    ("targets", "nan at index", lambda: gf.Dataset([[1.0], [2.0]], [1, NAN])),
    ("inputs", "was (2,)", lambda: gf.Dataset([1.0, 2.0], [1, -1])),
    ("inputs", "was (2, 1, 1)", lambda: gf.Dataset(np.ones((2, 1, 1)), [1, -1])),
    ("targets", "was (2, 1, 1)", lambda: gf.Dataset(np.ones((2, 1)), np.ones((2, 1, 1)))),
    ("targets", "2, was 3", lambda: gf.Dataset(np.ones((2, 1)), np.ones(3))),
    ("inputs", "(0, 2)", lambda: gf.Dataset(np.ones((0, 2)), [])),
    ("inputs", "ragged", lambda: gf.Dataset([[1.0, 2.0], [3.0]], [1, -1])),
    ("inputs", "type <U1", lambda: gf.Dataset([["a"], ["b"]], [1, -1])),
    ("inputs", "complex128", lambda: gf.Dataset(np.ones((2, 1), complex), [1, -1])),
    ("inputs", "object", lambda: gf.Dataset([[None], [1.0]], [1, -1])),
    ("classes", "was (3, 3)", lambda: gf.data.digits((3, 3))),
    ("classes", "was (3, 12)", lambda: gf.data.digits((3, 12))),
    ("classes", "was 35", lambda: gf.data.digits(35)),
    ("classes", "was '35'", lambda: gf.data.digits("35")),
    ("classes", "was (3,)", lambda: gf.data.digits((3,))),
    ("classes", "was ([3], 5)", lambda: gf.data.digits(([3], 5))),
    ("means", "was (2,)", lambda: gf.data.gaussians([0.0, 1.0], 1.0, 10, KEY)),
    ("means", "[[nan]", lambda: gf.data.gaussians([[NAN], [1.0]], 1.0, 10, KEY)),
    ("std", "was -1", lambda: gf.data.gaussians([[0.0], [1.0]], -1.0, 10, KEY)),
    ("std", "was 'wide'", lambda: gf.data.gaussians([[0.0], [1.0]], "wide", 10, KEY)),
    ("n", "was 1", lambda: gf.data.gaussians([[0.0], [1.0]], 1.0, 1, KEY)),
    ("n", "was 2.5", lambda: gf.data.gaussians([[0.0], [1.0]], 1.0, 2.5, KEY)),
    ("key", "was 0", lambda: gf.data.sphere(3, 2, 0)),
    ("d", "was 0", lambda: gf.data.sphere(3, 0, KEY)),
    ("key", "key<fry>[2]", lambda: gf.data.sphere(3, 2, jax.random.split(KEY))),
    ("network", "function had None", lambda: gf.data.teacher(lambda x: x[0], 3, KEY)),
    ("y", "was of type <U1", lambda: gf.data.orthogonal(["a"])),
    ("path", "gone.npz", lambda: gf.data.from_file(things().here / "gone.npz")),
    ("path", "was 'data.txt'", lambda: gf.data.from_file("data.txt")),
    ("path", "was 7", lambda: gf.data.from_file(7)),
    ("path", "text.npz", lambda: gf.data.from_file(things().here / "text.npz")),
    ("path", "short.npz", lambda: gf.data.from_file(things().here / "short.npz")),
    ("path", "held x", lambda: gf.data.from_file(things().here / "other.npz")),
    ("targets", "3, was 2", lambda: gf.data.from_file(things().here / "lengths.npz")),
    ("path", "objects.npz", lambda: gf.data.from_file(things().here / "objects.npz")),
    ("path", "held none", lambda: gf.data.from_file(things().here / "empty.csv")),
    ("line 2, column 2", "was 'many'", lambda: gf.data.from_file(things().here / "words.csv")),
    ("line 2", "had 1", lambda: gf.data.from_file(things().here / "ragged.csv")),
    ("path", "had 1", lambda: gf.data.from_file(things().here / "narrow.csv")),
    ("path", "binary.csv", lambda: gf.data.from_file(things().here / "binary.csv")),
    ("inputs", "was nan at index (1, 0)", lambda: gf.data.from_file(things().here / "nan.csv")),
    # Networks.
    ("in_size", "was 0", lambda: two_layer(in_size=0)),
    ("in_size", "was 2.0", lambda: two_layer(in_size=2.0)),
    ("width", "was -3", lambda: two_layer(width=-3)),
    ("width", "was True", lambda: two_layer(width=True)),
    ("activation", "was 'relu'", lambda: two_layer(activation="relu")),
    ("key", "was 0", lambda: two_layer(key=0)),
    ("sizes", "was 7", lambda: gf.networks.FeedForward(7, jnp.tanh, key=KEY)),
    ("sizes", "was (7,)", lambda: gf.networks.FeedForward((7,), jnp.tanh, key=KEY)),
    ("sizes[1]", "was 0", lambda: gf.networks.FeedForward((7, 0, 1), jnp.tanh, key=KEY)),
    ("activation", "was None", lambda: gf.networks.FeedForward((7, 2, 1), None, key=KEY)),
    ("sizes", "was '731'", lambda: gf.networks.DeepLinear("731", key=KEY)),
    ("size", "was 0", lambda: gf.networks.DiagonalLinear(0)),
    ("p", "was -1", lambda: gf.networks.ReLUPower(-1)),
    ("p", "was 1.5", lambda: gf.networks.ReLUPower(1.5)),
    ("slope", "was 2", lambda: gf.networks.ReLUPower(1, slope=2.0)),
    ("slope", "was 'leaky'", lambda: gf.networks.ReLUPower(1, slope="leaky")),
    ("network", "TwoLayer has no degree", lambda: gf.networks.exponents(two_layer(activation=gf.networks.Tanh()))),
    ("network", "int has no degree", lambda: gf.networks.exponents(3)),
    # Losses and problems.
    ("reduction", "was 'max'", lambda: gf.losses.Square(reduction="max")),
    (
        "targets",
        "labels were",
        lambda: gf.Problem(things().network, gf.Dataset(np.eye(2), [0, 1]), gf.losses.Logistic()),
    ),
    (
        "targets",
        "was (2, 2)",
        lambda: gf.Problem(things().network, gf.Dataset(np.eye(2), np.eye(2)), gf.losses.Logistic()),
    ),
    (
        "network",
        "output shape was ()",
        lambda: gf.Problem(things().network, gf.Dataset(np.eye(2), [0, 1]), gf.losses.CrossEntropy()),
    ),
    ("network", "did not", lambda: gf.Problem(things().network, gf.Dataset(np.eye(3), [1, 1, -1]), gf.losses.Square())),
    ("network", "was 3", lambda: gf.Problem(3, things().data, gf.losses.Square())),
    ("data", "was ndarray", lambda: gf.Problem(things().network, np.eye(2), gf.losses.Square())),
    ("loss", "was 'square'", lambda: gf.Problem(things().network, things().data, "square")),
    ("loss", "Square", lambda: gf.Problem(things().network, things().data, gf.losses.Square)),
    ("batch", "was 0", lambda: gf.Problem(things().network, things().data, gf.losses.Square(), batch=0)),
    ("batch", "was 'all'", lambda: gf.Problem(things().network, things().data, gf.losses.Square(), batch="all")),
    ("trainable", "was", lambda: gf.Problem(things().network, things().data, gf.losses.Square(), trainable=[True])),
    ("fn", "was 3", lambda: gf.Problem.from_loss(3, jnp.ones(2))),
    ("fn", "shape (2,)", lambda: gf.Problem.from_loss(lambda p: p, jnp.ones(2))),
    ("fn", "float32", lambda: gf.Problem.from_loss(lambda p: p.sum().astype("float32"), jnp.ones(2))),
    ("params", "had none", lambda: gf.Problem.from_loss(lambda p: 0.0, {})),
    ("params", "was int64", lambda: gf.Problem.from_loss(jnp.sum, jnp.arange(3))),
    (
        "params['w']",
        "was complex128",
        lambda: gf.Problem.from_loss(lambda p: p["w"].sum(), {"w": jnp.ones(2, complex)}),
    ),
    ("theta", "shape (3,)", lambda: things().bowl.loss(jnp.ones(3))),
    ("theta", "float32", lambda: things().bowl.grad(jnp.ones(2, "float32"))),
    ("theta", "was [1.0, 1.0]", lambda: things().bowl.hessian([1.0, 1.0])),
    ("v", "shape (5,)", lambda: things().bowl.hvp(jnp.ones(2), jnp.ones(5))),
    ("outputs", "from_loss", lambda: things().bowl.outputs(jnp.ones(2))),
    ("margins", "was Square", lambda: things().square.margins(things().square.theta)),
    # Dynamics.
    ("problem", "was int", lambda: gf.GradientFlow(3)),
    ("problem", "was TwoLayer", lambda: gf.GradientDescent(things().network, 0.1)),
    ("problem", "was NoneType", lambda: gf.CorrelationFlow(None)),
    ("problem", "was str", lambda: gf.MarginFlow("digits")),
    ("problem", "was int", lambda: gf.ModifiedFlow(3, 0.1, 1)),
    ("problem", "was int", lambda: gf.CentralFlow(3, 0.1)),
    ("problem", "was int", lambda: gf.OptaxDescent(3, optax.sgd(0.1), 0.1)),
    ("scale", "was -1", lambda: gf.GradientFlow(things().problem, scale=-1.0)),
    ("scale", "was nan", lambda: gf.GradientFlow(things().problem, scale=NAN)),
    ("scale", "was 'small'", lambda: gf.GradientFlow(things().problem, scale="small")),
    ("scale", "None", lambda: gf.GradientFlow(things().bowl, scale=0.1)),
    ("step_size", "was 0", lambda: gf.GradientDescent(things().bowl, 0.0)),
    ("step_size", "was inf", lambda: gf.GradientDescent(things().bowl, INF)),
    ("step_size", "was 'big'", lambda: gf.GradientDescent(things().bowl, "big")),
    ("step_size", "was array([0.1", lambda: gf.GradientDescent(things().bowl, np.array([0.1, 0.2]))),
    ("transformation", "was 0.1", lambda: gf.OptaxDescent(things().bowl, 0.1, 0.1)),
    ("decay", "was 'a'", lambda: gf.RMSPropCentralFlow(things().bowl, 0.1, jnp.ones(2), decay="a")),
    ("epsilon", "was None", lambda: gf.RMSPropCentralFlow(things().bowl, 0.1, jnp.ones(2), epsilon=None)),
    ("theta0", "shape (3,)", lambda: gf.CentralFlow(things().bowl, 0.1).path(jnp.ones(3), 5)),
    ("theta0", "float32", lambda: gf.CentralFlow(things().bowl, 0.1).path(jnp.ones(2, jnp.float32), 5)),
    ("theta0", "NaN", lambda: gf.CentralFlow(things().bowl, 0.1).path(jnp.array([NAN, 1.0]), 5)),
    ("norm", "was []", lambda: gf.HighOrderDescent(things().bowl, 3.0, norm=[])),
    ("batch_size", "was 9", lambda: gf.OptaxDescent(things().problem, optax.sgd(0.1), 0.1, batch_size=9, key=KEY)),
    ("batch_size", "was 1.5", lambda: gf.OptaxDescent(things().problem, optax.sgd(0.1), 0.1, batch_size=1.5, key=KEY)),
    ("key", "was missing", lambda: gf.OptaxDescent(things().problem, optax.sgd(0.1), 0.1, batch_size=1)),
    ("key", "was 0", lambda: gf.OptaxDescent(things().problem, optax.sgd(0.1), 0.1, batch_size=1, key=0)),
    ("order", "was 1.5", lambda: gf.ModifiedFlow(things().bowl, 0.1, 1.5)),
    ("step_size", "was -0.1", lambda: gf.ModifiedFlow(things().bowl, -0.1, 1)),
    ("directions", "was 0", lambda: gf.CentralFlow(things().bowl, 0.1, directions=0)),
    # Running.
    ("dynamics", "was Problem", lambda: simulated(dynamics=things().bowl)),
    ("theta0", "was (3,)", lambda: simulated(theta0=jnp.ones(3))),
    ("theta0", "was (1, 1, 2)", lambda: simulated(theta0=jnp.ones((1, 1, 2)))),
    ("theta0", "NaN", lambda: simulated(theta0=jnp.array([1.0, NAN]))),
    ("theta0", "float32", lambda: simulated(theta0=jnp.ones(2, "float32"))),
    ("theta0", "was 'here'", lambda: simulated(theta0="here")),
    ("theta0", "was ()", lambda: gf.simulate(things().flow, None, 1.0)),
    ("theta0", "was {'w'", lambda: simulated(theta0={"w": 1.0})),
    ("t1", "was 0", lambda: simulated(t1=0)),
    ("t1", "was inf", lambda: simulated(t1=INF)),
    ("t1", "was nan", lambda: simulated(t1=NAN)),
    ("t1", "was '1'", lambda: simulated(t1="1")),
    ("t1", "was None", lambda: simulated(t1=None)),
    ("rtol", "was 2", lambda: simulated(rtol=2.0)),
    ("rtol", "was nan", lambda: simulated(rtol=NAN)),
    ("rtol", "was 'tight'", lambda: simulated(rtol="tight")),
    ("atol", "was -1", lambda: simulated(atol=-1.0)),
    ("atol", "was 'none'", lambda: simulated(atol="none")),
    ("max_steps", "was 0", lambda: simulated(max_steps=0)),
    ("max_steps", "was 1.5", lambda: simulated(max_steps=1.5)),
    ("max_steps", "was 'many'", lambda: simulated(max_steps="many")),
    ("save", "was list", lambda: simulated(save=[0.0, 1.0])),
    ("observe", "was 'loss'", lambda: simulated(observe="loss")),
    ("observe['loss']", "was 3", lambda: simulated(observe={"loss": 3})),
    ("observe", "was <function", lambda: simulated(observe=gf.observables.loss)),
    ("until", "was 'converged'", lambda: simulated(until="converged")),
    ("solver", "was str", lambda: simulated(solver="rk4")),
    ("solver", "was Euler", lambda: simulated(solver=__import__("diffrax").Euler())),
    ("solver", "was RKC", lambda: simulated(dynamics=gf.GradientDescent(things().bowl, 0.1), solver=gf.solvers.RKC())),
    ("checkpoint", "old.bin", lambda: simulated(checkpoint=things().here / "old.bin")),
    ("checkpoint", "was 7", lambda: simulated(checkpoint=7)),
    ("t0, t1", "were 1, 1", lambda: gf.log_spaced(1, 1, 5)),
    ("t0, t1", "were 0, 1", lambda: gf.log_spaced(0, 1, 5)),
    ("t0", "was 'a'", lambda: gf.log_spaced("a", 1, 5)),
    ("n", "was 1", lambda: gf.linear_spaced(0, 1, 1)),
    ("n", "was 2.5", lambda: gf.linear_spaced(0, 1, 2.5)),
    ("r", "was -1", lambda: gf.events.norm_reaches(-1.0)),
    ("r", "was 'one'", lambda: gf.events.norm_reaches("one")),
    ("l", "was nan", lambda: gf.events.log_loss_below(NAN)),
    ("l", "was None", lambda: gf.events.log_loss_below(None)),
    ("g", "was inf", lambda: gf.events.gradient_below(INF)),
    ("normalised_margin", "was None", lambda: gf.observables.normalised_margin(things().tanh, things().tanh.theta)),
    ("balancedness", "none", lambda: gf.observables.balancedness(things().bowl, things().bowl.theta)),
    # What is asked of results.
    ("trajectory", "was that of a descent", lambda: gf.verification.energy_residual(things().descent)),
    ("trajectory", "has none", lambda: gf.verification.invariant_drift(things().run)),
    ("trajectory", "was list", lambda: gf.verification.energy_residual([1.0])),
    ("trajectory", "was NoneType", lambda: gf.certify(things().bowl, None)),
    ("problem", "was str", lambda: gf.certify("bowl", things().run)),
    ("nodes", "was 0", lambda: gf.certify(things().bowl, things().run, nodes=0)),
    ("problem", "was str", lambda: gf.HighOrderFlow("bowl", 3)),
    ("degree", "was '3'", lambda: gf.HighOrderFlow(things().bowl, "3")),
    ("degree", "was nan", lambda: gf.HighOrderFlow(things().bowl, NAN)),
    ("norm", "was 'max'", lambda: gf.HighOrderFlow(things().bowl, 3, "max")),
    ("smoothness", "was 0", lambda: gf.HighOrderFlow(things().bowl, 3, smoothness=0)),
    ("degree", "was [3]", lambda: gf.HighOrderDescent(things().bowl, [3])),
    ("step_size", "was 2.0", lambda: gf.HighOrderDescent(things().bowl, 1.5, step_size=2.0)),
    ("step_size", "was nan", lambda: gf.HighOrderDescent(things().bowl, 1.5, step_size=NAN)),
    ("generator", "was 'G'", lambda: gf.networks.HomogeneousNetwork(things().network, "G", 1.0)),
    ("generator", "smallest was -1", lambda: gf.networks.HomogeneousNetwork(things().network, -np.eye(2), 1.0)),
    ("degree", "was nan", lambda: gf.networks.HomogeneousNetwork(things().network, np.eye(2), NAN)),
    ("trajectory", "was int", lambda: gf.verification.structure(things().bowl, 3)),
    ("flow", "was int", lambda: gf.verification.extinction_time(3, things().run)),
    ("step_sizes", "was (0.2, 0.1)", lambda: compared(step_sizes=(0.2, 0.1))),
    ("step_sizes", "was 0.1", lambda: compared(step_sizes=0.1)),
    ("step_sizes", "was ()", lambda: compared(step_sizes=())),
    ("models", "was 'fluw'", lambda: compared(models=("fluw",))),
    ("t1", "was -1", lambda: compared(t1=-1.0)),
    ("theta0", "was (7,)", lambda: compared(theta0=jnp.ones(7))),
    ("models", "was 3", lambda: compared(models=(3,))),
    ("models", "was 3", lambda: compared(models=3)),
    ("models", "was 'flow'", lambda: compared(models="flow")),
    ("models", "was 'flow-'", lambda: compared(models=("flow-",))),
    ("models", "was 'modified-²'", lambda: compared(models=("modified-²",))),
    ("rows", "was 2.5", lambda: compared(rows=2.5)),
    ("rows", "was 0", lambda: compared(rows=0)),
    ("draws", "was 0", lambda: bootstrapped(draws=0)),
    ("draws", "was 2.5", lambda: bootstrapped(draws=2.5)),
    ("polar", "was 'no'", lambda: gf.CorrelationFlow(things().problem, polar="no")),
    ("moment0", "held -1", lambda: rmsprop([-1.0, 1.0])),
    ("moment0", "held NaN or infinity", lambda: rmsprop([INF, 1.0])),
    ("epsilon", "was inf", lambda: rmsprop([1.0, 1.0], epsilon=INF)),
    ("steps", "was -1", lambda: gf.CentralFlow(things().bowl, 0.1).path(things().bowl.theta, -1)),
    ("problem", "was str", lambda: gf.verification.structure("bowl", things().run)),
    *(
        case
        for function in (
            gf.landscape.polish,
            gf.landscape.correlation_kkt,
            gf.landscape.kkt_residual,
            gf.landscape.max_margin_polish,
        )
        for case in (
            ("problem", "was int", functools.partial(function, 3, jnp.ones(2))),
            ("theta", "was [1.0, 2.0]", functools.partial(lambda f: f(things().problem, [1.0, 2.0]), function)),
        )
    ),
    ("inputs", "was (3,)", lambda: gf.landscape.hard_margin(np.ones(3))),
    ("inputs", "shape (0, 3)", lambda: gf.landscape.hard_margin(np.zeros((0, 3)))),
    ("activation", "was Tanh", lambda: gf.landscape.one_neuron_kkt(things().data, gf.networks.Tanh())),
    ("theta", "held NaN", lambda: gf.landscape.spectrum(things().bowl, jnp.array([NAN, 1.0]), 1)),
    ("theta", "real numbers of shape (2,)", lambda: gf.landscape.spectrum(things().bowl, [[1.0], [1.0, 2.0]], 1)),
    ("ends", "shape (0, 6)", lambda: gf.landscape.basins(things().problem, jnp.zeros((0, 6)))),
    ("nodes", "was 2.5", lambda: gf.certify(things().bowl, things().run, nodes=2.5)),
    ("k", "was 0", lambda: gf.landscape.spectrum(things().bowl, things().bowl.theta, 0)),
    ("theta", "shape (3,)", lambda: gf.landscape.inertia(things().bowl, jnp.ones(3))),
    ("theta", "shape (3,)", lambda: gf.landscape.polish(things().bowl, jnp.ones(3))),
    ("coefficients", "summed to 2", lambda: gf.landscape.split_neuron(things().relu, 0, 0, [1.0, 1.0])),
    ("neuron", "was 5", lambda: gf.landscape.split_neuron(things().relu, 0, 5, [0.6, 0.8])),
    ("copies", "was 2", lambda: gf.landscape.kronecker_split(things().network, 2)),
    (
        "network",
        "was FeedForward",
        lambda: gf.landscape.critical_reduction(gf.networks.FeedForward((2, 1), jnp.tanh, key=KEY)),
    ),
    ("tolerance", "was -1", lambda: claimed(tolerance=-1)),
    ("tolerance", "was nan", lambda: claimed(tolerance=NAN)),
    ("measured", "was 'one'", lambda: claimed(measured="one")),
    ("predicted", "shape (2,)", lambda: claimed(predicted=np.ones(2))),
    ("name", "was ''", lambda: claimed(name="")),
    ("source", "was None", lambda: claimed(source=None)),
    ("relation", "was 'equal'", lambda: claimed(relation="equal")),
    ("scale", "was 'log'", lambda: claimed(scale="log")),
    ("venue", "was 'arxiv'", lambda: gf.plotting.style("arxiv")),
    ("column", "was 'third'", lambda: gf.plotting.style("icml", column="third")),
    ("fn", "raised TypeError", lambda: gf.Problem.from_loss(lambda: 1.0, jnp.ones(2))),
    ("params", "held NaN", lambda: gf.Problem.from_loss(jnp.sum, jnp.array([NAN]))),
    ("progress", "was 'yes'", lambda: simulated(progress="yes")),
    ("field", "was int", lambda: planar(3)),
    ("field", "of (3,)", lambda: planar(lambda x: jnp.ones(3))),
    ("field", "raised NameError", lambda: planar(lambda x: nowhere)),  # pyright: ignore
    ("field", "of ()", lambda: gf.portraits.spherical(lambda u: u[0])),
    ("conserved", "was 3", lambda: planar(conserved=3)),
    ("conserved", "of (2,)", lambda: planar(conserved=lambda x: x)),
    ("spacing", "was '0.1'", lambda: planar(spacing="0.1")),
    ("rtol", "was 'a'", lambda: planar(rtol="a")),
    ("resolution", "was 1", lambda: planar(resolution=1)),
    ("x", "was 3", lambda: gf.portraits.planar(things().bowl, 3, (0, 1))),
    ("x", "was (1, 2)", lambda: gf.portraits.planar(things().bowl, (0, (1, 2)), (0, 1))),
    ("x", "1e+308", lambda: gf.portraits.planar(things().bowl, (-1e308, 1e308), (0, 1))),
    ("parts", "was None", lambda: planar(parts=None)),
    ("parts", "was ['lines', 3]", lambda: planar(parts=("lines", 3))),
    ("field", "complex128", lambda: planar(lambda x: x.astype(complex))),
    ("potential", "of (2,)", lambda: planar(gf.portraits.PlanarField(same, same))),
    ("axes", "[4.0, 0.0, 0.0, 4.0]", lambda: planar(slice_of(2 * jnp.eye(2)))),
    ("axes", "was (3, 3)", lambda: planar(slice_of(jnp.eye(3)))),
    ("points", "was (4, 3)", lambda: gf.portraits.measured(same, np.ones((4, 3)))),
    ("portrait", "of the plane", lambda: gf.portraits.destinations(same, planar(parts=()), np.ones((1, 3)))),
    ("directions", "was (1, 2)", lambda: gf.portraits.destinations(same, whole_sphere(), np.ones((1, 2)))),
    ("directions", "row of zeros", lambda: gf.portraits.destinations(same, whole_sphere(), np.zeros((1, 3)))),
    ("y", "was '1'", lambda: gf.portraits.planar(things().bowl, (0, 1), (0, "1"))),
    ("problem", "was ndarray", lambda: gf.portraits.plane_of_trajectory(np.ones((4, 2)), things().bowl)),
    ("problem", "was ndarray", lambda: gf.portraits.plane_through(np.ones((3, 2)), things().bowl)),
    ("problem", "was int", lambda: gf.portraits.plane_of_hessian(3, things().bowl.theta)),
    ("points", "was 'a'", lambda: gf.portraits.plane_through(things().bowl, "a")),
    ("points", "was (2, 2)", lambda: gf.portraits.plane_through(things().bowl, np.ones((2, 2)))),
    ("points", "held NaN", lambda: gf.portraits.plane_through(things().bowl, np.full((3, 2), NAN))),
    ("points", "on a line", lambda: gf.portraits.plane_through(things().bowl, np.arange(6.0).reshape(3, 2))),
    ("thetas", "on a line", lambda: gf.portraits.plane_of_trajectory(things().bowl, np.zeros((5, 2)))),
    ("thetas", "on a line", lambda: gf.portraits.plane_of_trajectory(things().bowl, np.outer(range(5), [1, 3]))),
    ("thetas", "had 2", lambda: gf.portraits.plane_of_trajectory(things().bowl, np.eye(2))),
    ("thetas", "held NaN", lambda: gf.portraits.plane_of_trajectory(things().bowl, np.full((5, 2), NAN))),
    ("which", "was (0, 9)", lambda: gf.portraits.plane_of_hessian(things().bowl, things().bowl.theta, (0, 9))),
    ("which", "was (0, -2)", lambda: gf.portraits.plane_of_hessian(things().bowl, things().bowl.theta, (0, -2))),
    ("which", "was 3", lambda: gf.portraits.plane_of_hessian(things().bowl, things().bowl.theta, 3)),
    ("theta", "held NaN", lambda: gf.portraits.plane_of_hessian(things().bowl, np.full(2, NAN))),
    ("parts", "was 'points'", lambda: planar(parts="points")),
    ("field", "was NaN", lambda: planar(lambda x: NAN * x, resolution=3, parts=())),
    ("axes", "was 3", lambda: gf.plotting.sphere_portrait(lambda u: u, axes=3)),
    ("names", "was ('a',)", lambda: gf.plotting.sphere_portrait(lambda u: u, names=("a",))),
    ("directions", "was (2, 2)", lambda: gf.plotting.sphere_points(np.eye(2), [3, 3])),
    ("points", "was (4, 3)", lambda: gf.plotting.path(np.ones((4, 3)))),
    ("points", "was none", lambda: gf.plotting.path(np.ones((0, 2)))),
    ("t", "shape (4,)", lambda: gf.plotting.path(np.ones((4, 2)), np.full(4, NAN), marks=(1.0,))),
    ("which", "was 'ab'", lambda: gf.portraits.plane_of_hessian(things().bowl, things().bowl.theta, "ab")),
    ("points", "was (4, 3)", lambda: gf.plotting.iterates(np.ones((4, 3)))),
    ("t", "shape (3,)", lambda: gf.plotting.path(np.ones((4, 2)), np.arange(3.0), marks=(1.0,))),
    ("marks", "was [10]", lambda: gf.plotting.path(np.ones((4, 2)), np.arange(4.0), marks=(10,))),
    ("marks", "was 1", lambda: gf.plotting.path(np.ones((4, 2)), np.arange(4.0), marks=1)),
    ("marks", "was ('a',)", lambda: gf.plotting.path(np.ones((4, 2)), np.arange(4.0), marks=("a",))),
    ("t", "was 'abc'", lambda: gf.plotting.path(np.ones((4, 2)), "abc")),
    ("t", "shape (3,)", lambda: gf.plotting.path(np.ones((4, 2)), np.arange(3.0))),
    ("directions", "one had not", lambda: gf.plotting.sphere_points(np.zeros((1, 3)), [3, 3])),
    ("portrait", "was int", lambda: gf.plotting.basin_palette(3)),
    ("order", "was 1.0", lambda: gf.ModifiedFlow(things().bowl, 0.1, 1.0)),
    ("record", "was NoneType", lambda: gf.plotting.film(None)),
    ("record", "was NoneType", lambda: gf.plotting.page(None, "title")),
    (
        "frames",
        "was 100000000000",
        lambda: gf.plotting.film(xarray.Dataset({"y": ("time", np.arange(5.0))}), frames=10**11),
    ),
    ("x", "was 'a'", lambda: gf.plotting.power_law("a", np.ones(1), 1.0)),
    ("exponent", "was '1'", lambda: gf.plotting.power_law(np.ones(2), np.ones(2), "1")),
    ("exponent", "was nan", lambda: gf.plotting.power_law(np.ones(2), np.ones(2), NAN)),
    ("prefactor", "was 0.0", lambda: gf.plotting.residuals(np.ones(2), np.ones(2), 1.0, 0)),
    ("prefactor", "was 'a'", lambda: gf.plotting.power_law(np.ones(2), np.ones(2), 1.0, "a")),
    ("limit", "was 'a'", lambda: gf.plotting.weight_images(np.ones((2, 4)), "a")),
    ("limit", "was inf", lambda: gf.plotting.weight_images(np.ones((2, 4)), INF)),
    ("weights", "NaN", lambda: gf.plotting.weight_images(np.full((2, 4), NAN), 1.0)),
    ("venue", "was ['icml']", lambda: gf.plotting.style(["icml"])),
    ("count", "was 2.5", lambda: gf.plotting.shades("flow", 2.5)),
    ("heights", "was 'a'", lambda: gf.plotting.sheets("icml", "a")),
    ("heights", "was (inf,)", lambda: gf.plotting.sheets("icml", INF)),
    ("models", "was empty", lambda: compared(models=())),
    ("name", "was 'blue'", lambda: gf.plotting.shades("blue", 3)),
    ("count", "was -1", lambda: gf.plotting.shades("flow", -1)),
    ("venue", "was 'nips'", lambda: gf.plotting.sheets("nips", 1.0)),
    ("heights", "was ()", lambda: gf.plotting.sheets("icml")),
    ("name", "was 'b'", lambda: gf.portraits.Portrait.from_xarray(xarray.Dataset(), "b")),
    ("ax", "was 3", lambda: gf.plotting.path(np.ones((3, 2)), ax=3)),
    ("ax", "was 3", lambda: gf.plotting.residuals(np.ones(3), np.ones(3), 1.0, ax=3)),
    ("work", "was 'Nobody'", lambda: gf.citation("Nobody")),
    # Records.
    ("record", "gone.nc", lambda: load("gone.nc")),
    ("record", "text.nc", lambda: load("text.nc")),
    ("record", "hdf.nc", lambda: load("hdf.nc")),
    ("record", "format None", lambda: load("foreign.nc")),
    ("record", "was", lambda: load(".")),
]


def tried(call) -> dict:
    try:
        call()
    except Exception as error:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        raised = linecache.getline(frame.f_code.co_filename, line).strip()
        return {"kind": type(error).__name__, "says": str(error), "raised": raised, "file": frame.f_code.co_filename}
    return {"kind": None, "says": "", "raised": "", "file": ""}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    things()
    json.dump([tried(call) for _, _, call in CASES], sys.stdout)
