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
from types import FunctionType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import gfsim
from gfsim.placement import is_spread, placed, placement

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


def fingerprint(*arguments: PyTree) -> str:
    """A hash of everything that determines a run: structure, arrays, functions, and the versions that compute."""
    digest = hashlib.sha256()
    digest.update(_own_code())
    for package in ("jax", "jaxlib", "diffrax", "equinox"):
        digest.update(f"{package} {version(package)}\n".encode())
    _digest(digest, arguments)
    return digest.hexdigest()


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
        elif isinstance(leaf, FunctionType):
            # Two lambdas share a name; what they do is in their code and in what they closed over.
            digest.update(_text(leaf.__qualname__, leaf.__code__.co_consts, leaf.__defaults__) + leaf.__code__.co_code)
            _digest(digest, [cell.cell_contents for cell in leaf.__closure__ or ()])
        else:
            digest.update(_text(leaf))


def _text(*values: Any) -> bytes:
    # Addresses in memory change from process to process.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(values)).encode()


def _where(stored: Any, like: Any) -> Any:
    return placed(np.asarray(stored), placement(like)) if is_spread(like) else stored


class Checkpoint:
    """The file of the run that `arguments` determine.

    `path` None takes the folder of `checkpoints_in`, where there is one, or keeps nothing.
    """

    def __init__(self, path: str | os.PathLike | None, *arguments: PyTree):
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint must be the path of a file, was {path!r}")
        if path is not None and Path(path).is_dir():
            raise ValueError(f"checkpoint must be the path of a file, was the folder {str(path)!r}")
        folder = _folder.get()
        self._path = Path(path) if path is not None else None
        if self._path is not None or folder is not None:
            if jax.process_count() > 1:
                raise ValueError(
                    f"checkpoint must be left out where several processes share a run, was {path or folder} in "
                    f"{jax.process_count()} processes"
                )
            # Reading versions and hashing arguments takes longer than a short run.
            self._identity = fingerprint(*arguments)
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
            raise ValueError(f"checkpoint must be a file written by gfsim, was {self._path}: choose another path")
        head, _, payload = content[len(_MAGIC) :].partition(b"\n")
        try:
            header = json.loads(head)
            whole = hashlib.sha256(payload).hexdigest() == header["sha256"]
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
        header = {"identity": self._identity, "sha256": hashlib.sha256(payload).hexdigest(), "notes": notes}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # One name for the temporary file: what a kill leaves of it, the next write overwrites.
        temporary = self._path.with_name(self._path.name + ".writing")
        # Two equal runs at once share their file.
        with _WRITING:
            with temporary.open("wb") as file:
                file.write(_MAGIC + json.dumps(header).encode() + b"\n" + payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        self._written = time.monotonic()
