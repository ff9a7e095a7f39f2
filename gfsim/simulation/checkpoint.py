"""Interrupted runs go on where they were, bit for bit.

The state of a run is one pytree, and pausing it between two steps changes no number: a run killed at any moment and
started again with the same arguments ends exactly as if it had not been.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Float, PyTree

import gfsim
from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.descent import AbstractDescent
from gfsim.placement import is_spread, placed, placement
from gfsim.simulation.compiled import Compiled, Fixed
from gfsim.simulation.events import AbstractEvent, values
from gfsim.types import Theta

# Seconds between two writes: what a kill can cost.
INTERVAL = 10.0
SUFFIX = ".checkpoint"
_MAGIC = b"gfsim checkpoint 1\n"
_WRITING = threading.Lock()
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextlib.contextmanager
def checkpoints_in(folder: Path) -> Iterator[None]:
    """Inside, every `simulate` keeps a checkpoint in `folder` under its own fingerprint, and resumes from it."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def fingerprint(
    dynamics: AbstractFlow | AbstractDescent,
    theta0: Float[Array | np.ndarray, "*members P"],
    events: tuple[AbstractEvent, ...],
    *arguments: PyTree,
) -> str:
    """A hash of everything that determines a run: structure, arrays, programs, and the versions that compute."""
    digest = hashlib.sha256()
    digest.update(_own_code())
    for package in ("jax", "jaxlib", "diffrax", "equinox"):
        digest.update(f"{package} {version(package)}\n".encode())
    theta = jax.ShapeDtypeStruct(theta0.shape[-1:], theta0.dtype)
    what = _flow_program if isinstance(dynamics, AbstractFlow) else _descent_program
    _digest_program(digest, what.jaxpr(Fixed(dynamics, events), theta, jax.ShapeDtypeStruct((), float)))
    _digest(digest, (dynamics, theta0, events, *arguments))
    return digest.hexdigest()


# What a user's code computes is in its program, whatever it is written in: names, globals and calls say little.


@Compiled
def _flow_program(fixed: tuple[AbstractFlow, tuple[AbstractEvent, ...]], theta: Array, clock: Array) -> PyTree:
    flow, events = fixed
    state = flow.initial_state(theta)
    velocity = flow.vector_field(clock, state)
    energies = flow.potential(state), flow.dissipation(state, velocity)
    return state, velocity, energies, flow.after_step(clock, state), _at(flow, events, flow.parameters(state))


@Compiled
def _descent_program(fixed: tuple[AbstractDescent, tuple[AbstractEvent, ...]], theta: Array, clock: Array) -> PyTree:
    descent, events = fixed
    state = descent.init(theta)
    return state, descent.step(clock.astype(int), state), _at(descent, events, descent.parameters(state))


def _at(dynamics: AbstractFlow | AbstractDescent, events: tuple[AbstractEvent, ...], theta: Theta) -> PyTree:
    return theta, values(events, dynamics.problem, theta)


def _digest_program(digest: Any, program: Any) -> None:
    """The text of a jaxpr, which leaves constants out or shortens them, and its constants."""
    digest.update(_text(str(program)))
    _digest_constants(digest, program)


def _digest_constants(digest: Any, program: Any) -> None:
    for constant in getattr(program, "consts", ()):
        _digest(digest, constant)
    jaxpr = getattr(program, "jaxpr", program)
    for equation in jaxpr.eqns:
        _digest(digest, [x.val for x in equation.invars if isinstance(x, Literal)])
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(part, "eqns"):
                _digest_constants(digest, part)


@functools.cache
def _own_code() -> bytes:
    """A hash of gfsim's files: between two releases too, other code may neither read nor repeat a run."""
    digest = hashlib.sha256()
    for file in sorted(Path(gfsim.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _digest(digest: Any, tree: PyTree) -> None:
    leaves, structure = jax.tree.flatten(tree)
    digest.update(_text(structure))
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, (jax.Array, np.ndarray)):
            array = np.asarray(leaf)
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            digest.update(_text(leaf))


def _text(*values: Any) -> bytes:
    # Addresses in memory change from process to process.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(values)).encode()


def _where(stored: Any, like: Any) -> Any:
    return placed(np.asarray(stored), placement(like)) if is_spread(like) else stored


def _sum(identity: str, notes: dict[str, Any], payload: bytes) -> str:
    return hashlib.sha256(json.dumps([identity, notes]).encode() + payload).hexdigest()


def _beside(path: Path) -> Path:
    """Where a file is written before it takes its place. One name: the next write overwrites what a kill left."""
    return path.with_name(path.name + ".writing")


def _checked_place(path: Path) -> None:
    """Raises ValueError where no file can be written at `path`: before a solve, not after it."""
    folder = writable = False
    # ValueError for a null byte, OSError for all that a file system refuses, such as a name too long.
    with contextlib.suppress(OSError, ValueError):
        folder = path.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            _beside(path).stat()
        writable = os.access(path.parent, os.W_OK)
    if folder:
        raise ValueError(f"checkpoint must be the path of a file, was the folder {str(path)!r}")
    if not writable:
        raise ValueError(f"checkpoint must be the path of a file that can be written, was {str(path)!r}")


class Checkpoint:
    """The file of the run that dynamics, start, events and `arguments` determine.

    `path` None takes the folder of `checkpoints_in`, where there is one, or keeps nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        dynamics: AbstractFlow | AbstractDescent,
        theta0: Float[Array | np.ndarray, "*members P"],
        events: tuple[AbstractEvent, ...],
        *arguments: PyTree,
    ):
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint must be the path of a file, was {path!r}")
        folder = _folder.get()
        self._path = Path(path) if path is not None else None
        if self._path is not None or folder is not None:
            if jax.process_count() > 1:
                raise ValueError(
                    f"checkpoint must be left out where several processes share a run, was {path or folder} in "
                    f"{jax.process_count()} processes"
                )
            if self._path is not None:
                _checked_place(self._path)
            # Reading versions and hashing arguments takes longer than a short run.
            self._identity = fingerprint(dynamics, theta0, events, *arguments)
        if self._path is None and folder is not None:
            self._path = folder / (self._identity[:32] + SUFFIX)
        self._written = time.monotonic()

    def load(self) -> "tuple[dict[str, Any], Callable[[PyTree], PyTree]] | None":
        """Notes and a function that fills a pytree of the right structure, or None where there is nothing yet.

        Raises ValueError if the file is damaged, no checkpoint, or that of another run.
        """
        if self._path is None or not self._path.exists():
            return None
        content = self._path.read_bytes()
        if not content.startswith(_MAGIC):
            raise ValueError(
                f"checkpoint must be a file written by gfsim, was {self._path}: move it or choose another path"
            )
        head, _, payload = content[len(_MAGIC) :].partition(b"\n")
        try:
            header = json.loads(head)
            whole = header["sha256"] == _sum(header["identity"], header["notes"], payload)
        except (ValueError, KeyError, TypeError):
            whole, header = False, {}
        if not whole:
            raise ValueError(f"checkpoint must be undamaged, was {self._path}: delete it to start the run anew")
        if header["identity"] != self._identity:
            raise ValueError(
                "checkpoint must belong to this run (same dynamics, start, arguments and versions), "
                f"was {self._path}: delete it or choose another path"
            )

        def filled(like: PyTree) -> PyTree:
            return jax.tree.map(_where, eqx.tree_deserialise_leaves(io.BytesIO(payload), like), like)

        return header["notes"], filled

    @property
    def kept(self) -> bool:
        """Whether a file is kept."""
        return self._path is not None

    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._path is not None and time.monotonic() - self._written >= INTERVAL

    def save(self, notes: dict[str, Any], state: PyTree) -> None:
        """Write notes (JSON) and a pytree of arrays: to a temporary file first, which then takes the place of the last.

        Does nothing where no file is kept.
        """
        if self._path is None:
            return
        buffer = io.BytesIO()
        eqx.tree_serialise_leaves(buffer, state)
        payload = buffer.getvalue()
        header = {"identity": self._identity, "sha256": _sum(self._identity, notes, payload), "notes": notes}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(self._path)
        # Two equal runs at once share their file.
        with _WRITING:
            with temporary.open("wb") as file:
                file.write(_MAGIC + json.dumps(header).encode() + b"\n" + payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        self._written = time.monotonic()
