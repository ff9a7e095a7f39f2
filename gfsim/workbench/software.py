"""What must be equal for two processes to compute the same.

This module also travels to the workers of a cluster, whose own gfsim may be another or none: it imports nothing of it.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

PACKAGES = ("jax", "jaxlib", "diffrax", "equinox", "numpy")


def software() -> dict[str, str]:
    """Versions of Python and the packages that compute, and a hash of gfsim's own files: between releases too, other
    code is another run."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    spec = importlib.util.find_spec("gfsim")
    if spec is None or spec.origin is None:
        return {**found, "gfsim": "not installed"}
    import gfsim

    digest = hashlib.sha256()
    for file in sorted(Path(spec.origin).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return {**found, "gfsim": f"{gfsim.__version__} (code {digest.hexdigest()[:12]})"}


def refusal(wanted: dict[str, str], folder: str) -> str:
    """Why this process may not write to the sweep in `folder` what another with the `wanted` software asks of it.

    Empty where it may.
    """
    found = software()
    for name, version in wanted.items():
        if found.get(name) != version:
            return f"must have {name} {version} like this process, was {found.get(name)}"
    if not os.access(folder, os.W_OK):
        return f"must be able to write to {folder}, the sweep's own folder on a shared file system, was not"
    return ""
