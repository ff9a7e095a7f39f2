"""jax 0.10.2 computes wrong numbers under jit on the CPU (jax issue 39103); no such jax may come in."""

import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from packaging.requirements import Requirement

from gfsim.workbench.doctor import jit_deviation

PROJECT = Path(__file__).parents[1]
REQUIREMENTS = [
    Requirement(line) for line in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
]


@pytest.mark.parametrize("d", [3, 5, 6, 7])
@pytest.mark.parametrize("n", [16385, 20000, 32769])
def test_compiled_sum_of_squares_equals_eager(n, d):
    w, x = (jax.random.normal(jax.random.key(key), shape) for key, shape in enumerate(((d, d), (n, d))))

    def squared_norms(x):
        return jax.vmap(lambda r: jnp.sum((w @ r) ** 2))(x)

    compiled = jax.jit(squared_norms)(x)
    with jax.disable_jit():
        eager = squared_norms(x)
    assert float(jnp.max(jnp.abs(compiled - eager) / eager)) < 1e-12


@pytest.mark.parametrize("d", [3, 5, 6, 7])
def test_doctor_sees_a_sound_jax(d):
    assert jit_deviation(16385, d) < 1e-12


def test_the_metadata_exclude_the_defective_jax():
    (jax_requirement,) = (requirement for requirement in REQUIREMENTS if requirement.name == "jax")
    assert "0.10.2" not in jax_requirement.specifier
    assert "0.10.1" in jax_requirement.specifier


def test_the_constraints_satisfy_the_metadata():
    pinned = dict(line.split("==") for line in (PROJECT / "constraints.txt").read_text().splitlines())
    versions = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for requirement in REQUIREMENTS:
        assert versions[requirement.name.lower()] in requirement.specifier, requirement
