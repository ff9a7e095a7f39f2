"""Runs killed at any moment and started again are bit-identical to undisturbed ones."""

import contextlib
import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gfsim as gf
from gfsim.simulation import checkpoint as module
from gfsim.simulation.checkpoint import Checkpoint, checkpoints_in, fingerprint
from gfsim.simulation.run import Run
from tests.systems import SYSTEMS


class Killed(Exception):
    pass


def stiff(**options):
    system = SYSTEMS["stiff quadratic"]()
    return gf.simulate(
        gf.GradientFlow(system.problem), system.start, system.t1, save=gf.log_spaced(1e-3, system.t1, 25), **options
    )


def ensemble(**options):
    system = SYSTEMS["quartic"]()
    starts = jnp.stack([system.start, 2 * system.start, 0.2 * system.start])
    until = gf.events.loss_below(2e-3)
    flow = gf.GradientFlow(system.problem)
    return gf.simulate(flow, starts, 40.0, save=gf.every_step(), until=until, rtol=1e-8, **options)


def descent(**options):
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.6, 24, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 4, gf.networks.Tanh(), key=jax.random.key(3))
    problem = gf.Problem(network, data, gf.losses.Logistic())
    adam = gf.OptaxDescent(problem, ADAM, 1e-2, batch_size=5, key=jax.random.key(1))
    return gf.simulate(adam, problem.theta, 200.0, save=gf.log_spaced(0.1, 200.0, 30), **options)


ADAM = optax.adam(1e-2)
RUNS = {"stiff": stiff, "ensemble": ensemble, "descent": descent}


def assert_identical(a: gf.Trajectory, b: gf.Trajectory) -> None:
    for name in ("t", "theta", "potential", "dissipated", "valid"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.outcome == b.outcome
    assert {k: v for k, v in a.stats.items() if k != "seconds"} == {k: v for k, v in b.stats.items() if k != "seconds"}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_after_any_write_resumes_bit_identically(name, tmp_path, monkeypatch):
    run = RUNS[name]
    undisturbed = run()
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    write = Checkpoint.save
    for kill_after in (1, 4):
        path = tmp_path / f"{kill_after}.checkpoint"
        writes = 0

        def save(self, notes, state, limit=kill_after):
            nonlocal writes
            write(self, notes, state)
            writes += 1
            if writes == limit:
                raise Killed

        monkeypatch.setattr(Checkpoint, "save", save)
        with contextlib.suppress(Killed):
            run(checkpoint=path)
        assert path.exists()
        monkeypatch.setattr(Checkpoint, "save", write)
        assert_identical(run(checkpoint=path), undisturbed)
        # A finished run is read, not solved.
        assert_identical(run(checkpoint=path), undisturbed)


def test_an_error_estimate_killed_after_a_write_resumes_bit_identically(tmp_path, monkeypatch):
    """Its solve changes solver where the run did, and a resumed one has to know which changes are behind it."""
    run = stiff()
    assert "→" in run.stats["solver"]
    undisturbed = run.error_estimate
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    write, total = Checkpoint.save, 0

    def save(self, notes, state):
        nonlocal total
        write(self, notes, state)
        total += 1
        if total == limit:
            raise Killed

    limit = 0
    monkeypatch.setattr(Checkpoint, "save", save)
    with checkpoints_in(tmp_path / "whole"):
        run = stiff()
        first = total
        np.testing.assert_array_equal(run.error_estimate, undisturbed)
    writes = range(first + 1, total + 1)
    assert len(writes) > 3
    # The first, the last, and every third in between.
    for kill_after in sorted({*writes[::3], writes[-1]}):
        limit, total = kill_after, 0
        with checkpoints_in(tmp_path / str(kill_after)):
            with contextlib.suppress(Killed):
                _ = stiff().error_estimate
            limit = 0
            np.testing.assert_array_equal(stiff().error_estimate, undisturbed)
            # A finished one is read, not solved.
            np.testing.assert_array_equal(stiff().error_estimate, undisturbed)


SCRIPT = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import gfsim as gf
from gfsim.simulation import checkpoint
from tests.systems import SYSTEMS
checkpoint.INTERVAL = 0.0
system = SYSTEMS["quartic"]()
flow = gf.GradientFlow(system.problem)
print("ready", flush=True)
end = gf.simulate(flow, system.start, 4000.0, save=gf.log_spaced(1.0, 4000.0, 50), rtol=1e-13,
                  solver=gf.solvers.RKC(), checkpoint=sys.argv[1], max_steps=int(sys.argv[2]))
np.save(sys.argv[3], np.asarray(end.theta))
"""


def start(tmp_path, name: str) -> subprocess.Popen:
    arguments = [tmp_path / f"{name}.checkpoint", "12000", tmp_path / f"{name}.npy"]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def seconds_of(process: subprocess.Popen) -> float:
    """Waits for the solve and returns how long it took from its first line of output."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.communicate(timeout=300)
    assert process.returncode == 0
    return time.monotonic() - began


def kills(count: int, tmp_path) -> None:
    usual = seconds_of(start(tmp_path, "undisturbed"))
    expected = np.load(tmp_path / "undisturbed.npy")
    random = np.random.default_rng(0)
    interrupted = 0
    for i in range(count):
        process = start(tmp_path, f"{i}")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(random.uniform(0.0, usual)))
        process.send_signal(signal.SIGKILL)
        interrupted += process.wait() == -signal.SIGKILL
        process.stdout.close()
        seconds_of(start(tmp_path, f"{i}"))
        np.testing.assert_array_equal(np.load(tmp_path / f"{i}.npy"), expected)
    # A single one may come too late, when the run has ended; of many, most must not.
    assert interrupted >= (count - 1) / 2
    assert not list(tmp_path.glob("*.writing"))


def test_a_killed_process_resumes_bit_identically(tmp_path):
    kills(1, tmp_path)


@pytest.mark.verify
def test_a_hundred_kills(tmp_path):
    kills(100, tmp_path)


def test_a_folder_keeps_every_solve_under_its_own_name(tmp_path):
    with checkpoints_in(tmp_path):
        first, second = stiff(), stiff(rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2
    with checkpoints_in(tmp_path):
        assert_identical(stiff(), first)
        assert_identical(stiff(rtol=1e-5), second)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "checkpoint must be undamaged, was .*: delete it"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "checkpoint must be undamaged"),
        (lambda b: b[:30], "checkpoint must be undamaged"),
        (lambda b: b.replace(b'"taken": ', b'"taken": 1'), "checkpoint must be undamaged"),
        (lambda b: b.replace(b'"identity"', b'"identify"'), "checkpoint must be undamaged"),
        (lambda b: b"PK\x03\x04" + b, "checkpoint must be a file written by gfsim"),
        (lambda b: b"", "checkpoint must be a file written by gfsim"),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path, damage, message):
    path = tmp_path / "run.checkpoint"
    stiff(checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        stiff(checkpoint=path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_place_that_takes_no_file_is_refused_before_the_solve(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Run, "go", None)
    places = tmp_path / "file" / "run.checkpoint", Path("/proc/nowhere/run.checkpoint"), tmp_path / ("n" * 250)
    for path in (*places, tmp_path / "null\0byte"):
        with pytest.raises(ValueError, match=r"^checkpoint must be the path of a file that can be written, was '"):
            stiff(checkpoint=path)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    stiff(checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        stiff(checkpoint=path, rtol=1e-7)


SCALE = 1.0


def jitted(scale):
    return jax.jit(lambda x: scale * jnp.sum(x**2))


def partial_of(middle):
    # Long arrays are shortened where they are printed.
    constants = np.zeros(2000)
    constants[1000] = middle
    return functools.partial(lambda c, x: jnp.sum(c * jnp.sum(x**2)), constants)


def with_helper(name):
    return lambda x: jnp.sum(getattr(jnp, name)(x))


def keyword_default(scale):
    def loss(x, *, c=scale):
        return c * jnp.sum(x**2)

    return loss


def print_of(loss, *events, save=None):
    problem = gf.Problem.from_loss(loss, jnp.ones(3))
    return fingerprint(gf.GradientFlow(problem), problem.theta, events, save)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda scale: lambda x: scale * jnp.sum(x**2), (1.0, 2.0)),
        (lambda scale: lambda x: jnp.sum(jnp.array([scale, 1.0, 1.0]) * x**2), (1.0, 2.0)),
        (jitted, (1.0, 2.0)),
        (partial_of, (0.0, 1.0)),
        (with_helper, ("sin", "cos")),
        (keyword_default, (1.0, 2.0)),
        (lambda which: (lambda x: jnp.sum(jnp.sin(x))) if which else (lambda x: jnp.sum(jnp.cos(x))), (True, False)),
    ],
)
def test_fingerprints_see_what_a_loss_computes(make, values):
    first, second = values
    assert print_of(make(first)) == print_of(make(first))
    assert print_of(make(first)) != print_of(make(second))


def test_fingerprints_see_globals_arguments_and_starts(monkeypatch):
    before = print_of(lambda x: SCALE * jnp.sum(x**2))
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert print_of(lambda x: SCALE * jnp.sum(x**2)) != before
    loss = jitted(1.0)
    prints = [
        print_of(loss),
        print_of(loss, gf.events.norm_reaches(1.0)),
        print_of(loss, gf.events.norm_reaches(2.0)),
        print_of(loss, save=gf.log_spaced(1, 10, 5)),
        print_of(loss, save=gf.log_spaced(1, 11, 5)),
    ]
    assert len(set(prints)) == len(prints)


def test_the_checkpoint_of_another_loss_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"

    def run(loss):
        problem = gf.Problem.from_loss(loss, jnp.ones(2))
        return gf.simulate(gf.GradientFlow(problem), problem.theta, 5.0, checkpoint=path)

    run(lambda p: jnp.sum(jnp.sin(p)))
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        run(lambda p: jnp.sum(jnp.cos(p)))
