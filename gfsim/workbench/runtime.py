"""The JAX settings that runs and tests share; the library itself never touches them."""

import hashlib
import os
import platform
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Where compiled programs are kept between runs: one folder per kind of processor.

    JAX's own keys do not know the processor, and a home folder may be shared by machines of different kinds: code
    compiled for one can kill the process on another.
    """
    from platformdirs import user_cache_path

    cpuinfo = Path("/proc/cpuinfo")
    described = platform.processor()
    if cpuinfo.is_file():
        described += next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    kind = hashlib.sha256(described.encode()).hexdigest()[:8]
    return user_cache_path("gfsim", appauthor=False) / f"jax-{platform.machine()}-{kind}"


def prepare_jax() -> None:
    """Float64, and a compilation cache that keeps everything, for this process and those it starts.

    Called before a scenario's file is imported: what that file computes at import is float64 too. JAX reads its
    settings from the environment, so that this costs nothing until JAX is needed.
    """
    settings = {
        "jax_enable_x64": True,
        "jax_compilation_cache_dir": str(cache_folder()),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    # XLA reports its own tuning hints as missing processor features whenever it reads the cache.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Small factorisations by several threads are a hundred times slower where other runs share the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "jax" in sys.modules:
        import jax

        for name, value in settings.items():
            jax.config.update(name, value)


# Linux grants a process 65,530 maps by default.
MOST_MAPS = 40_000


def release_programs() -> None:
    """Drops compiled programs, which JAX otherwise keeps for good, before they kill the process.

    Every program that XLA compiles for the CPU takes maps of the process's memory, a few hundred for each structure of
    problem and solver; where Linux refuses the next one, XLA crashes. What is dropped comes back from the disk's cache.
    """
    maps = Path("/proc/self/maps")
    if not maps.is_file() or maps.read_bytes().count(b"\n") < MOST_MAPS:
        return
    import equinox
    import jax

    jax.clear_caches()
    equinox.clear_caches()
