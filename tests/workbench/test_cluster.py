"""Sweeps on a real scheduler and real workers on the loopback, some of which are killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gfsim
from gfsim.workbench import cluster as cluster_module
from gfsim.workbench import load_record
from gfsim.workbench.cli import main
from tests.workbench.sweeps import assert_same, start, write_drop

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")

GRID = ["--grid", "height=1,2,13", "points=3,4", "pause=0.05", "--seeds", "0:10"]


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two workers, each in a process of its own."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    write_drop(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undisturbed(folder, capsys) -> Path:
    assert main(["sweep", "drop.py", *GRID, "--out", "undisturbed", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 20
    return folder / "undisturbed/drop-sweep.nc"


@contextlib.contextmanager
def workers() -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler's address and its two workers, which nothing but the test starts again."""
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    with distributed.LocalCluster(**options) as scheduler:
        processes = [started(scheduler.scheduler_address) for _ in range(2)]
        try:
            yield scheduler.scheduler_address, processes
        finally:
            for process in processes:
                process.kill()
                process.wait()


def started(address: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_workers(kills: int, undisturbed: Path) -> None:
    """Kills a worker `kills` times at random moments of a sweep, each time after some runs more are in the store."""
    random = np.random.default_rng(1)
    killed: list[int] = []
    over = threading.Event()

    def killer(address: str, processes: list[subprocess.Popen]) -> None:
        staging, stored = Path("records/drop-sweep.unfinished"), 0
        while not over.is_set() and len(killed) < kills:
            time.sleep(float(random.uniform(0.05, 0.3)))
            if (now := len(list(staging.glob("[!.]*.nc")))) > stored:
                stored, place = now, int(random.integers(2))
                processes[place].kill()
                killed.append(processes[place].wait())
                processes[place] = started(address)

    with workers() as (address, processes):
        thread = threading.Thread(target=killer, args=(address, processes))
        thread.start()
        try:
            assert main(["sweep", "drop.py", *GRID, "--cluster", address, "--json"]) == 1
        finally:
            over.set()
            thread.join()
    assert killed == [-signal.SIGKILL] * kills
    assert_same(Path("records/drop-sweep.nc"), undisturbed)


def test_killed_workers_cost_nothing(undisturbed):
    kill_workers(3, undisturbed)


def test_counts_that_die_with_their_worker_are_asked_for_again(folder, capsys, monkeypatch):
    monkeypatch.setattr("gfsim.workbench.cluster.PATIENCE", 3.0)
    ask = distributed.Future.result
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    with distributed.LocalCluster(**options) as scheduler, contextlib.ExitStack() as later:

        def after_a_death(future, *arguments, **options):
            if not later_workers:
                alone.close()
                while future.client.ncores():
                    time.sleep(0.01)
                later_workers.append(later.enter_context(worker(scheduler.scheduler_address, folder)))
            return ask(future, *arguments, **{"timeout": 60.0, **options})

        later_workers = []
        with contextlib.ExitStack() as alone:
            alone.enter_context(worker(scheduler.scheduler_address, folder))
            monkeypatch.setattr(distributed.Future, "result", after_a_death)
            arguments = ["--seeds", "0:3", "--cluster", scheduler.scheduler_address, "--json"]
            assert main(["sweep", "drop.py", *arguments]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert later_workers
    assert (counts["runs"], counts["failed"]) == (3, 0)


def kill_clients(address: str, kills: int, undisturbed: Path) -> None:
    random, killed = np.random.default_rng(2), 0
    staging = Path("records/drop-sweep.unfinished")
    for _ in range(kills):
        process = start(Path.cwd(), "sweep", "drop.py", *GRID, "--cluster", address)
        limit = time.monotonic() + 60
        while not list(staging.glob("[!.]*.nc")) and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        time.sleep(float(random.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == kills
    assert main(["sweep", "drop.py", *GRID, "--cluster", address, "--json"]) == 1
    assert_same(Path("records/drop-sweep.nc"), undisturbed)


def test_killed_clients_cost_nothing(cluster, undisturbed, capsys):
    kill_clients(cluster.scheduler_address, 3, undisturbed)
    assert json.loads(capsys.readouterr().out)["solved"] < 60


@pytest.mark.verify
def test_twenty_killed_workers(folder, capsys, monkeypatch):
    monkeypatch.setitem(globals(), "GRID", LONG)
    assert main(["sweep", "drop.py", *LONG, "--out", "undisturbed", "--json"]) == 1
    kill_workers(20, folder / "undisturbed/drop-sweep.nc")


@pytest.mark.verify
def test_five_killed_clients(cluster, folder, capsys, monkeypatch):
    monkeypatch.setitem(globals(), "GRID", LONG)
    assert main(["sweep", "drop.py", *LONG, "--out", "undisturbed", "--json"]) == 1
    kill_clients(cluster.scheduler_address, 5, folder / "undisturbed/drop-sweep.nc")


LONG = ["--grid", "height=1,2,13", "points=3,4", "pause=0.1", "--seeds", "0:100"]


@pytest.mark.parametrize("allowed_failures", [pytest.param(0, marks=pytest.mark.verify), 3])
def test_a_run_that_kills_its_workers_is_a_failed_run(folder, capsys, monkeypatch, allowed_failures):
    """And no other, however often dask counts a death against those that only waited beside it."""
    monkeypatch.setitem(cluster_module._SETTINGS, "distributed.scheduler.allowed-failures", allowed_failures)
    arguments = ["--grid", "deadly=1", "--seeds", "0:3", "--cluster", "local:1", "--json"]
    assert main(["sweep", "drop.py", *arguments]) == 1
    record = load_record("records/drop-sweep.nc")
    assert record["status"].values.tolist() == ["done", "failed", "done"]
    assert record["reason"].values[1].startswith("KilledWorker: the workers that solved it died")


@pytest.mark.parametrize("package", ["gfsim", "jax"])
def test_workers_of_another_version_are_refused(folder, capsys, package):
    """Alone they end the sweep with the reason; beside a good one they are left out."""
    other = folder / "other"
    if package == "gfsim":
        source = Path(gfsim.__file__).parent
        shutil.copytree(source, other / "gfsim", ignore=shutil.ignore_patterns("__pycache__", "_*"))
        text = (source / "__init__.py").read_text().replace(gfsim.__version__, "0.0.7")
        (other / "gfsim/__init__.py").write_text(text)
        reason = r"must have gfsim .* like this process, was 0\.0\.7 \(code .*\)"
    else:
        (other / "jax-0.4.2.dist-info").mkdir(parents=True)
        (other / "jax-0.4.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 0.4.2\n")
        reason = r"must have jax 0\.10\.\d+ like this process, was 0\.4\.2"
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    with distributed.LocalCluster(**options) as cluster, worker(cluster.scheduler_address, other):
        arguments = ["--seeds", "0:2", "--cluster", cluster.scheduler_address, "--json"]
        assert main(["sweep", "drop.py", *arguments]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch(rf"gfsim: worker tcp://127\.0\.0\.1:\d+ {reason}\n", err), err
        assert not any((folder / "records").iterdir())
        if package == "jax":
            with worker(cluster.scheduler_address, folder):
                assert main(["sweep", "drop.py", *arguments]) == 0
            printed = capsys.readouterr()
            assert json.loads(printed.out)["failed"] == 0
            assert re.search(f"refused: worker tcp://.* {reason}", printed.err)


@contextlib.contextmanager
def worker(address: str, first: Path):
    """A worker process that looks for its packages in the folder `first` before all others."""
    path = os.pathsep.join((str(first), str(Path(gfsim.__file__).parents[1])))
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--nthreads", "1"]
    environment = os.environ | {"PYTHONPATH": path}
    output = subprocess.DEVNULL
    process = subprocess.Popen([*command, "--no-nanny"], env=environment, stdout=output, stderr=output)
    try:
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(len(client.ncores()) + 1, timeout=60)
        yield
    finally:
        process.kill()
        process.wait()


def test_an_unreachable_cluster_is_one_line(folder, capsys, monkeypatch):
    monkeypatch.setattr("gfsim.workbench.cluster.PATIENCE", 0.5)
    assert main(["sweep", "drop.py", "--seeds", "0:2", "--json", "--cluster", "tcp://127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch("gfsim: cluster must have a scheduler and a worker, was 'tcp://127.0.0.1:1' .*\n", err), err
    assert not any((folder / "records").iterdir())


def test_local_workers_are_started_and_stopped(folder, capsys):
    (folder / "scheduler.txt").write_text("{}")
    assert main(["sweep", "drop.py", "--seeds", "0:4", "--cluster", "local:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["solved"] == 4
